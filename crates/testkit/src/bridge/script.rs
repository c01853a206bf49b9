use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::sync::Notify;

/// The source below the adapter: it records its calls, and answers by script.
#[derive(Default)]
pub(super) struct Script {
    state: Mutex<State>,
    /// A call of `token` that hangs has begun.
    hangs: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) ready: Option<AccessToken>,
    /// The results of the next calls of `token`, last first; `None` hangs.
    pub(super) answers: Vec<Option<Result<AccessToken, TokenError>>>,
    pub(super) calls: usize,
    /// Calls that have begun and neither returned nor been dropped.
    pub(super) running: usize,
    pub(super) invalidated: Vec<AccessToken>,
}

impl Script {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a call of `token` hangs.
    pub(super) async fn hang(&self) {
        self.hangs.notified().await;
    }
}

/// Counts a call as running until it is dropped.
struct Running<'a>(&'a Script);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

#[async_trait]
impl TokenSource for Script {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let answer = {
            let mut state = self.state();
            state.calls += 1;
            state.running += 1;
            state.answers.pop()
        };
        let _running = Running(self);
        // As a real source does, it yields before it has a result.
        tokio::task::yield_now().await;
        match answer {
            Some(Some(result)) => {
                self.state().ready = result.clone().ok();
                result
            }
            Some(None) => {
                self.hangs.notify_one();
                std::future::pending().await
            }
            None => Err(TokenError::configuration(
                "the rule expects no further call of `token`",
            )),
        }
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        self.state().ready.clone()
    }

    fn invalidate(&self, token: &AccessToken) {
        let mut state = self.state();
        state.invalidated.push(token.clone());
        if state
            .ready
            .as_ref()
            .is_some_and(|ready| ready.is_same(token))
        {
            state.ready = None;
        }
    }
}
