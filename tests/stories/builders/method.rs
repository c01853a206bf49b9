//! The client authentication methods.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    Secret,
    endpoint::{
        Anonymous, ClientAuthentication, ClientSecretBasic, ClientSecretPost, PublicClient,
        Strongest, WithCertificate,
    },
    jwt::{AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SpiffeJwt, WorkloadIdentity},
};
use serde_json::{Value, json};

use super::{call_setup::ServerUrls, run::ID};
use crate::{shared::assertions::key, support::secret};

const AUDIENCE: &str = "https://login.example";

/// A client authentication method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    Basic,
    Post,
    SecretJwt,
    Signed,
    SignedForIssuer,
    Workload,
    SpiffeJwt,
    Certificate,
    SelfSigned,
    SpiffeX509,
    WithCertificate,
    Strongest,
    Public,
    Anonymous,
    /// For another server: FAPI 2.0 refuses it once the issuer is known. It is not in `ALL`.
    SignedForOther,
}

impl Method {
    pub(super) const ALL: [Self; 14] = [
        Self::Basic,
        Self::Post,
        Self::SecretJwt,
        Self::Signed,
        Self::SignedForIssuer,
        Self::Workload,
        Self::SpiffeJwt,
        Self::Certificate,
        Self::SelfSigned,
        Self::SpiffeX509,
        Self::WithCertificate,
        Self::Strongest,
        Self::Public,
        Self::Anonymous,
    ];

    /// Returns true if FAPI 2.0 allows it.
    pub(super) fn is_strong(self) -> bool {
        let signed = [Self::Signed, Self::SignedForIssuer];
        signed.contains(&self) || matches!(self, Self::Certificate | Self::SelfSigned)
    }

    pub(super) fn authentication(self, urls: &ServerUrls<'_>) -> Box<dyn ClientAuthentication> {
        let certificate = || urls.world.certificate.clone();
        let settings = || AssertionSettings::new(&urls.issuer()).unwrap();
        let jwt = || {
            let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let header = encode(json!({ "alg": "ES256" }));
            let claims = json!({ "sub": ID, "aud": [AUDIENCE], "exp": 9_999_999_999_u64 });
            secret(&format!("{header}.{}.c2ln", encode(claims)))
        };
        match self {
            Self::Basic => Box::new(ClientSecretBasic::new(s3cr3t())),
            Self::Post => Box::new(ClientSecretPost::new(s3cr3t())),
            Self::SecretJwt => Box::new(ClientSecretJwt::new(settings(), s3cr3t())),
            Self::Signed => Box::new(PrivateKeyJwt::new(settings(), key("a key"))),
            Self::SignedForIssuer => {
                let settings = AssertionSettings::for_discovered_issuer();
                Box::new(PrivateKeyJwt::new(settings, key("a key")))
            }
            Self::SignedForOther => {
                let settings = AssertionSettings::new(AUDIENCE).unwrap();
                Box::new(PrivateKeyJwt::new(settings, key("a key")))
            }
            Self::Workload => Box::new(WorkloadIdentity::new(jwt())),
            Self::SpiffeJwt => Box::new(SpiffeJwt::new(jwt()).audience(AUDIENCE)),
            Self::Certificate => Box::new(certificate()),
            Self::SelfSigned => Box::new(certificate().self_signed()),
            Self::SpiffeX509 => Box::new(certificate().spiffe()),
            Self::WithCertificate => {
                let post = ClientSecretPost::new(s3cr3t());
                Box::new(WithCertificate::new(post, certificate()))
            }
            Self::Strongest => {
                let post = Strongest::new(ClientSecretPost::new(s3cr3t()));
                Box::new(post.or(ClientSecretBasic::new(s3cr3t())))
            }
            Self::Public => Box::new(PublicClient::new()),
            Self::Anonymous => Box::new(Anonymous::new()),
        }
    }
}

/// Returns a secret that is long enough for HMAC.
fn s3cr3t() -> Secret {
    secret("s3cr3t of 32 bytes, or even more than that")
}
