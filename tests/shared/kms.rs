//! A scripted key management service on loopback. It signs hashes by one library, and another one verifies.

#![allow(dead_code)] // Each package uses its part.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    digest::{self, Digest},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{
    ProofRequest, Prover as _, Secret, TokenError, TokenRequest, TokenSource as _, TokenType,
};
use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, Retry};
use hallpass_jwt::{Algorithm, AssertionSettings, Dpop, PrivateKeyJwt, Signer, SigningKey};
use hallpass_testkit::{AuthorizationServer, Client, Gate};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::Value;
use tokio::net::TcpListener;

/// The two forms of an ECDSA signature.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Der,
    Joined,
}

/// A private key that signs hashes, and with EdDSA messages.
pub(crate) struct HeldKey {
    pub(crate) algorithm: Algorithm,
    pkcs8: Vec<u8>,
    pub(crate) public_pem: String,
}

impl HeldKey {
    /// Reads a private key in PEM.
    pub(crate) fn new(algorithm: Algorithm, pem: &str) -> Self {
        let key = SigningKey::from_pem(pem).unwrap();
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        Self {
            algorithm,
            pkcs8: pkcs8.secret_pkcs8_der().to_vec(),
            public_pem: key.public_pem(),
        }
    }

    /// Returns one of the samples of the repository.
    pub(crate) fn sample(algorithm: Algorithm) -> Self {
        let pem = match algorithm {
            Algorithm::Es256 => include_str!("../../crates/jwt/src/key/samples/ec-256.pem"),
            Algorithm::Es384 => include_str!("../../crates/jwt/src/key/samples/ec-384.pem"),
            Algorithm::EdDsa => include_str!("../../crates/jwt/src/key/samples/ed25519.pem"),
            _ => include_str!("../../crates/jwt/src/key/samples/rsa.pem"),
        };
        Self::new(algorithm, pem)
    }

    /// Signs a hash, or with EdDSA a message; panics if the input is not of the hash's length.
    pub(crate) fn sign(&self, input: &[u8], form: Form) -> Vec<u8> {
        let sha256 = || Digest::import_less_safe(input, &digest::SHA256).unwrap();
        match (self.algorithm, form) {
            (Algorithm::Es256, Form::Der) => self.ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &sha256()),
            (Algorithm::Es256, Form::Joined) => {
                self.ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &sha256())
            }
            (Algorithm::Es384, form) => {
                let algorithm = match form {
                    Form::Der => &ECDSA_P384_SHA384_ASN1_SIGNING,
                    Form::Joined => &ECDSA_P384_SHA384_FIXED_SIGNING,
                };
                let hash = Digest::import_less_safe(input, &digest::SHA384).unwrap();
                self.ecdsa(algorithm, &hash)
            }
            (Algorithm::EdDsa, _) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8).unwrap();
                pair.sign(input).as_ref().to_vec()
            }
            (algorithm, _) => {
                let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).unwrap();
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                pair.sign_digest(padding, &sha256(), &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    fn ecdsa(&self, algorithm: &'static EcdsaSigningAlgorithm, hash: &Digest) -> Vec<u8> {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8).unwrap();
        pair.sign_digest(hash).unwrap().as_ref().to_vec()
    }
}

/// A request to the service.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Null if there is none.
    pub(crate) body: Value,
}

/// A status, headers, and a JSON body.
#[derive(Clone, Debug)]
pub(crate) struct Reply(
    pub(crate) u16,
    pub(crate) Vec<(&'static str, &'static str)>,
    pub(crate) Value,
);

type Answer = dyn Fn(&Call) -> Reply + Send + Sync;

/// The service: it answers by a function, unless the test has other replies for the next requests.
#[derive(Clone)]
pub(crate) struct KmsServer {
    pub(crate) origin: String,
    state: Arc<Mutex<Script>>,
    answer: Arc<Answer>,
}

#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    next: VecDeque<Reply>,
    gate: Option<Gate>,
}

impl KmsServer {
    pub(crate) async fn start(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
            answer: Arc::new(answer),
        };
        let app = Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// Answers the next requests with these replies.
    pub(crate) fn inject(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().next.extend(replies);
    }

