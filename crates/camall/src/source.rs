use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use hallpass_endpoint::ClientCredentials;

/// A source of camall.io tokens.
///
/// Each call of [`token`](TokenSource::token) sends a request: wrap it in a cache to share one token between calls.
/// camall.io issues no refresh token in this flow; each request uses the credentials.
#[derive(Debug)]
pub struct Camall(pub(crate) ClientCredentials);

#[async_trait]
impl TokenSource for Camall {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.token(request).await
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.0.ready_token(request)
    }

    fn invalidate(&self, token: &AccessToken) {
        self.0.invalidate(token);
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.0.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        self.0.credential_epoch()
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        self.0.credential_digest().await
    }

    fn binds_tokens(&self) -> bool {
        self.0.binds_tokens()
    }
}
