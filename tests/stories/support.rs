//! Helpers of the stories: sources for test servers, and short names for the servers.

use std::time::Duration;

use hallpass::{
    AccessToken, Clock as _, Secret, SystemClock, TokenError, TokenRequest, TokenSource,
    endpoint::{ClientCredentials, ClientSecretPost, HttpTransport, Retry, SourceBuilder},
};

pub(crate) const ID: &str = "orders-service";
/// A canary that every output is searched for.
pub(crate) const CANARY: &str = "CANARY/s3cr3t+value=ü%";

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

/// Creates a source for a loopback server, without retries.
pub(crate) fn builder(url: &str) -> SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(url, ID, ClientSecretPost::new(secret(CANARY)))
        .allow_utf8_credentials()
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
}

/// Creates a token that no server issued.
pub(crate) fn static_token(text: &str) -> AccessToken {
    AccessToken::bearer(text, SystemClock.moment(), Duration::from_secs(3_600)).unwrap()
}

/// Timeouts short enough for a test.
pub(crate) fn hasty() -> HttpTransport {
    HttpTransport::builder()
        .connect_timeout(Duration::from_millis(200))
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap()
}

pub(crate) async fn fetch(
    builder: SourceBuilder<ClientCredentials>,
) -> Result<AccessToken, TokenError> {
    let source = builder.build().unwrap();
    source.token(&TokenRequest::default()).await
}
