//! Test helper: parses an assertion and verifies it with the other library.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::TokenError;
use hallpass_endpoint::{AuthenticationContext, ClientAuthentication, Credentials};
use serde_json::Value;

#[cfg(not(feature = "aws-lc-rs"))]
use aws_lc_rs::signature;
#[cfg(feature = "aws-lc-rs")]
use ring::signature;

use signature::{RsaPublicKeyComponents, UnparsedPublicKey};

pub(crate) const ID: &str = "orders-service";
pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const ENDPOINT: &str = "https://login.example/token";

pub(crate) async fn prove(
    authentication: &dyn ClientAuthentication,
) -> Result<Credentials, TokenError> {
    authentication
        .credentials(&AuthenticationContext::new(ID, ENDPOINT))
        .await
}

pub(crate) struct Assertion {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) message: String,
    pub(crate) signature: Vec<u8>,
}

impl Assertion {
    pub(crate) fn parse(text: &str) -> Self {
        let (message, signature) = text.rsplit_once('.').unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        let json = |part| serde_json::from_slice(&decode(part)).unwrap();
        Self {
            header: json(header),
            claims: json(claims),
            message: message.to_owned(),
            signature: decode(signature),
        }
    }

    /// Parses a sent assertion, and checks the parameters of RFC 7523 section 2.2.
    pub(crate) fn sent(credentials: &Credentials) -> Self {
        let sent: Vec<_> = credentials.expose_parameters().collect();
        let names: Vec<&str> = sent.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["client_id", "client_assertion_type", "client_assertion"]
        );
        assert_eq!(sent[0].1, ID);
        assert_eq!(
            sent[1].1,
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        Self::parse(sent[2].1)
    }

    /// Verifies with the algorithm that the header names.
    pub(crate) fn is_signed_by(&self, public_jwk: &str) -> bool {
        let algorithm = self.header["alg"].as_str().unwrap();
        verify(
            algorithm,
            public_jwk,
            self.message.as_bytes(),
            &self.signature,
        )
    }
}

pub(crate) fn verify(algorithm: &str, public_jwk: &str, message: &[u8], signed: &[u8]) -> bool {
    let jwk: Value = serde_json::from_str(public_jwk).unwrap();
    let part = |name: &str| decode(jwk[name].as_str().unwrap());
    let point = || [vec![4], part("x"), part("y")].concat();
    let rsa = || RsaPublicKeyComponents {
        n: part("n"),
        e: part("e"),
    };
    match algorithm {
        "ES256" => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point())
            .verify(message, signed)
            .is_ok(),
        "ES384" => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point())
            .verify(message, signed)
            .is_ok(),
        "EdDSA" => UnparsedPublicKey::new(&signature::ED25519, part("x"))
            .verify(message, signed)
            .is_ok(),
        "RS256" => rsa()
            .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signed)
            .is_ok(),
        "PS256" => rsa()
            .verify(&signature::RSA_PSS_2048_8192_SHA256, message, signed)
            .is_ok(),
        other => panic!("no such algorithm: {other}"),
    }
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}
