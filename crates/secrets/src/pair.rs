use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource};

/// Two secrets of one client, of which the server accepts at least one: for a rotation in which they overlap.
///
/// It returns the first source's secret. When the server refuses that, it returns the second source's, until that is
/// refused in turn. So each may be replaced while the other one works, in any order, without telling the client which
/// one is current. A source that cannot be read is skipped.
///
/// Each secret is read again before the pair switches. If both were refused, it starts over with the one in use: a
/// call tries at most two secrets, and a wrong pair causes no further attempts.
///
/// ```
/// use hallpass_secrets::{FileSecret, SecretPair};
///
/// let secret = SecretPair::new(
///     FileSecret::new("/run/secrets/client-secret-a"),
///     FileSecret::new("/run/secrets/client-secret-b"),
/// );
/// ```
#[derive(Debug)]
pub struct SecretPair<A, B> {
    first: A,
    second: B,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    second_is_in_use: bool,
    /// The secrets that the server refused last, from either source: two at most.
    refused: Vec<Secret>,
}

impl<A: SecretSource, B: SecretSource> SecretPair<A, B> {
    /// Creates a source that tries the secret of `first`, then that of `second`.
    pub fn new(first: A, second: B) -> Self {
        Self {
            first,
            second,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self, second: bool) -> &dyn SecretSource {
        if second { &self.second } else { &self.first }
    }
}

#[async_trait]
impl<A: SecretSource, B: SecretSource> SecretSource for SecretPair<A, B> {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let in_use = self.state().second_is_in_use;
        let one = self.source(in_use).secret().await;
        if let Ok(secret) = &one
            && !self.state().is_refused(secret)
        {
            return one;
        }
        let other = self.source(!in_use).secret().await;
        let mut state = self.state();
        match (one, other) {
            (_, Ok(other)) if !state.is_refused(&other) => {
                if state.second_is_in_use == in_use {
                    state.second_is_in_use = !in_use;
                    tracing::info!(second = !in_use, "switched to the other secret of the pair");
                }
                Ok(other)
            }
            // The server has refused both: it may accept one by now.
            (Ok(one), _) => {
                state.refused.clear();
                Ok(one)
            }
            (Err(_), Ok(other)) => Ok(other),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Changes when one of the secrets does. A switch between them does not change it: a cached refusal covers both.
    fn epoch(&self) -> u64 {
        self.first.epoch().wrapping_add(self.second.epoch())
    }

    fn refused(&self, secret: &Secret) {
        self.first.refused(secret);
        self.second.refused(secret);
        let mut state = self.state();
        if !state.is_refused(secret) {
            state.refused.push(secret.clone());
            let too_many = state.refused.len().saturating_sub(2);
            state.refused.drain(..too_many);
        }
    }
}

impl State {
    fn is_refused(&self, secret: &Secret) -> bool {
        self.refused.iter().any(|refused| refused.matches(secret))
    }
}

#[cfg(test)]
mod tests {
    use hallpass_testkit::{RotatingSecret, leak};

    use super::*;

    fn pair() -> (
        RotatingSecret,
        RotatingSecret,
        SecretPair<RotatingSecret, RotatingSecret>,
    ) {
        let (first, second) = (RotatingSecret::new("a"), RotatingSecret::new("b"));
        let pair = SecretPair::new(first.clone(), second.clone());
        (first, second, pair)
    }

    async fn yielded(pair: &SecretPair<RotatingSecret, RotatingSecret>) -> Secret {
        pair.secret().await.unwrap()
    }

    // covers: F-110
    #[tokio::test]
    async fn a_refusal_switches_to_the_other_secret_and_back() {
        let (first, second, pair) = pair();
        let a = yielded(&pair).await;
        assert_eq!(a.expose(), "a");
        assert_eq!(second.reads(), 0);
        // A thousand calls were in flight.
        for _ in 0..1_000 {
            pair.refused(&a);
        }
        let b = yielded(&pair).await;
        assert_eq!(b.expose(), "b");
        // Late reports change nothing.
        pair.refused(&a);
        assert_eq!(yielded(&pair).await.expose(), "b");
        first.rotate("c");
        pair.refused(&b);
        assert_eq!(yielded(&pair).await.expose(), "c");
        assert_eq!(pair.epoch(), 1);
    }

    // covers: F-110
    #[tokio::test]
    async fn the_secret_in_use_is_read_again_before_the_switch() {
        let (first, second, pair) = pair();
        let a = yielded(&pair).await;
        first.rotate("c");
        pair.refused(&a);
        assert_eq!(yielded(&pair).await.expose(), "c");
        assert_eq!(second.reads(), 0);
    }

    // covers: F-110
    #[tokio::test]
    async fn two_wrong_secrets_are_tried_once_each() {
        let (_, _, pair) = pair();
        for _ in 0..3 {
            // One call tries another secret after a refusal, and then no more.
            let one = yielded(&pair).await;
            pair.refused(&one);
            let other = yielded(&pair).await;
            assert!(!one.matches(&other));
            pair.refused(&other);
        }
        assert_eq!(pair.epoch(), 0);
        assert!(pair.state().refused.len() <= 2);
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_skipped() {
        let (first, second, pair) = pair();
        first.fail(SecretError::new("the first is missing"));
        let b = yielded(&pair).await;
        assert_eq!(b.expose(), "b");
        // There is no other secret to try.
        pair.refused(&b);
        assert_eq!(yielded(&pair).await.expose(), "b");
        second.fail(SecretError::new("the second is missing"));
        assert!(pair.secret().await.is_err());
        first.rotate("a");
        assert_eq!(yielded(&pair).await.expose(), "a");
    }

    // covers: F-99
    #[tokio::test]
    async fn debug_shows_no_secret() {
        let pair = SecretPair::new(
            RotatingSecret::new("CANARY-1"),
            RotatingSecret::new("CANARY-2"),
        );
        let one = yielded(&pair).await;
        assert!(leak::find(one.expose(), "CANARY").is_some());
        pair.refused(&one);
        leak::assert_clean(&format!("{pair:?} {pair:#?}"), "CANARY");
    }
}
