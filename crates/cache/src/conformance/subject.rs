use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use crate::TokenStore;

/// A store to check: new and empty for each rule.
pub struct Subject {
    pub(crate) one: Arc<dyn TokenStore>,
    pub(crate) other: Arc<dyn TokenStore>,
    wait: Box<dyn Fn(Duration) -> Wait + Send + Sync>,
    /// Dropped when the rule has been checked.
    kept: Vec<Box<dyn Send>>,
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Subject {
    /// Creates a subject from two handles of one store, as two processes have them.
    pub fn new(one: impl TokenStore + 'static, other: impl TokenStore + 'static) -> Self {
        Self {
            one: Arc::new(one),
            other: Arc::new(other),
            wait: Box::new(|time| Box::pin(tokio::time::sleep(time))),
            kept: Vec::new(),
        }
    }

    /// Lets time pass by this function instead of waiting, for a store whose clock a test sets.
    #[must_use]
    pub fn wait_with(mut self, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.wait = Box::new(move |time| {
            pass(time);
            Box::pin(std::future::ready(()))
        });
        self
    }

    /// Keeps a value until the rule has been checked, such as the server that the store uses.
    #[must_use]
    pub fn keep_alive(mut self, value: impl Send + 'static) -> Self {
        self.kept.push(Box::new(value));
        self
    }

    pub(crate) async fn wait(&self, time: Duration) {
        (self.wait)(time).await;
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}
