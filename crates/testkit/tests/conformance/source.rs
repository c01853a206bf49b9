//! A source with a chosen flaw, and the states of its server.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{
    AccessToken, Clock as _, Moment, SystemClock, TokenError, TokenRequest, TokenSource,
};
use hallpass_testkit::conformance::Rule;
use tokio::time::Instant;

pub(crate) const SECRET: &str = "s3cr3t-canary-of-the-kit";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// The `Retry-After` of a limited server.
pub(crate) const WAIT: Duration = Duration::from_secs(7);
/// The limit of a limited server: calls per window.
pub(crate) const LIMIT: (usize, Duration) = (2, Duration::from_secs(10));

/// A fault of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Fails,
    Hangs,
    Blocks,
    Panics,
    SecretInPanic,
    SecretInOnlyError,
    Expired,
    Eternal,
    FromTheFuture,
    OneAtATime,
    HangsInACrowd,
    PanicsInACrowd,
    OneLockForAll,
    PoisonedByLeaving,
    IgnoresScopes,
    SendsNoScopes,
    WidensScopes,
    OneTokenForAll,
    OneReadyForAll,
    IgnoresResources,
    PassesOverResources,
    OneTokenForAllResources,
    IgnoresAudiences,
    KeepsTokensWithoutAudiences,
    IgnoresParameters,
    KeepsTokensWithoutParameters,
    WrongSecretIsTransient,
    WrongSecretIsConfiguration,
    OutageIsPermanent,
    DropsRetryAfter,
    LimitIsPermanent,
    SecretInError,
    SecretInErrorSource,
    SecretInDebug,
    TokenInDebug,
    SecretInTrace,
    TokenInTrace,
    ReadyExpired,
    ReadyNeedsARuntime,
    KeepsTheRefused,
    DropsAnother,
    RestlessEpoch,
}

use Flaw as F;

/// Each flaw, with the rule that catches it.
pub(crate) const FLAWS: &[(Flaw, Rule)] = &[
    (F::Fails, Rule::ReturnsToken),
    (F::Hangs, Rule::ReturnsToken),
    (F::Blocks, Rule::ReturnsToken),
    (F::Panics, Rule::ReturnsToken),
    (F::SecretInPanic, Rule::ReturnsToken),
    (F::SecretInOnlyError, Rule::ReturnsToken),
    (F::Expired, Rule::ReturnsValidToken),
    (F::Eternal, Rule::ReturnsValidToken),
    (F::FromTheFuture, Rule::ReturnsValidToken),
    (F::OneAtATime, Rule::SupportsConcurrentCalls),
    (F::HangsInACrowd, Rule::SupportsConcurrentCalls),
    (F::PanicsInACrowd, Rule::SupportsConcurrentCalls),
    (F::OneLockForAll, Rule::ServesRequestsIndependently),
    (F::PoisonedByLeaving, Rule::SurvivesCancellation),
    (F::IgnoresScopes, Rule::HonoursScopes),
    (F::SendsNoScopes, Rule::HonoursScopes),
    (F::WidensScopes, Rule::HonoursScopes),
    (F::OneTokenForAll, Rule::SeparatesRequests),
    (F::OneReadyForAll, Rule::SeparatesRequests),
    (F::IgnoresResources, Rule::HonoursResources),
    (F::PassesOverResources, Rule::HonoursResources),
    (F::OneTokenForAllResources, Rule::HonoursResources),
    (F::IgnoresAudiences, Rule::HonoursAudiences),
    (F::KeepsTokensWithoutAudiences, Rule::HonoursAudiences),
    (F::IgnoresParameters, Rule::HonoursParameters),
    (F::KeepsTokensWithoutParameters, Rule::HonoursParameters),
    (F::WrongSecretIsTransient, Rule::ReportsWrongCredentials),
    (F::WrongSecretIsConfiguration, Rule::ReportsWrongCredentials),
    (F::OutageIsPermanent, Rule::ReportsUnavailableServer),
    (F::DropsRetryAfter, Rule::ReportsRetryAfter),
    (F::LimitIsPermanent, Rule::ReportsRetryAfter),
    (F::SecretInError, Rule::RedactsErrors),
    (F::SecretInErrorSource, Rule::RedactsErrors),
    (F::SecretInDebug, Rule::RedactsDebug),
    (F::TokenInDebug, Rule::RedactsDebug),
    (F::SecretInTrace, Rule::RedactsTraces),
    (F::TokenInTrace, Rule::RedactsTraces),
    (F::ReadyExpired, Rule::ReturnsValidReadyToken),
    (F::ReadyNeedsARuntime, Rule::ReturnsValidReadyToken),
    (F::KeepsTheRefused, Rule::InvalidatesOnlyRefusedToken),
    (F::DropsAnother, Rule::InvalidatesOnlyRefusedToken),
    (F::RestlessEpoch, Rule::MaintainsCredentialEpoch),
];

