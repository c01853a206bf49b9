//! The proof of one API request with a token that is bound to a key (DPoP, RFC 9449).

use hallpass::{AccessToken, ProofRequest};
use reqwest::{Method, Url};

use super::request::parse_url;
use crate::{args::Token, config::Settings, explain, failure::Failure, http};

/// The longest nonce, which is sent with each request.
const MAX_NONCE_BYTES: usize = 1_024;

/// The request that a proof is for.
pub(super) struct ProofTarget {
    method: Method,
    url: Url,
    nonce: Option<String>,
}

impl ProofTarget {
    /// Parses the flags of `--format dpop`, which requires `--url`; `None` for another format.
    pub(super) fn parse(args: &Token, settings: &Settings) -> Result<Option<Self>, Failure> {
        let Some(url) = &args.url else {
            return Ok(None);
        };
        let url = parse_url(url)?;
        if settings.dpop.is_none() {
            return Err(Failure::configuration(
                "`--format dpop` requires tokens that are bound to a key",
            )
            .with_remedy(
                "generate a key with `hallpass keygen`, and set `dpop` to a reference to it",
            ));
        }
        let is_local = settings.danger_allow_http_on_loopback && http::is_loopback(&url);
        if url.scheme() != "https" && !is_local {
            return Err(Failure::usage(
                "the URL must start with `https://`: a token is not sent in clear text",
            ));
        }
        let method = args.method.as_deref().unwrap_or("GET");
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| Failure::usage("invalid HTTP method"))?;
        let nonce = args.nonce.clone();
        if !nonce.as_deref().is_none_or(is_nonce) {
            return Err(Failure::usage(
                "`--nonce` must be the value of a `DPoP-Nonce` header",
            ));
        }
        Ok(Some(Self { method, url, nonce }))
    }

    /// Returns the value of the `DPoP` header for the request with this token.
    pub(super) async fn prove(
        &self,
        token: &AccessToken,
        settings: &Settings,
    ) -> Result<String, Failure> {
        let prover = token
            .prover()
            .ok_or_else(|| Failure::configuration("the token is not bound to a key"))?;
        let mut request = ProofRequest::new(&self.method, self.url.as_str()).with_token(token);
        if let Some(nonce) = &self.nonce {
            request = request.with_nonce(nonce);
        }
        let proof = prover.prove(&request).await;
        let proof = proof.map_err(|error| explain::token_error(&error, settings))?;
        // A proof is visible ASCII.
        Ok(proof.header_value().to_str().unwrap_or_default().to_owned())
    }
}

/// Returns true for the characters of RFC 9449 section 8.1.
fn is_nonce(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=MAX_NONCE_BYTES).contains(&text.len()) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_has_the_characters_of_its_header() {
        for (nonce, fit) in [
            ("eyJ7S_zG.eyJH0-Z.HX4w-7v", true),
            ("a", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\\b", false),
            ("ä", false),
        ] {
            assert_eq!(is_nonce(nonce), fit, "{nonce}");
        }
        assert!(is_nonce(&"a".repeat(MAX_NONCE_BYTES)));
        assert!(!is_nonce(&"a".repeat(MAX_NONCE_BYTES + 1)));
    }
}
