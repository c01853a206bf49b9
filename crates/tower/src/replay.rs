use std::fmt;

use http_body::Body;

/// Copies a request's body, so that the request can be sent once more after its token was refused.
///
/// [`TokenLayer`](crate::TokenLayer) has a method for each of the four that are here.
pub trait Replay<B> {
    /// Returns a copy of the body, or `None` if it cannot be copied: then the request is sent once.
    ///
    /// It is called before each request is sent.
    fn copy(&self, body: &B) -> Option<B>;
}

/// Sends no request again: right for bodies that are streams.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoReplay;

impl<B> Replay<B> for NoReplay {
    fn copy(&self, _: &B) -> Option<B> {
        None
    }
}

/// Sends every request again: its body can be cloned, as `String`, `Bytes` and `http_body_util::Full` can.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CloneBody;

impl<B: Clone> Replay<B> for CloneBody {
    fn copy(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// Sends requests without a body again: right for body types that cannot be cloned, as axum's.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EmptyBody;

impl<B: Body + Default> Replay<B> for EmptyBody {
    fn copy(&self, body: &B) -> Option<B> {
        body.is_end_stream().then(B::default)
    }
}

/// Sends those requests again whose body this function copies.
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