/// A source that caches the default request's last token, and is correct but for its flaw.
pub(crate) struct Source {
    flaw: Flaw,
    /// The server's behavior.
    fate: Fate,
    minted: AtomicUsize,
    /// The token request of each token.
    pub(crate) issued: Arc<Mutex<HashMap<String, String>>>,
    held: Mutex<Option<AccessToken>>,
    one_for_all: tokio::sync::Mutex<()>,
    /// The times of the requests to the server, oldest first.
    asked: Mutex<VecDeque<Instant>>,
    busy: AtomicUsize,
    poisoned: AtomicBool,
    epoch: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Well,
    WrongSecret,
    Unreachable,
    /// Every request exceeds the limit.
    OverLimit,
    /// Requests beyond [`LIMIT`] are refused.
    Limited,
}

impl Source {
    pub(crate) fn new(flaw: Flaw, fate: Fate) -> Self {
        Self {
            flaw,
            fate,
            minted: AtomicUsize::new(0),
            issued: Arc::default(),
            one_for_all: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
            held: Mutex::default(),
            busy: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
        }
    }

    fn mint(&self, asked: Moment, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let serial = self.minted.fetch_add(1, Ordering::SeqCst) + 1;
        let resource = request.resources().next().is_some();
        let scopes = TokenRequest::new().with_scopes(request.scopes().clone());
        let scopes_alone = *request == scopes;
        let name = match self.flaw {
            F::OneTokenForAll if scopes_alone => "the-same-token".to_owned(),
            F::OneTokenForAllResources if resource => "the-same-token".to_owned(),
            _ => format!("token-number-{serial}"),
        };
        let (asked, lifetime) = match self.flaw {
            F::Expired => (asked, Duration::ZERO),
            F::Eternal => (asked, Duration::MAX),
            F::FromTheFuture => {
                let later = asked.timestamp.saturating_add(MINUTE);
                (Moment::new(later, asked.wall + MINUTE), MINUTE)
            }
            _ => (asked, MINUTE),
        };
        let scopes = match self.flaw {
            F::IgnoresScopes => "something.else".parse().unwrap(),
            F::WidensScopes => format!("{} admin", request.scopes())
                .trim()
                .parse()
                .unwrap(),
            _ => request.scopes().clone(),
        };
        let token = AccessToken::bearer(&name, asked, lifetime)?.with_scopes(scopes);
        self.issued.lock().unwrap().insert(name, self.sent(request));
        if self.flaw == F::TokenInTrace {
            tracing::trace!(token = token.expose(), "minted");
        }
        Ok(token)
    }

    /// Returns the body of the token request.
    fn sent(&self, request: &TokenRequest) -> String {
        let scope = [request.scopes().as_str()];
        let parameters = request.parameters().map(|(_, value)| value);
        let parts: [(Flaw, Vec<&str>); 4] = [
            (F::SendsNoScopes, scope.to_vec()),
            (F::IgnoresResources, request.resources().collect()),
            (F::IgnoresAudiences, request.audiences().collect()),
            (F::IgnoresParameters, parameters.collect()),
        ];
        let sent = parts.into_iter().filter(|(flaw, _)| *flaw != self.flaw);
        format!("{:?}", sent.map(|(_, values)| values).collect::<Vec<_>>())
    }

    /// Returns the rest of the window, if the server was called too often in it.
    fn over_limit(&self) -> Option<Duration> {
        let (calls, window) = LIMIT;
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap();
        asked.retain(|at| *at + window > now);
        if asked.len() >= calls {
            return Some(asked[0] + window - now);
        }
        asked.push_back(now);
        None
    }

    fn limited(&self, wait: Duration) -> TokenError {
        let error = TokenError::unavailable("too many requests");
        match self.flaw {
            F::DropsRetryAfter => error,
            F::LimitIsPermanent => error.with_retry_after(wait).with_transient(false),
            _ => error.with_retry_after(wait),
        }
    }

