//! DPoP-bound tokens (RFC 9449): a fresh proof for each request to the token endpoint, and the server's nonces.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use hallpass_core::{Hint, Proof, ProofRequest, Proofs, Prover, TokenError};
use http::{HeaderMap, Method};

use crate::{Requirement, SecurityProfile, hints, security_profile::jws::Jws};

/// The DPoP proofs of one attempt; empty if tokens are not bound.
pub(crate) struct ProofState<'a>(Option<ProofContext<'a>>);

struct ProofContext<'a> {
    prover: &'a Arc<dyn Prover>,
    proofs: Proofs,
    /// The proof of the current request.
    proof: Option<Proof>,
    /// False if a demanded nonce is stored for the next call.
    may_repeat: bool,
}

impl<'a> ProofState<'a> {
    pub(crate) fn new(
        prover: Option<&'a Arc<dyn Prover>>,
        token_endpoint: &url::Url,
        may_repeat: bool,
    ) -> Self {
        Self(prover.map(|prover| ProofContext {
            prover,
            proofs: Proofs::new(Method::POST, token_endpoint.as_str()),
            proof: None,
            may_repeat,
        }))
    }

    /// Creates the proof of the next request.
    pub(crate) async fn prove(&mut self) -> Result<(), TokenError> {
        if let Some(bound) = &mut self.0 {
            bound.proof = Some(bound.proofs.next(&**bound.prover, None).await?);
        }
        Ok(())
    }

    /// Adds the proof to the request.
    pub(crate) fn put_on(&self, headers: &mut HeaderMap) {
        if let Some(proof) = self.proof() {
            headers.insert("dpop", proof.header_value().clone());
        }
    }

    /// Returns the time at which the proof was created, by the local clock.
    pub(crate) fn created_at(&self) -> Option<SystemTime> {
        self.proof().map(Proof::created_at)
    }

    /// Stores the nonce of a response, and returns the headers that [`refused`](Self::refused) reads.
    pub(crate) fn store_nonce(&self, headers: &HeaderMap) -> HeaderMap {
        let Some(bound) = &self.0 else {
            return HeaderMap::new();
        };
        bound.proofs.store_nonce(&**bound.prover, None, headers);
        headers.clone()
    }

    /// Returns the hint for a refused proof; records whether the request is to be repeated with a nonce.
    pub(crate) fn refused(
        &mut self,
        error: TokenError,
        headers: &HeaderMap,
    ) -> (TokenError, Option<Hint>) {
        let code = error.oauth_error().map(hallpass_core::OAuthError::code);
        let hint: Hint = match (code, &mut self.0) {
            (Some(USE_NONCE), Some(bound)) => {
                let status = error.status().map(|status| status.as_u16());
                let nonce = matches!(status, Some(400 | 401)) && bound.proofs.accept_nonce(headers);
                if nonce && !bound.may_repeat {
                    // The next call uses the nonce.
                    let hint = "its nonce is used by the next call, since the retry policy allows one request per call";
                    return (error.with_transient(true), Some(hint.into()));
                }
                "the server demands a nonce but sends none that was not tried yet; report it to the server's operator, and check gateways between it and this client".into()
            }
            (Some(INVALID_PROOF), Some(_)) => {
                "check that `token_endpoint` is the URL that the server expects, that the server accepts the key's algorithm, and this machine's clock".into()
            }
            (Some(USE_NONCE | INVALID_PROOF), None) => hints::PROOF,
            _ => return (error, None),
        };
        (error, Some(hint))
    }

    /// Returns true if the server refused the proof, which is dated.
    pub(crate) fn is_refused(&self, error: &TokenError) -> bool {
        let code = error.oauth_error().map(hallpass_core::OAuthError::code);
        self.0.is_some() && code == Some(INVALID_PROOF)
    }

    /// Returns true if the request is to be repeated with the nonce that the server demands.
    pub(crate) fn is_demanded(&self) -> bool {
        let bound = self.0.as_ref();
        bound.is_some_and(|bound| bound.may_repeat && bound.proofs.is_demanded())
    }

    fn proof(&self) -> Option<&Proof> {
        self.0.as_ref()?.proof.as_ref()
    }
}

/// A prover whose proofs are checked against a security profile, for the token endpoint and for APIs.
#[derive(Debug)]
pub(crate) struct CheckedProver {
    prover: Arc<dyn Prover>,
    profile: SecurityProfile,
}

impl CheckedProver {
    pub(crate) fn wrap(
        prover: Option<Arc<dyn Prover>>,
        profile: SecurityProfile,
    ) -> Option<Arc<dyn Prover>> {
        let prover = prover?;
        Some(Arc::new(Self { prover, profile }))
    }
}

#[async_trait]
impl Prover for CheckedProver {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        let proof = self.prover.prove(request).await?;
        let jws = proof.header_value().to_str().ok().and_then(Jws::read);
        match jws {
            Some(jws) => jws.check(self.profile, "DPoP proof").map(|()| proof),
            None => Err(self.profile.violated(
                "the DPoP proof is not a signed JWT",
                &Requirement::ALGORITHMS,
            )),
        }
    }

    fn store_nonce(&self, request: &ProofRequest<'_>, nonce: &str) {
        self.prover.store_nonce(request, nonce);
    }

    fn shared_key(&self) -> Option<&str> {
        self.prover.shared_key()
    }
}

/// The error code of RFC 9449 section 8.
const USE_NONCE: &str = "use_dpop_nonce";
/// The error code of RFC 9449 section 5.
const INVALID_PROOF: &str = "invalid_dpop_proof";

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;

    /// A prover of another crate, whose proofs have this header and a signature of this length.
    #[derive(Debug)]
    struct Foreign(&'static str, usize);

    #[async_trait]
    impl Prover for Foreign {
        async fn prove(&self, _: &ProofRequest<'_>) -> Result<Proof, TokenError> {
            let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
            let (header, signature) = (encode(self.0.as_bytes()), encode(&vec![7; self.1]));
            Proof::new(format!("{header}.e30.{signature}"), SystemTime::UNIX_EPOCH)
        }

        fn shared_key(&self) -> Option<&str> {
            Some(self.0)
        }
    }

    #[tokio::test]
    async fn fapi_checks_each_proof_of_any_prover() {
        let request = ProofRequest::new(&Method::GET, "https://api.example/orders");
        for (header, length, fits) in [
            (r#"{"alg":"ES256"}"#, 64, true),
            (r#"{"alg":"PS256"}"#, 256, true),
            (r#"{"alg":"PS256"}"#, 128, false),
            (r#"{"alg":"RS256"}"#, 256, false),
            (r#"{"alg":"none"}"#, 0, false),
            ("{}", 64, false),
        ] {
            let foreign: Arc<dyn Prover> = Arc::new(Foreign(header, length));
            foreign.prove(&request).await.unwrap();
            let held = CheckedProver::wrap(Some(foreign), SecurityProfile::Fapi2).unwrap();
            assert_eq!(held.shared_key(), Some(header));
            match held.prove(&request).await {
                Ok(_) => assert!(fits, "{header}"),
                Err(error) => {
                    assert!(
                        !fits && error.to_string().contains("section 5.4.1"),
                        "{error}"
                    );
                }
            }
        }
    }
}
