use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use reqwest::{Url, redirect::Policy};

/// The maximum number of redirects, as in reqwest's default policy.
const MAX_REDIRECTS: usize = 10;

/// Returns a redirect policy that stays within scheme, host and port: it follows up to ten such redirects, and returns
/// any other to the caller as a response.
///
/// reqwest drops the `Authorization` header if a redirect leaves the origin. With this policy it does not follow such a
/// redirect at all: the client sends nothing to an address that another server chose, and no request is sent without
/// the token that its caller expects on it.
///
/// A DPoP proof names its URL, so an API refuses it after any redirect: use reqwest's `Policy::none()` there, or a
/// [`TokenClient`](crate::TokenClient), which follows none with such a token.
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

/// Returns the same policy, for requests that are [tracked](RedirectState::track): any other follows no redirect.
pub(crate) fn tracked_redirects() -> Policy {
    within_origin(RedirectState::follow)
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
    static CURRENT: Cell<RedirectState> = const { Cell::new(RedirectState::Forbidden) };
}

/// The redirects of one request whose client was built with [`tracked_redirects`].
///
/// A redirect policy sees neither the request nor its future. But reqwest calls it while it polls that future, and on
/// the same thread: it spawns nothing between the two. If that ever changes, no redirect is followed, and none is
/// missed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectState {
    /// None was followed yet.
    Allowed,
    /// None may be followed.
    Forbidden,
    /// At least one was followed.
    Followed,
}

impl RedirectState {
    /// Awaits the future of a request, and returns its output and what happened to redirects.
    pub(crate) async fn track<F: Future>(mut self, request: F) -> (F::Output, Self) {
        let mut request = pin!(request);
        let output = poll_fn(|context| self.poll(request.as_mut(), context)).await;
        (output, self)
    }

    fn poll<F: Future>(
        &mut self,
        request: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        // A request may be polled within another one's poll: by a DNS resolver that uses an HTTP API.
        let outer = RestoreGuard(CURRENT.replace(*self));
        let output = request.poll(context);
        *self = CURRENT.get();
        drop(outer);
        output
    }

    /// Records a redirect within the origin, and returns whether to follow it.
    fn follow() -> bool {
        // Also outside of a tracked request, where the redirect would go unnoticed.
        let allowed = CURRENT.get() != Self::Forbidden;
        if allowed {
            CURRENT.set(Self::Followed);
        }
        allowed
    }
}

/// A guard that restores the outer request's redirects, even if the inner one panics.
struct RestoreGuard(RedirectState);

impl Drop for RestoreGuard {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_within_another_one_leaves_its_redirects() {
        let outer = async {
            let inner = RedirectState::Forbidden.track(async { RedirectState::follow() });
            assert!(matches!(inner.await, (false, RedirectState::Forbidden)));
            RedirectState::follow()
        };
        let outer = RedirectState::Allowed.track(outer).await;
        assert!(matches!(outer, (true, RedirectState::Followed)));
        assert!(!RedirectState::follow());
    }
}
