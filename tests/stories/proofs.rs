//! A server that verifies DPoP proofs (RFC 9449), with a different library than the one that signs them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey},
};
use serde_json::Value;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers};

/// The contents of a verified proof.
pub(crate) struct VerifiedProof {
    pub(crate) claims: Value,
    pub(crate) jwk: Value,
    /// The value of the `Authorization` header, including the scheme.
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl VerifiedProof {
    pub(crate) fn nonce(&self) -> Option<&str> {
        self.claims["nonce"].as_str()
    }
}

/// Verifies a proof as in RFC 9449 section 4.3; an error describes the defect.
pub(crate) fn verify(request: &Request, url: &str) -> Result<VerifiedProof, String> {
    let proofs: Vec<_> = request.headers.get_all("dpop").iter().collect();
    let [proof] = proofs[..] else {
        return Err(format!("{} proofs", proofs.len()));
    };
    let (message, signature) = proof.to_str().unwrap().rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let json = |part| -> Value { serde_json::from_slice(&decode(part)).unwrap() };
    let (header, claims) = (json(header), json(claims));
    let check = |fit: bool, what: &str| fit.then_some(()).ok_or(format!("{what}: {claims}"));
    let jwk = &header["jwk"];
    let part = |name: &str| decode(jwk[name].as_str().unwrap());
    let signed = match header["alg"].as_str() {
        Some("ES256") => {
            let point = [vec![4], part("x"), part("y")].concat();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            key.verify(message.as_bytes(), &decode(signature))
        }
        Some("EdDSA") => UnparsedPublicKey::new(&ED25519, part("x"))
            .verify(message.as_bytes(), &decode(signature)),
        other => return Err(format!("algorithm {other:?}")),
    };
    check(signed.is_ok(), "signature")?;
    check(header["typ"] == "dpop+jwt", "typ")?;
    check(jwk.get("d").is_none(), "a private key")?;
    check(claims["htm"] == request.method.as_str(), "htm")?;
    check(claims["htu"] == url, "htu")?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let iat = claims["iat"].as_u64().unwrap();
    check(iat <= now && now - iat < 60, "iat")?;
    let authorization = request.headers.get("authorization");
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    let token = authorization
        .as_deref()
        .and_then(|value| value.strip_prefix("DPoP "));
    let hash = token.map(|token| {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(hash)
    });
    check(claims["ath"].as_str() == hash.as_deref(), "ath")?;
    Ok(VerifiedProof {
        jwk: jwk.clone(),
        claims,
        authorization,
        body: request.body.clone(),
    })
}

fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// A server that answers requests from a script after verifying their proofs; the last response repeats.
#[derive(Clone)]
pub(crate) struct Prudent(Arc<Inner>);

type Answer = dyn Fn(&VerifiedProof, usize) -> ResponseTemplate + Send + Sync;

struct Inner {
    seen: Mutex<Vec<VerifiedProof>>,
    wrong: Mutex<Vec<String>>,
    url: String,
    answer: Box<Answer>,
}

impl Prudent {
    /// Starts a server with this function, which gets the verified request and the number of requests before it.
    pub(crate) async fn start(
        path: &str,
        answer: impl Fn(&VerifiedProof, usize) -> ResponseTemplate + Send + Sync + 'static,
    ) -> (MockServer, Self) {
        let server = MockServer::start().await;
        let prudent = Self(Arc::new(Inner {
            seen: Mutex::default(),
            wrong: Mutex::default(),
            url: format!("{}{path}", server.uri()),
            answer: Box::new(answer),
        }));
        let mock = Mock::given(matchers::path(path)).respond_with(prudent.clone());
        mock.mount(&server).await;
        (server, prudent)
    }

    pub(crate) fn url(&self) -> String {
        self.0.url.clone()
    }

    /// Returns the requests since the last call. Checks that every proof was valid, and no two were the same.
    pub(crate) fn seen(&self) -> Vec<VerifiedProof> {
        let wrong = self.0.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
        let seen = std::mem::take(&mut *self.0.seen.lock().unwrap());
        let unique: HashSet<_> = seen
            .iter()
            .map(|seen| seen.claims["jti"].to_string())
            .collect();
        assert_eq!(unique.len(), seen.len(), "a proof came twice");
        seen
    }
}

impl Respond for Prudent {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        match verify(request, &self.url()) {
            Ok(seen) => {
                let mut all = self.0.seen.lock().unwrap();
                let answer = (self.0.answer)(&seen, all.len());
                all.push(seen);
                answer
            }
            Err(wrong) => {
                self.0.wrong.lock().unwrap().push(wrong);
                ResponseTemplate::new(500)
            }
        }
    }
}
