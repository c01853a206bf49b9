//! The events of integrations: observers always, traces with the feature `tracing`, metrics with `metrics`.
//! They never contain a token, a path or a query.
//!
//! The names and fields are listed in docs/observability.md, and a test keeps the two in sync; changing them affects
//! users.

use http::StatusCode;

#[cfg(feature = "metrics")]
use super::meters::Meters;
use crate::{
    EventKind, Observers, TokenError,
    origin::{Origin, Target},
    refusal::ApiRefusal,
    text::safe_text,
};

/// The event reporter of one authorizer.
pub(super) struct Observe {
    pub(super) authorizer: Box<str>,
    observers: Observers,
    #[cfg(feature = "metrics")]
    meters: Meters,
}

impl Observe {
    pub(super) fn new(authorizer: Box<str>, observers: Observers) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            meters: Meters::new(&authorizer),
            authorizer,
            observers,
        }
    }

    /// Reports that tokens may go over plain HTTP, by configuration.
    pub(super) fn plain_http(&self, origin: &Origin) {
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            tracing::warn!(authorizer, %origin, "API requests sent over plain HTTP");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (self, origin);
    }

    /// Reports that a request was not sent, because its origin is not on the list.
    pub(super) fn origin_not_allowed(&self, target: Option<Target<'_>>) {
        let host = self.count_blocked(target);
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            tracing::warn!(
                authorizer,
                host,
                "request not sent: its origin is not allowed"
            );
        }
        let _ = host;
    }

    /// Reports that a request was not sent, because its `Host` header names a host other than its URL.
    pub(super) fn other_host(&self, target: Option<Target<'_>>) {
        let host = self.count_blocked(target);
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            tracing::warn!(
                authorizer,
                host,
                "request not sent: its Host header names another host"
            );
        }
        let _ = host;
    }

    fn count_blocked(&self, target: Option<Target<'_>>) -> Option<String> {
        let host = target.map(|target| safe_text(&target.authority()));
        #[cfg(feature = "metrics")]
        self.meters.count("blocked");
        self.notify(EventKind::call_blocked(host.as_deref()));
        host
    }

    /// Reports that a request was not sent, because there was no token for it.
    #[cold]
    pub(super) fn no_token(&self, origin: &Origin, error: &TokenError) {
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            let kind = error.kind();
            tracing::debug!(authorizer, %origin, ?kind, "no token for a request");
        }
        #[cfg(feature = "metrics")]
        self.meters.count("no_token");
        self.notify(EventKind::call_without_token(origin, error));
    }

    /// Reports that an API accepted a token. This runs on every request: nothing here formats or allocates.
    #[inline]
    pub(super) fn accepted(&self, origin: &Origin, status: StatusCode) {
        #[cfg(feature = "metrics")]
        self.meters.count_accepted();
        self.notify(EventKind::call_accepted(origin, status));
    }

    /// Reports that an API refused a token, which was dropped.
    pub(super) fn token_refused(&self, origin: &Origin, refusal: &ApiRefusal, retried: bool) {
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            let (status, error) = (refusal.status().as_u16(), refusal.error());
            if retried {
                tracing::warn!(authorizer, %origin, status, error, "new token refused too");
            } else {
                tracing::info!(authorizer, %origin, status, error, "token refused");
            }
        }
        #[cfg(feature = "metrics")]
        self.meters.count("token_refused");
        self.notify(EventKind::token_refused(origin, refusal, retried));
    }

    /// Reports that a request is retried with another token.
    pub(super) fn sent_again(&self, origin: &Origin) {
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            tracing::debug!(authorizer, %origin, "request retried with a new token");
        }
        self.notify(EventKind::call_retried(origin));
    }

    /// Reports that a request is retried with the same token and the nonce that the API demands.
    pub(super) fn sent_again_with_nonce(&self, origin: &Origin) {
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            tracing::debug!(authorizer, %origin, "request retried with the API's nonce");
        }
        self.notify(EventKind::call_retried(origin));
    }

    /// Reports that an API refused a request for a reason that a new token does not fix.
    pub(super) fn surfaced(&self, origin: &Origin, refusal: &ApiRefusal) {
        #[cfg(feature = "tracing")]
        {
            let authorizer = &*self.authorizer;
            let (status, error) = (refusal.status().as_u16(), refusal.error());
            if refusal.is_insufficient_scope() {
                let scope = refusal.scope().map(|scope| safe_text(scope.as_str()));
                tracing::warn!(authorizer, %origin, status, error, scope, "insufficient scope");
            } else {
                tracing::warn!(authorizer, %origin, status, error, "request refused");
            }
        }
        #[cfg(feature = "metrics")]
        self.meters.count(if refusal.is_insufficient_scope() {
            "insufficient_scope"
        } else {
            "refused"
        });
        self.notify(EventKind::call_refused(origin, refusal));
    }

    #[inline]
    fn notify(&self, kind: EventKind<'_>) {
        if let Err(error) = self.observers.notify(&self.authorizer, kind) {
            #[cfg(feature = "tracing")]
            {
                let authorizer = &*self.authorizer;
                tracing::warn!(authorizer, event = kind.as_str(), "{error}");
            }
            #[cfg(not(feature = "tracing"))]
            let _ = error;
        }
    }
}
