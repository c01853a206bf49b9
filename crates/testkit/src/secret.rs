use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource, SecretStore};

/// A secret that a test rotates, or that a source under test saves. Clones share it.
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_testkit::RotatingSecret;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let secret = RotatingSecret::new("first");
/// secret.rotate("second");
/// assert_eq!(secret.secret().await.unwrap().expose(), "second");
/// assert_eq!((secret.epoch(), secret.reads(), secret.refusals()), (1, 1, 0));
/// # }
/// ```
#[derive(Clone)]
pub struct RotatingSecret(Arc<Mutex<State>>);

struct State {
    now: Result<Secret, SecretError>,
    /// The secret after the next reading.
    then: Option<Secret>,
    epoch: u64,
    reads: usize,
    refusals: usize,
    saves: usize,
    fails_saving: Option<SecretError>,
}

impl RotatingSecret {
    /// Creates a secret with this value until it is rotated.
    ///
    /// # Panics
    ///
    /// If it is empty.
    pub fn new(secret: &str) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: Ok(legal(secret)),
            then: None,
            epoch: 0,
            reads: 0,
            refusals: 0,
            saves: 0,
            fails_saving: None,
        })))
    }

    /// Replaces the secret from now on; the epoch rises.
    ///
    /// # Panics
    ///
    /// If it is empty.
    pub fn rotate(&self, secret: &str) {
        self.state().change(legal(secret));
    }

    /// Rotates right after the next reading, while the request with the previous secret is in flight.
    ///
    /// # Panics
    ///
    /// If it is empty.
    pub fn rotate_after_reading(&self, secret: &str) {
        self.state().then = Some(legal(secret));
    }

    /// Fails each reading from now on, until it is rotated.
    pub fn fail(&self, error: SecretError) {
        self.state().now = Err(error);
    }

    /// Returns the number of readings.
    pub fn reads(&self) -> usize {
        self.state().reads
    }

    /// Returns the number of refusals reported for it.
    pub fn refusals(&self) -> usize {
        self.state().refusals
    }

    /// Fails each save with this error from now on, or stops doing so.
    pub fn fail_saving(&self, error: Option<SecretError>) {
        self.state().fails_saving = error;
    }

    /// Returns the number of attempts to save it.
    pub fn saves(&self) -> usize {
        self.state().saves
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn legal(secret: &str) -> Secret {
    // A mistake in a test must stop the test.
    Secret::new(secret).unwrap_or_else(|error| panic!("a test's secret: {error}"))
}

impl State {
    fn change(&mut self, secret: Secret) {
        self.now = Ok(secret);
        self.epoch += 1;
    }
}

#[async_trait]
impl SecretSource for RotatingSecret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let mut state = self.state();
        state.reads += 1;
        let secret = state.now.clone();
        if let Some(next) = state.then.take() {
            state.change(next);
        }
        secret
    }

    fn epoch(&self) -> u64 {
        self.state().epoch
    }

    fn refused(&self, _: &Secret) {
        self.state().refusals += 1;
    }
}

#[async_trait]
impl SecretStore for RotatingSecret {
    async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        let mut state = self.state();
        state.saves += 1;
        if let Some(error) = &state.fails_saving {
            return Err(error.clone());
        }
        // Saving is no external change: the epoch stays.
        state.now = Ok(secret.clone());
        Ok(())
    }
}

impl fmt::Debug for RotatingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("RotatingSecret")
            .field("epoch", &state.epoch)
            .field("reads", &state.reads)
            .field("refusals", &state.refusals)
            .finish_non_exhaustive()
    }
}
