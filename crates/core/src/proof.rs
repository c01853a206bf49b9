use std::{fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use http::{HeaderValue, Method};

use crate::TokenError;

/// A signer of DPoP proofs for the key that a token is bound to (RFC 9449): an extension point.
///
/// `hallpass-jwt` has one for keys in memory and behind a signer. A token source proves possession of the key to the
/// token endpoint, and attaches its prover to each token
/// ([`AccessToken::with_prover`](crate::AccessToken::with_prover)); an integration gets a proof for each request with
/// that token.
///
/// ```
/// use std::time::SystemTime;
/// use hallpass_core::{Proof, ProofRequest, Prover, TokenError, async_trait};
///
/// /// A key that a daemon on this machine holds.
/// #[derive(Debug)]
/// struct Daemon;
///
/// # impl Daemon {
/// #     async fn sign(&self, _claims: &str) -> std::io::Result<String> {
/// #         Ok("e30.e30.c2ln".into())
/// #     }
/// # }
/// #[async_trait]
/// impl Prover for Daemon {
///     async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
///         let created_at = SystemTime::now();
///         // A real one has `jti`, `iat`, and `ath` where a token goes along, too.
///         let nonce = request.nonce().map_or(String::new(), |nonce| format!(r#","nonce":"{nonce}""#));
///         let claims = format!(r#"{{"htm":"{}","htu":"{}"{nonce}}}"#, request.method(), request.url());
///         let jwt = self.sign(&claims).await;
///         let jwt = jwt.map_err(|_| TokenError::unavailable("the signing daemon does not answer"))?;
///         let proof = Proof::new(jwt, created_at)?;
///         Ok(match request.nonce() {
///             Some(nonce) => proof.with_nonce(nonce),
///             None => proof,
///         })
///     }
/// }
/// ```
#[async_trait]
pub trait Prover: Send + Sync + fmt::Debug {
    /// Creates a proof for this request and no other. It is called once for each request that is sent.
    ///
    /// If the request names a [`nonce`](ProofRequest::nonce), the proof uses it; otherwise the one
    /// [stored](Self::store_nonce) for the server, if any.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if a later attempt may succeed,
    /// [`Configuration`](crate::ErrorKind::Configuration) if it needs a configuration change. The request is not sent.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons this proof only.
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError>;

    /// Stores a nonce from the server that `request` went to, for later proofs (RFC 9449 sections 8.2 and 9).
    ///
    /// Authorization servers and resource servers are distinguished, and each by its origin. A prover that stores none
    /// needs a second request each time if a server demands nonces.
    fn store_nonce(&self, request: &ProofRequest<'_>, nonce: &str) {
        let _ = (request, nonce);
    }

    /// Returns the thumbprint of the key (RFC 7638, SHA-256), if other processes are declared to have it too: a cache may
    /// then share the tokens that are bound to it through a store. With the default, `None`, each process fetches its own.
    fn shared_key(&self) -> Option<&str> {
        None
    }
}

/// Forwards every method, including those with a default.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<P: Prover + ?Sized> Prover for $pointer {
            async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
                (**self).prove(request).await
            }

            fn store_nonce(&self, request: &ProofRequest<'_>, nonce: &str) {
                (**self).store_nonce(request, nonce);
            }

            fn shared_key(&self) -> Option<&str> {
                (**self).shared_key()
            }
        }
    )+};
}

forward!(Arc<P>, Box<P>);

/// The subject of a proof: a request, and the token that is sent with it.
#[derive(Clone, Copy)]
pub struct ProofRequest<'a> {
    method: &'a Method,
    url: &'a str,
    /// The text of the token.
    pub(crate) token: Option<&'a str>,
    nonce: Option<&'a str>,
}

impl<'a> ProofRequest<'a> {
    /// Creates a request to a token endpoint from its absolute URL. Query and fragment are removed: no proof names them
    /// (RFC 9449 section 4.2).
    pub fn new(method: &'a Method, url: &'a str) -> Self {
        let end = url.find(['?', '#']).unwrap_or(url.len());
        Self {
            method,
            url: &url[..end],
            token: None,
            nonce: None,
        }
    }

    /// Adds the nonce that the server has just demanded.
    #[must_use]
    pub fn with_nonce(mut self, nonce: &'a str) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// Returns the method: `htm`.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the absolute URL, without query and fragment: `htu`.
    pub fn url(&self) -> &'a str {
        self.url
    }

    /// Returns scheme, host and port, as the URL spells them: `https://api.example`.
    pub fn origin(&self) -> &'a str {
        let authority = self.url.find("://").map_or(0, |at| at + 3);
        let path = self.url[authority..].find('/');
        path.map_or(self.url, |path| &self.url[..authority + path])
    }

    /// Returns the text of the token that is sent with the request, whose hash is `ath`. A request with a token goes to
    /// a resource server, one without to an authorization server.
    pub fn expose_token(&self) -> Option<&'a str> {
        self.token
    }

    /// Returns the nonce that was demanded for this very request. It is visible ASCII without `"` and `\` (RFC 9449
    /// section 8.1), of at most 1 KiB.
    pub fn nonce(&self) -> Option<&'a str> {
        self.nonce
    }
}

/// Omits the path, which may hold anything, the token and the nonce.
impl fmt::Debug for ProofRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofRequest")
            .field("method", self.method)
            .field("origin", &self.origin())
            .field("has_token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

/// A DPoP proof as the value of one request's `DPoP` header: marked sensitive, never shown.
#[derive(Clone)]
pub struct Proof {
    header: HeaderValue,
    pub(crate) nonce: Option<Arc<str>>,
    created_at: SystemTime,
}

impl Proof {
    /// Creates a proof from the compact form of a JWS, dated by the clock of this machine.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](crate::ErrorKind::Configuration) if it is not a valid header value.
    pub fn new(jwt: String, created_at: SystemTime) -> Result<Self, TokenError> {
        let mut header = HeaderValue::try_from(jwt)
            .map_err(|_| TokenError::configuration("the proof is not visible ASCII"))?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            nonce: None,
            created_at,
        })
    }

    /// Records the nonce that is in it.
    #[must_use]
    pub fn with_nonce(mut self, nonce: impl Into<Arc<str>>) -> Self {
        self.nonce = Some(nonce.into());
        self
    }

    /// Returns the value of the `DPoP` header.
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// Returns the nonce that is in it.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// Returns its creation time, by the clock that it is dated by.
    pub fn created_at(&self) -> SystemTime {
        self.created_at
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: C-66
    #[test]
    fn a_proof_is_for_the_bare_url() {
        for (url, bare, origin) in [
            (
                "https://api.example/a",
                "https://api.example/a",
                "https://api.example",
            ),
            (
                "https://api.example/a?b=/c#d",
                "https://api.example/a",
                "https://api.example",
            ),
            (
                "https://api.example:8443/a#b",
                "https://api.example:8443/a",
                "https://api.example:8443",
            ),
            (
                "https://api.example?a=/",
                "https://api.example",
                "https://api.example",
            ),
            (
                "https://[::1]:1/a//b",
                "https://[::1]:1/a//b",
                "https://[::1]:1",
            ),
        ] {
            let request = ProofRequest::new(&Method::GET, url);
            assert_eq!((request.url(), request.origin()), (bare, origin));
        }
    }
}
