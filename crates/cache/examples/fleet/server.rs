//! A simulated authorization server, and the token source of a process that uses it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Clock as _, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::TokioClock;
use tokio::time;

/// An authorization server in virtual time; clones share its state.
#[derive(Clone)]
pub(crate) struct Server {
    clock: TokioClock,
    state: Arc<Mutex<State>>,
}

struct State {
    latency: Duration,
    lifetime: Duration,
    /// The versions of the secret that are accepted.
    secrets: Vec<u8>,
    requests: usize,
    refused: usize,
    /// The number of the process that sent the last request.
    last_client: usize,
    /// Tokens with a lower number are revoked.
    first_valid: usize,
}

impl Server {
    pub(crate) fn new(clock: TokioClock, latency: Duration, lifetime: Duration) -> Self {
        let state = State {
            latency,
            lifetime,
            secrets: vec![1],
            requests: 0,
            refused: 0,
            last_client: 0,
            first_valid: 0,
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.state().requests
    }

    /// Returns the number of requests with a secret that was not accepted.
    pub(crate) fn refused(&self) -> usize {
        self.state().refused
    }

    pub(crate) fn last_client(&self) -> usize {
        self.state().last_client
    }

    pub(crate) fn accept(&self, secrets: &[u8]) {
        self.state().secrets = secrets.to_vec();
    }

    /// Revokes all tokens that were issued so far.
    pub(crate) fn revoke(&self) {
        let mut state = self.state();
        state.first_valid = state.requests + 1;
    }

    /// Returns true if an API accepts this token.
    pub(crate) fn accepts(&self, token: &AccessToken) -> bool {
        let number = token.expose().parse::<usize>();
        number.is_ok_and(|number| number >= self.state().first_valid)
    }

    async fn issue(&self, client: usize, secret: u8) -> Result<AccessToken, TokenError> {
        let requested_at = self.clock.moment();
        let (number, accepted, latency, lifetime) = {
            let mut state = self.state();
            let accepted = state.secrets.contains(&secret);
            state.requests += 1;
            state.refused += usize::from(!accepted);
            state.last_client = client;
            (state.requests, accepted, state.latency, state.lifetime)
        };
        time::sleep(latency).await;
        if !accepted {
            return Err(TokenError::credentials_refused("the secret is wrong"));
        }
        Ok(AccessToken::bearer(
            &number.to_string(),
            requested_at,
            lifetime,
        )?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token source of one process.
pub(crate) struct Client {
    server: Server,
    number: usize,
    secret: Arc<AtomicU8>,
}

impl Client {
    /// Creates the source of the process with this number; `secret` is the version that it reads.
    pub(crate) fn new(server: Server, number: usize, secret: Arc<AtomicU8>) -> Self {
        Self {
            server,
            number,
            secret,
        }
    }

    fn secret(&self) -> u8 {
        self.secret.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl TokenSource for Client {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.server.issue(self.number, self.secret()).await
    }

    fn credential_epoch(&self) -> u64 {
        self.secret().into()
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        Some([self.secret(); 32])
    }
}
