//! Tokens that are bound to a key (RFC 9449): a fresh proof for each request to the token endpoint, and the nonces that
//! the server demands in it.

use std::{sync::Arc, time::SystemTime};

use hallpass_core::{AccessToken, Proof, Proofs, Prover, TokenError};
use http::{HeaderMap, Method};

use crate::hints;

/// How the requests of one attempt are proven; where no token is bound, nothing.
pub(crate) struct Proving<'a>(Option<Bound<'a>>);

struct Bound<'a> {
    prover: &'a Arc<dyn Prover>,
    proofs: Proofs,
    /// The one of the request that is under way.
    proof: Option<Proof>,
}

impl<'a> Proving<'a> {
    pub(crate) fn new(prover: Option<&'a Arc<dyn Prover>>, token_endpoint: &url::Url) -> Self {
        Self(prover.map(|prover| Bound {
            prover,
            proofs: Proofs::new(Method::POST, token_endpoint.as_str()),
            proof: None,
        }))
    }

    /// Makes the proof of the next request.
    pub(crate) async fn prove(&mut self) -> Result<(), TokenError> {
        if let Some(bound) = &mut self.0 {
            bound.proof = Some(bound.proofs.next(&**bound.prover, None).await?);
        }
        Ok(())
    }

    /// Puts the proof on the request.
    pub(crate) fn put_on(&self, headers: &mut HeaderMap) {
        if let Some(proof) = self.proof() {
            headers.insert("dpop", proof.header_value().clone());
        }
    }

    /// When the proof was made, by this machine's clock.
    pub(crate) fn dated(&self) -> Option<SystemTime> {
        self.proof().map(Proof::made_at)
    }

    /// Keeps the nonce that an answer brings, and yields what [`refused`](Self::refused) looks at.
    pub(crate) fn answered(&self, headers: &HeaderMap) -> HeaderMap {
        let Some(bound) = &self.0 else {
            return HeaderMap::new();
        };
        bound.proofs.answered(&**bound.prover, None, headers);
        headers.clone()
    }

    /// Says what can be done about a refusal of the proof; notes whether the request is to be repeated with a nonce.
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
                "it demands a nonce, and brings none that was not tried; ask whoever runs it, or what is between it and this client"
            }
            (Some(INVALID_PROOF), Some(_)) => {
                "check that the token endpoint is spelled as the server knows it, that it takes the key's algorithm, and this machine's clock"
            }
            (Some(USE_NONCE | INVALID_PROOF), None) => return error.with_hint(hints::PROOF),
            _ => return error,
        };
        error.with_hint(hint)
    }

    /// Is the request to be sent again, with the nonce that the server demands?
    pub(crate) fn is_demanded(&self) -> bool {
        let bound = self.0.as_ref();
        bound.is_some_and(|bound| bound.proofs.is_demanded())
    }

    /// Hands the key along with the token that is bound to it.
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

/// RFC 9449 section 8.
const USE_NONCE: &str = "use_dpop_nonce";
/// RFC 9449 section 5.
const INVALID_PROOF: &str = "invalid_dpop_proof";

/// Did the server refuse the proof, which is dated?
pub(crate) fn is_proof_refused(error: &TokenError) -> bool {
    let code = error.oauth_error().map(hallpass_core::OAuthError::code);
    code == Some(INVALID_PROOF)
}