    /// Lets later requests wait at this gate.
    pub(crate) fn gate(&self, gate: &Gate) {
        self.state.lock().unwrap().gate = Some(gate.clone());
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(crate) fn call_count(&self) -> usize {
        self.state.lock().unwrap().calls.len()
    }
}

async fn handle(
    State(server): State<KmsServer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call {
        method,
        path: uri.to_string(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let (next, gate) = {
        let mut script = server.state.lock().unwrap();
        script.calls.push(call.clone());
        (script.next.pop_front(), script.gate.clone())
    };
    if let Some(gate) = gate {
        gate.pass().await;
    }
    let Reply(status, headers, body) = next.unwrap_or_else(|| (server.answer)(&call));
    let mut response = (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    response
}

/// Returns true if a JWS in compact form is signed by this public key.
pub(crate) fn verify(jws: &str, public_jwk: &str) -> bool {
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    let jwk: Value = serde_json::from_str(public_jwk).unwrap();
    let part = |name: &str| decode(jwk[name].as_str().unwrap());
    let (message, signed) = jws.rsplit_once('.').unwrap();
    let header: Value =
        serde_json::from_slice(&decode(message.split_once('.').unwrap().0)).unwrap();
    let (message, signed) = (message.as_bytes(), &decode(signed)[..]);
    let point = || [vec![4], part("x"), part("y")].concat();
    let rsa = |parameters| {
        let key = RsaPublicKeyComponents {
            n: part("n"),
            e: part("e"),
        };
        key.verify(parameters, message, signed)
    };
    let verified = match header["alg"].as_str().unwrap() {
        "ES256" => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point())
            .verify(message, signed),
        "ES384" => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point())
            .verify(message, signed),
        "EdDSA" => UnparsedPublicKey::new(&signature::ED25519, part("x")).verify(message, signed),
        "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        other => panic!("no such algorithm: {other}"),
    };
    verified.is_ok()
}

const ID: &str = "orders-service";

/// An authorization server that knows the signer's public key, and a source that authenticates with the signer.
pub(crate) async fn authorization_server(
    signer: impl Signer + Clone + 'static,
) -> (AuthorizationServer, ClientCredentials) {
    let public = Signer::public_jwk(&signer).unwrap();
    let client = Client::new(ID, public).assertions(verify);
    let server = AuthorizationServer::builder().client(client).start().await;
    let settings = AssertionSettings::new(&server.issuer()).unwrap();
    let authentication = PrivateKeyJwt::new(settings, signer);
    let retry = Retry::new().min_delay(std::time::Duration::from_millis(1));
    let source = ClientCredentials::builder(server.token_endpoint(), ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(retry)
        .build()
        .unwrap();
    (server, source)
}

/// Requests this number of tokens from a server that accepts each assertion once.
pub(crate) async fn fetch_tokens(
    signer: impl Signer + Clone + 'static,
    count: usize,
) -> Result<(), TokenError> {
    let (server, source) = authorization_server(signer).await;
    for _ in 0..count {
        source.token(&TokenRequest::default()).await?;
    }
    assert_eq!(server.token_request_count(), count);
    Ok(())
}

/// Creates a DPoP proof and verifies it with the key that it contains.
pub(crate) async fn check_proof(signer: impl Signer + 'static) {
    let dpop = Dpop::new(signer).unwrap();
    let request = ProofRequest::new(&Method::GET, "https://api.example/orders");
    let proof = dpop.prove(&request).await.unwrap();
    let proof = proof.header_value().to_str().unwrap();
    let header = BASE64_URL_SAFE_NO_PAD
        .decode(proof.split_once('.').unwrap().0)
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert!(verify(proof, &header["jwk"].to_string()));
}

/// Requests a token that is bound to the signer's key from a certified authorization server.
pub(crate) async fn fetch_bound_from(
    peer: &super::peer::OidcProvider,
    signer: impl Signer + 'static,
) {
    let secret = Secret::new(peer.client_secret("dpop")).unwrap();
    let endpoint = peer.received("token_endpoint");
    let source = ClientCredentials::builder(endpoint, "dpop", ClientSecretBasic::new(secret))
        .danger_allow_http_on_loopback()
        .dpop(Dpop::new(signer).unwrap())
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(token.token_type(), TokenType::Dpop);
}

/// Requests tokens from a certified authorization server that knows the keys by which `signer` signs.
pub(crate) async fn fetch_from(
    peer: &super::peer::OidcProvider,
    client_id: &str,
    signer: impl Signer + 'static,
) {
    let settings = AssertionSettings::new(peer.received("issuer")).unwrap();
    let authentication = PrivateKeyJwt::new(settings, signer);
    let endpoint = peer.received("token_endpoint");
    let source = ClientCredentials::builder(endpoint, client_id, authentication)
        .danger_allow_http_on_loopback()
        .scope("api:read")
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(token.scopes().as_str(), "api:read");
}
