//! For this repository's benchmarks and fuzz targets, without stability guarantees.

use std::sync::Arc;

use hallpass_core::{AccessToken, Clock as _, ScopeSet, SystemClock, TextFilter, TokenError};

use crate::{
    HttpTransport, exchange::grant::Grant, grant::client_credentials::ClientCredentialsGrant,
    response::token,
};

/// Reads the body of a 200 response like a source with default settings.
///
/// # Errors
///
/// Those of the source.
pub fn parse(body: &[u8]) -> Result<AccessToken, TokenError> {
    token::read(
        body,
        &token::ResponseRules::default(),
        &ScopeSet::EMPTY,
        SystemClock.moment(),
        SystemClock.wall(),
        TextFilter::new,
        &<ClientCredentialsGrant as Grant>::WORDING,
    )
    .and_then(|granted| granted.token)
}

/// Returns a transport that sends nothing: `respond` gets each request, and returns the response of the server.
///
/// Its timeout, its limit for bodies and its decompression apply to these responses.
pub fn scripted(
    transport: HttpTransport,
    respond: impl Fn(&reqwest::Request) -> reqwest::Response + Send + Sync + 'static,
) -> HttpTransport {
    transport.with_script(Arc::new(respond))
}
