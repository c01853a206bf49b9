use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use reqwest::{Url, redirect::Policy};

/// As many as reqwest follows by default.
const MAX_REDIRECTS: usize = 10;

/// Returns a redirect policy that stays within scheme, host and port: up to ten such redirects are followed, any other
/// is returned to the caller as the response that it is.
///
/// reqwest drops the `Authorization` header where a redirect leaves the origin. With this policy it does not follow
/// such a redirect at all: the client sends nothing to an address that another server chose, and no request goes out
/// without the token that its caller expects on it.
///
/// A DPoP proof names the URL that it was made for, so that an API refuses it after any redirect: use reqwest's
/// `Policy::none()` there, or a [`TokenClient`](crate::TokenClient), which follows none with such a token.
///
/// ```
/// let client = reqwest::Client::builder()
///     .redirect(hallpass_reqwest::same_origin_redirects())
///     .build()?;
/// # Ok::<(), reqwest::Error>(())
/// ```
pub fn same_origin_redirects() -> Policy {
    within_origin(|| true)
}

/// The same, for requests that are [watched](Redirects::watch): any other follows no redirect.
pub(crate) fn watched_redirects() -> Policy {
    within_origin(Redirects::follow)
}

fn within_origin(may_follow: impl Fn() -> bool + Send + Sync + 'static) -> Policy {
    Policy::custom(move |attempt| {
        let from = attempt.previous().last();
        if !from.is_some_and(|from| is_same_origin(from, attempt.url())) || !may_follow() {
            return attempt.stop();
        }
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        attempt.follow()
    })
}

fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.origin().is_tuple() && one.origin() == other.origin()
}

thread_local! {
    /// The redirects of the request whose future this thread is polling.
    static CURRENT: Cell<Redirects> = const { Cell::new(Redirects::Forbidden) };
}

/// The redirects of one request whose client was built with [`watched_redirects`].
///
/// A redirect policy sees neither the request nor its future. But reqwest asks it while it polls that future, and on the
/// same thread: it spawns nothing between the two. If that ever changes, no redirect is followed, and none is missed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// None was followed yet.
    Allowed,
    /// None is to be followed.
    Forbidden,
    /// At least one was followed.
    Followed,
}

impl Redirects {
    /// Awaits the future of a request, and returns with its output what became of redirects.
    pub(crate) async fn watch<F: Future>(mut self, request: F) -> (F::Output, Self) {
        let mut request = pin!(request);
        let output = poll_fn(|context| self.poll(request.as_mut(), context)).await;
        (output, self)
    }

    fn poll<F: Future>(
        &mut self,
        request: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        // A request may be polled within another one's poll: by a resolver of names that asks an HTTP API.
        let outer = Restore(CURRENT.replace(*self));
        let output = request.poll(context);
        *self = CURRENT.get();
        drop(outer);
        output
    }

    /// Notes a redirect within the origin, and returns whether to follow it.
    fn follow() -> bool {
        // Also outside of a watched request, where nobody would know of the redirect.
        let allowed = CURRENT.get() != Self::Forbidden;
        if allowed {
            CURRENT.set(Self::Followed);
        }
        allowed
    }
}

/// Puts the outer request's redirects back, also if the inner one panics.
struct Restore(Redirects);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
