//! For this repository's benchmarks, without stability guarantees.

use hallpass_core::{AccessToken, Clock as _, ScopeSet, SystemClock, TextFilter, TokenError};

use crate::{
    exchange::grant::Grant, grant::client_credentials::ClientCredentialsGrant, response::token,
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
