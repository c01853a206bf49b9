//! A fetch that continues while librdkafka's thread does not wait for it.

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::{runtime::Handle, task::AbortHandle};

type Answer = Result<AccessToken, TokenError>;

/// A fetch on the runtime. Dropping it cancels the fetch.
pub(crate) struct Fetch {
    answer: mpsc::Receiver<Answer>,
    task: AbortHandle,
}

impl Fetch {
    pub(crate) fn start(
        runtime: &Handle,
        source: Arc<dyn TokenSource>,
        request: TokenRequest,
    ) -> Self {
        let (sender, answer) = mpsc::sync_channel(1);
        let task = runtime.spawn(async move {
            let answer = source.token(&request).await;
            // Nobody waits after a drop.
            let _ = sender.send(answer);
        });
        let task = task.abort_handle();
        Self { answer, task }
    }

    /// Waits for the answer; `None` if there is none within `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Answer> {
        match self.answer.recv_timeout(timeout) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(TokenError::unavailable(
                "the fetch of an access token was stopped: its runtime was shut down, or it panicked",
            ))),
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
