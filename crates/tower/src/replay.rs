use std::fmt;

use http_body::Body;

/// A policy that copies a request's body, so that the request can be retried after its token was refused.
///
/// [`TokenLayer`](crate::TokenLayer) has a method for each of the four implementations here.
pub trait Replay<B> {
    /// Returns a copy of the body, or `None` if it cannot be copied: then the request is sent once.
    ///
    /// It is called before each request is sent.
    fn copy(&self, body: &B) -> Option<B>;
}

/// A policy that retries no request: right for bodies that are streams.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoReplay;

impl<B> Replay<B> for NoReplay {
    fn copy(&self, _: &B) -> Option<B> {
        None
    }
}

/// A policy that retries every request: its body can be cloned, as `String`, `Bytes` and `http_body_util::Full` can.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CloneBody;

impl<B: Clone> Replay<B> for CloneBody {
    fn copy(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// A policy that retries requests without a body: right for body types that cannot be cloned, such as axum's.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EmptyBody;

impl<B: Body + Default> Replay<B> for EmptyBody {
    fn copy(&self, body: &B) -> Option<B> {
        body.is_end_stream().then(B::default)
    }
}

/// A policy that retries the requests whose body this function copies.
#[derive(Clone, Copy)]
pub struct ReplayWith<F>(pub(crate) F);

impl<B, F: Fn(&B) -> Option<B>> Replay<B> for ReplayWith<F> {
    fn copy(&self, body: &B) -> Option<B> {
        self.0(body)
    }
}

impl<F> fmt::Debug for ReplayWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayWith(..)")
    }
}