    /// Fails if there is no token.
    fn refuse(&self) -> Result<(), TokenError> {
        if self.flaw == F::SecretInTrace {
            tracing::debug!(bytes = ?SECRET.as_bytes(), "sending");
        }
        let error = match self.fate {
            Fate::Well => return Ok(()),
            Fate::WrongSecret => match self.flaw {
                F::WrongSecretIsTransient => {
                    TokenError::credentials_refused("no").with_transient(true)
                }
                F::WrongSecretIsConfiguration => TokenError::configuration("no"),
                F::SecretInError => {
                    TokenError::credentials_refused(format!("the server refused {SECRET}"))
                }
                F::SecretInErrorSource => TokenError::credentials_refused("no")
                    .with_source(format!("https://login.example/?client_secret={SECRET}")),
                _ => TokenError::credentials_refused("no"),
            },
            Fate::Unreachable => match self.flaw {
                F::OutageIsPermanent => TokenError::unavailable("no").with_transient(false),
                _ => TokenError::unavailable("no"),
            },
            Fate::OverLimit => self.limited(WAIT),
            Fate::Limited => match self.over_limit() {
                None => return Ok(()),
                Some(wait) => self.limited(wait),
            },
        };
        Err(error)
    }
}

/// A guard of one call: it counts the call down, and poisons the source unless the call is done.
struct Busy<'a> {
    source: &'a Source,
    done: bool,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.source.busy.fetch_sub(1, Ordering::SeqCst);
        if !self.done {
            self.source.poisoned.store(true, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.refuse()?;
        let asked = SystemClock.moment();
        match self.flaw {
            F::Fails => return Err(TokenError::unavailable("it never works")),
            F::Hangs => std::future::pending().await,
            F::Blocks => std::thread::sleep(60 * MINUTE),
            F::Panics => panic!("a source that panics"),
            F::SecretInPanic => panic!("a source that panics with {SECRET}"),
            F::SecretInOnlyError => {
                return Err(TokenError::unavailable(format!("it sent {SECRET}")));
            }
            F::PoisonedByLeaving if self.poisoned.load(Ordering::SeqCst) => {
                return Err(TokenError::unavailable(
                    "another call is under way for ever",
                ));
            }
            _ => {}
        }
        let busy = self.busy.fetch_add(1, Ordering::SeqCst);
        let mut under_way = Busy {
            source: self,
            done: false,
        };
        match self.flaw {
            F::OneAtATime if busy > 0 => return Err(TokenError::unavailable("busy")),
            F::HangsInACrowd if busy > 10 => std::future::pending().await,
            F::PanicsInACrowd if busy > 10 => panic!("too many"),
            _ => {}
        }
        let _lock = match self.flaw {
            F::OneLockForAll => Some(self.one_for_all.lock().await),
            _ => None,
        };
        tokio::task::yield_now().await;
        let passed_over = match self.flaw {
            F::PassesOverResources => request.resources().next().is_some(),
            F::KeepsTokensWithoutAudiences => request.audiences().next().is_some(),
            F::KeepsTokensWithoutParameters => request.parameters().next().is_some(),
            _ => false,
        };
        if passed_over && let Some(held) = self.held.lock().unwrap().clone() {
            return Ok(held);
        }
        let token = self.mint(asked, request)?;
        if request.is_default() || self.flaw == F::OneReadyForAll {
            *self.held.lock().unwrap() = Some(token.clone());
        }
        under_way.done = true;
        if self.flaw == F::RestlessEpoch {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        Ok(token)
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        match self.flaw {
            F::ReadyExpired if request.is_default() => {
                let past =
                    Moment::new(SystemClock.now().saturating_sub(MINUTE), SystemClock.wall());
                return AccessToken::bearer("an-old-token", past, MINUTE / 2).ok();
            }
            F::ReadyNeedsARuntime => drop(tokio::runtime::Handle::current()),
            _ => {}
        }
        let held = self.held.lock().unwrap().clone();
        let held = held.filter(|_| request.is_default() || self.flaw == F::OneReadyForAll);
        held.filter(|held| !held.is_expired(SystemClock.now()))
    }

    fn invalidate(&self, token: &AccessToken) {
        let mut held = self.held.lock().unwrap();
        let refused = held.as_ref().is_some_and(|held| held.is_same(token));
        match self.flaw {
            F::KeepsTheRefused => {}
            F::DropsAnother => *held = None,
            _ if refused => *held = None,
            _ => {}
        }
    }

    fn credential_epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Source");
        match self.flaw {
            F::SecretInDebug => shown.field("secret", &SECRET),
            F::TokenInDebug => {
                let held = self.held.lock().unwrap();
                shown.field("held", &held.as_ref().map(AccessToken::expose))
            }
            _ => &mut shown,
        };
        shown.finish_non_exhaustive()
    }
}
