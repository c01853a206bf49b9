//! What integrations tell of themselves: traces, with the feature `tracing`. Never a token, never a path or a query.
//!
//! The names and fields are listed in docs/service.md; a change there is a change for users.

use super::{ApiRefusal, Origin, Target};

/// Tokens may go over plain HTTP, as someone chose.
pub(super) fn plain_http(authorizer: &str, origin: &Origin) {
    #[cfg(feature = "tracing")]
    tracing::warn!(authorizer, %origin, "tokens go over plain HTTP");
    #[cfg(not(feature = "tracing"))]
    let _ = (authorizer, origin);
}

/// A request was not sent, because its origin is not on the list.
pub(super) fn kept_back(authorizer: &str, target: Option<Target<'_>>) {
    #[cfg(feature = "tracing")]
    {
        let host = target.map(|target| crate::text::safe_text(&target.authority()));
        tracing::warn!(
            authorizer,
            host,
            "request kept back: its origin is not allowed"
        );
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (authorizer, target);
}

/// An API refused a token, which was dropped.
pub(super) fn token_refused(authorizer: &str, origin: &Origin, refusal: &ApiRefusal, again: bool) {
    #[cfg(feature = "tracing")]
    {
        let (status, error) = (refusal.status().as_u16(), refusal.error());
        if again {
            tracing::warn!(authorizer, %origin, status, error, "new token refused too");
        } else {
            tracing::info!(authorizer, %origin, status, error, "token refused");
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (authorizer, origin, refusal, again);
}

/// A request goes out once more, with another token.
pub(super) fn sent_again(authorizer: &str, origin: &Origin) {
    #[cfg(feature = "tracing")]
    tracing::debug!(authorizer, %origin, "request sent again with a new token");
    #[cfg(not(feature = "tracing"))]
    let _ = (authorizer, origin);
}

/// An API refused a request for a reason that a new token does not mend.
pub(super) fn surfaced(authorizer: &str, origin: &Origin, refusal: &ApiRefusal) {
    #[cfg(feature = "tracing")]
    {
        let (status, error) = (refusal.status().as_u16(), refusal.error());
        if refusal.is_insufficient_scope() {
            let scope = refusal
                .scope()
                .map(|scope| crate::text::safe_text(scope.as_str()));
            tracing::warn!(authorizer, %origin, status, error, scope, "insufficient scope");
        } else {
            tracing::warn!(authorizer, %origin, status, error, "request refused");
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (authorizer, origin, refusal);
}
