//! DPoP-bound tokens (RFC 9449): a fresh proof for each request to the token endpoint, and the server's nonces.

use std::{sync::Arc, time::SystemTime};

use hallpass_core::{AccessToken, Proof, Proofs, Prover, TokenError};
use http::{HeaderMap, Method};

use crate::hints;

/// The DPoP proofs of one attempt; empty if tokens are not bound.
pub(crate) struct Proving<'a>(Option<Bound<'a>>);

struct Bound<'a> {
    prover: &'a Arc<dyn Prover>,
    proofs: Proofs,
    /// The proof of the current request.
    proof: Option<Proof>,
    /// False if a demanded nonce is kept for the next call.
    may_repeat: bool,
}

impl<'a> Proving<'a> {
    pub(crate) fn new(
        prover: Option<&'a Arc<dyn Prover>>,
        token_endpoint: &url::Url,
        may_repeat: bool,
    ) -> Self {
        Self(prover.map(|prover| Bound {
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

    /// Returns the time at which the proof was made, by the local clock.
    pub(crate) fn dated(&self) -> Option<SystemTime> {
        self.proof().map(Proof::made_at)
    }

    /// Stores the nonce of a response, and returns the headers that [`refused`](Self::refused) reads.
    pub(crate) fn answered(&self, headers: &HeaderMap) -> HeaderMap {
        let Some(bound) = &self.0 else {
            return HeaderMap::new();
        };
        bound.proofs.answered(&**bound.prover, None, headers);
        headers.clone()
    }

    /// Adds a hint if the proof was refused; records whether the request is to be repeated with a nonce.
    pub(crate) fn refused(&mut self, error: TokenError, headers: &HeaderMap) -> TokenError {
        let code = error.oauth_error().map(hallpass_core::OAuthError::code);
        let hint = match (code, &mut self.0) {
            (Some(USE_NONCE), Some(bound)) => {
                let demand = matches!(
                    error.status().map(|status| status.as_u16()),
                    Some(400 | 401)
                );
                if demand {
                    bound.proofs.accept_nonce(headers);
                }
                if bound.proofs.is_demanded() && !bound.may_repeat {
                    // The next call uses the nonce.
                    let error = error.with_transient(true);
                    return error.with_hint("its nonce is used by the next call, since the retry policy allows one request per call");
                }
                "it demands a nonce, and brings none that was not tried; ask its operator, and check the proxies in between"
            }
            (Some(INVALID_PROOF), Some(_)) => {
                "check that the token endpoint is spelled as the server knows it, that it takes the key's algorithm, and this machine's clock"
            }
            (Some(USE_NONCE | INVALID_PROOF), None) => return error.with_hint(hints::PROOF),
            _ => return error,
        };
        error.with_hint(hint)
    }

    /// Returns true if the request is to be repeated with the nonce that the server demands.
    pub(crate) fn is_demanded(&self) -> bool {
        let bound = self.0.as_ref();
        bound.is_some_and(|bound| bound.may_repeat && bound.proofs.is_demanded())
    }

    /// Attaches the prover to the token that is bound to its key.
    pub(crate) fn bind(&self, token: AccessToken) -> AccessToken {
        match &self.0 {
            Some(bound) => token.with_prover(bound.prover.clone()),
            None => token,
        }
    }

    fn proof(&self) -> Option<&Proof> {
        self.0.as_ref()?.proof.as_ref()
    }
}

/// The error code of RFC 9449 section 8.
const USE_NONCE: &str = "use_dpop_nonce";
/// The error code of RFC 9449 section 5.
const INVALID_PROOF: &str = "invalid_dpop_proof";

/// Returns true if the server refused the proof, which is dated.
pub(crate) fn is_proof_refused(error: &TokenError) -> bool {
    let code = error.oauth_error().map(hallpass_core::OAuthError::code);
    code == Some(INVALID_PROOF)
}
