//! A source of tokens that a test controls.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource, async_trait};
use hallpass_testkit::Gate;
use tokio::sync::watch;

#[derive(Clone, Default)]
pub(crate) struct Source(Arc<Inner>);

#[derive(Default)]
struct Inner {
    ready: Mutex<Option<AccessToken>>,
    /// The number of calls of `ready_token` so far.
    reads: watch::Sender<usize>,
    calls: AtomicUsize,
    ended: watch::Sender<usize>,
    /// Each call of `token` waits for it.
    gate: Gate,
    answer: Mutex<Option<Result<AccessToken, TokenError>>>,
    invalidated: Mutex<Vec<String>>,
}

impl Source {
    pub(crate) fn set_ready(&self, token: Option<AccessToken>) {
        *self.0.ready.lock().unwrap() = token;
    }

    /// Answers each call of `token` with this, those that wait included.
    pub(crate) fn answer(&self, answer: Result<AccessToken, TokenError>) {
        *self.0.answer.lock().unwrap() = Some(answer);
        self.0.gate.open();
    }

    /// Waits for this number of calls of `ready_token` from now on.
    pub(crate) async fn read_again(&self, count: usize) {
        let mut reads = self.0.reads.subscribe();
        let before = *reads.borrow();
        let reached = reads.wait_for(|reads| *reads >= before + count);
        super::within(reached).await.unwrap();
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Waits until this number of calls of `token` has begun.
    pub(crate) async fn called(&self, count: usize) {
        super::within(self.0.gate.arrived(count)).await;
    }

    /// Waits until this number of calls of `token` has returned or was dropped.
    pub(crate) async fn ended(&self, count: usize) {
        let mut ended = self.0.ended.subscribe();
        let reached = ended.wait_for(|ended| *ended >= count);
        super::within(reached).await.unwrap();
    }

    pub(crate) fn invalidated(&self) -> Vec<String> {
        self.0.invalidated.lock().unwrap().clone()
    }
}

/// Counts a call as ended when it is dropped.
struct End<'a>(&'a Inner);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let _end = End(&self.0);
        self.0.gate.pass().await;
        self.0.answer.lock().unwrap().clone().unwrap()
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        self.0.reads.send_modify(|reads| *reads += 1);
        self.0.ready.lock().unwrap().clone()
    }

    fn invalidate(&self, token: &AccessToken) {
        let mut ready = self.0.ready.lock().unwrap();
        if ready.as_ref().is_some_and(|ready| ready.is_same(token)) {
            *ready = None;
        }
        let mut invalidated = self.0.invalidated.lock().unwrap();
        invalidated.push(token.expose().to_owned());
    }
}
