use hallpass_core::authorize::{Authorizer, Origin};
use tower_layer::Layer;

use crate::{
    replay::{CloneBody, EmptyBody, NoReplay, ReplayWith},
    service::TokenService,
};

/// A layer that adds tokens to the requests of the wrapped service.
///
/// By default a request is sent once: a refused token is dropped, and the next request has a new one. The `retry_`
/// methods choose which requests are retried at once. They are for inner services that follow no redirects: such a
/// service may have carried out a POST before the token of the next hop was refused, and would carry it out twice. A
/// layer that follows redirects belongs around this one.
#[derive(Clone, Debug)]
pub struct TokenLayer<R = NoReplay> {
    authorizer: Authorizer,
    connected_to: Option<Origin>,
    replay: R,
}

impl TokenLayer {
    /// Creates a layer that uses this authorizer, and retries no request.
    pub const fn new(authorizer: Authorizer) -> Self {
        Self {
            authorizer,
            connected_to: None,
            replay: NoReplay,
        }
    }
}

impl<R> TokenLayer<R> {
    /// Sets the origin of requests that have only a path: the inner service is a connection to this origin, such as a
    /// tonic channel or an HTTP/1.1 connection of hyper. The origin must be allowed like any other. Without this, such
    /// requests are not sent, and fail with a `TokenError`.
    #[must_use]
    pub fn connected_to(mut self, origin: Origin) -> Self {
        self.connected_to = Some(origin);
        self
    }

    /// Retries a request whose token was refused: for bodies that can be cloned.
    #[must_use]
    pub fn retry_cloned(self) -> TokenLayer<CloneBody> {
        self.replay(CloneBody)
    }

    /// Retries a request whose token was refused, if it has no body: for body types that cannot be cloned.
    #[must_use]
    pub fn retry_empty(self) -> TokenLayer<EmptyBody> {
        self.replay(EmptyBody)
    }

    /// Retries a request whose token was refused, if `copy` can copy its body.
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
        let Self {
            authorizer,
            connected_to,
            replay,
        } = self.clone();
        TokenService::new(inner, authorizer, connected_to, replay)
    }
}
