use hallpass_core::authorize::{Authorizer, Origin};
use tower_layer::Layer;

use crate::{CloneBody, EmptyBody, NoReplay, ReplayWith, TokenService};

/// Puts tokens on the requests of the service that it wraps.
///
/// By default a request is sent once: a refused token is dropped, and the next request has a new one. The `retry_`
/// methods choose which requests are sent again at once. They are for inner services that follow no redirects: such a
/// service may have done what a POST asks before the token of the next hop was refused, and would do it twice. A layer
/// that follows redirects belongs around this one.
#[derive(Clone, Debug)]
pub struct TokenLayer<R = NoReplay> {
    pub(crate) authorizer: Authorizer,
    pub(crate) connected_to: Option<Origin>,
    pub(crate) replay: R,
}

impl TokenLayer {
    /// A layer that asks this authorizer, and sends no request again.
    pub const fn new(authorizer: Authorizer) -> Self {
        Self {
            authorizer,
            connected_to: None,
            replay: NoReplay,
        }
    }
}

impl<R> TokenLayer<R> {
    /// Sets the origin of requests that name a path alone: the inner service is a connection to this origin, as a tonic
    /// channel or an HTTP/1.1 connection of hyper is. The origin must be allowed as any other. Without this, such
    /// requests are not sent, and fail with a `TokenError`.
    #[must_use]
    pub fn connected_to(mut self, origin: Origin) -> Self {
        self.connected_to = Some(origin);
        self
    }

    /// Sends a request again whose token was refused: for bodies that can be cloned.
    #[must_use]
    pub fn retry_cloned(self) -> TokenLayer<CloneBody> {
        self.replay(CloneBody)
    }

    /// Sends a request again whose token was refused, if it has no body: for types of body that cannot be cloned.
    #[must_use]
    pub fn retry_empty(self) -> TokenLayer<EmptyBody> {
        self.replay(EmptyBody)
    }

    /// Sends a request again whose token was refused, if `copy` can copy its body.
    #[must_use]
    pub fn retry_with<F>(self, copy: F) -> TokenLayer<ReplayWith<F>> {
        self.replay(ReplayWith(copy))
    }

    fn replay<O>(self, replay: O) -> TokenLayer<O> {
        TokenLayer {
            authorizer: self.authorizer,
            connected_to: self.connected_to,
            replay,
        }
    }
}

impl<S, R: Clone> Layer<S> for TokenLayer<R> {
    type Service = TokenService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        TokenService::new(inner, self.clone())
    }
}
