use std::{fmt, sync::Arc};

use http::{HeaderMap, Method};

use crate::{AccessToken, Proof, ProofRequest, Prover, TokenError};

/// The header in which a server sends nonces (RFC 9449 section 8.2).
const DPOP_NONCE: &str = "dpop-nonce";
/// The maximum length of a nonce: it is sent with each request. A longer one is ignored.
const MAX_NONCE_BYTES: usize = 1_024;
/// The maximum number of nonce demands that one call answers.
const MAX_NONCE_DEMANDS: usize = 5;

/// The proofs of one call: a new one for each request, with a limit if a server demands nonce after nonce.
///
/// For implementations of sources and integrations; users do not need it.
#[derive(Clone)]
pub struct Proofs {
    method: Method,
    url: Box<str>,
    /// The nonces of the proofs so far. No nonce counts as one.
    tried: Vec<Option<Arc<str>>>,
    demanded: Option<Arc<str>>,
}

impl Proofs {
    /// Creates the proofs of requests with this method to this absolute URL.
    pub fn new(method: Method, url: impl Into<Box<str>>) -> Self {
        Self {
            method,
            url: url.into(),
            tried: Vec::new(),
            demanded: None,
        }
    }

    /// Creates a new proof, with the last demanded nonce, if any.
    ///
    /// # Errors
    ///
    /// The prover's errors.
    ///
    /// # Cancellation
    ///
    /// As [`Prover::prove`].
    pub async fn next(
        &mut self,
        prover: &dyn Prover,
        token: Option<&AccessToken>,
    ) -> Result<Proof, TokenError> {
        let demanded = self.demanded.take();
        let mut request = self.request(token);
        if let Some(nonce) = &demanded {
            request = request.with_nonce(nonce);
        }
        let proof = prover.prove(&request).await?;
        self.tried.push(proof.nonce.clone());
        Ok(proof)
    }

    /// Stores the nonce of a response, regardless of its status (RFC 9449 section 8.2).
    pub fn store_nonce(
        &self,
        prover: &dyn Prover,
        token: Option<&AccessToken>,
        headers: &HeaderMap,
    ) {
        if let Some(nonce) = nonce(headers) {
            prover.store_nonce(&self.request(token), nonce);
        }
    }

    /// Takes the nonce of a response that demands one, and returns true if the request can be retried with it: it was
    /// not tried before, and the limit of demands is not reached.
    pub fn accept_nonce(&mut self, headers: &HeaderMap) -> bool {
        let nonce = nonce(headers).filter(|nonce| {
            let mut tried = self.tried.iter().flatten();
            self.tried.len() <= MAX_NONCE_DEMANDS && !tried.any(|tried| **tried == **nonce)
        });
        self.demanded = nonce.map(Into::into);
        self.demanded.is_some()
    }

    /// Returns true if the next proof has a nonce that was demanded.
    pub fn is_demanded(&self) -> bool {
        self.demanded.is_some()
    }

    fn request<'a>(&'a self, token: Option<&'a AccessToken>) -> ProofRequest<'a> {
        let request = ProofRequest::new(&self.method, &self.url);
        match token {
            Some(token) => request.with_token(token),
            None => request,
        }
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs")
            .field("made", &self.tried.len())
            .finish_non_exhaustive()
    }
}

impl<'a> ProofRequest<'a> {
    /// Turns it into a request to an API, with this token.
    #[must_use]
    pub fn with_token(mut self, token: &'a AccessToken) -> Self {
        self.token = Some(token.expose());
        self
    }
}

/// Returns the nonce of a response, if it has one that is allowed in a proof (RFC 9449 section 8.1).
fn nonce(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(DPOP_NONCE).iter();
    // With two nonces it is unclear which one counts.
    let (Some(nonce), None) = (given.next(), given.next()) else {
        return None;
    };
    let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let nonce = nonce.to_str().ok()?;
    let fit = (1..=MAX_NONCE_BYTES).contains(&nonce.len()) && nonce.bytes().all(legal);
    fit.then_some(nonce)
}

#[cfg(test)]
mod tests;
