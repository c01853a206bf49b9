//! Shows that the kit can fail: each of these sources breaks one rule, and only that rule reports it.

#![allow(missing_docs, clippy::unwrap_used)]

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
use hallpass_testkit::{
    StaticSource,
    conformance::{Rule, Subject, Violation, check},
};
use tokio::time::Instant;

const SECRET: &str = "s3cr3t-canary-of-the-kit";
const MINUTE: Duration = Duration::from_secs(60);
/// The `Retry-After` of a limited server.
const WAIT: Duration = Duration::from_secs(7);
/// The limit of a limited server: calls per window.
const LIMIT: (usize, Duration) = (2, Duration::from_secs(10));

/// A fault of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
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
const FLAWS: &[(Flaw, Rule)] = &[
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
struct Source {
    flaw: Flaw,
    /// The server's behavior.
    fate: Fate,
    minted: AtomicUsize,
    /// The token request of each token.
    issued: Arc<Mutex<HashMap<String, String>>>,
    held: Mutex<Option<AccessToken>>,
    one_for_all: tokio::sync::Mutex<()>,
    /// The times of the requests to the server, oldest first.
    asked: Mutex<VecDeque<Instant>>,
    busy: AtomicUsize,
    poisoned: AtomicBool,
    epoch: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    WrongSecret,
    Unreachable,
    /// Every request exceeds the limit.
    OverLimit,
    /// Requests beyond [`LIMIT`] are refused.
    Limited,
}

impl Source {
    fn new(flaw: Flaw, fate: Fate) -> Self {
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

fn of(flaw: Flaw) -> Subject {
    of_fate(flaw, Fate::Well).with_limited_server(Source::new(flaw, Fate::OverLimit), WAIT)
}

fn of_fate(flaw: Flaw, fate: Fate) -> Subject {
    let source = Source::new(flaw, fate);
    let issued = source.issued.clone();
    Subject::new(source)
        .secret(SECRET)
        .scopes("orders.read", "orders.read orders.write")
        .resources("https://a.example", "https://b.example")
        .audiences("https://c.example", "https://d.example")
        .parameter("tenant", "tenant-one", "tenant-two")
        .issued_for(move |token| issued.lock().unwrap()[token.expose()].clone())
        .with_wrong_credentials(Source::new(flaw, Fate::WrongSecret))
        .with_unreachable_server(Source::new(flaw, Fate::Unreachable))
}

/// Returns the violations of all rules, checked concurrently: some of them wait for timeouts.
fn violations(subject: impl Fn() -> Subject + Clone + Send + 'static) -> Vec<Violation> {
    let rules: Vec<_> = Rule::ALL
        .iter()
        .map(|&rule| {
            let subject = subject.clone();
            std::thread::spawn(move || check(rule, move || async move { subject() }).err())
        })
        .collect();
    let ended = rules.into_iter().filter_map(|rule| rule.join().unwrap());
    ended.collect()
}

/// Returns the rules of these violations, either those that were checked or those that were not.
fn rules(violations: &[Violation], checked: bool) -> Vec<Rule> {
    let of_kind = violations.iter().filter(|one| one.checked == checked);
    of_kind.map(|violation| violation.rule).collect()
}

// covers: F-74, F-84, F-85
#[test]
fn each_flaw_is_caught_by_its_rule_and_no_other() {
    let all: Vec<_> = FLAWS
        .iter()
        .map(|&(flaw, rule)| {
            let checks = std::thread::spawn(move || violations(move || of(flaw)));
            (flaw, rule, checks)
        })
        .collect();
    for (flaw, rule, checks) in all {
        let violations = checks.join().unwrap();
        assert_eq!(rules(&violations, true), [rule], "{flaw:?}");
        // Without a token nothing else can be checked, and nothing else passes.
        let others = if rule == Rule::ReturnsToken {
            &Rule::ALL[1..]
        } else {
            &[]
        };
        assert_eq!(rules(&violations, false), others, "{flaw:?}");
        for violation in violations {
            assert!(!violation.to_string().contains(SECRET), "{violation}");
        }
    }
}

#[test]
fn every_rule_has_a_flaw_that_it_catches() {
    for rule in Rule::ALL {
        assert!(FLAWS.iter().any(|(_, by)| by == rule), "{rule:?}");
    }
}

#[test]
fn a_source_without_a_flaw_breaks_no_rule() {
    assert_eq!(violations(|| of(F::None)), []);
}

#[test]
fn a_missing_input_of_a_rule_is_a_failure_that_names_it() {
    // Supports every part of a request, and its subject names none of them.
    let honours = violations(|| Subject::new(Source::new(F::None, Fate::Well)));
    let parts = [
        (Rule::HonoursScopes, "Subject::scopes"),
        (Rule::HonoursResources, "Subject::resources"),
        (Rule::HonoursAudiences, "Subject::audiences"),
        (Rule::HonoursParameters, "Subject::parameter"),
    ];
    assert_eq!(rules(&honours, true), parts.map(|(rule, _)| rule));
    for (rule, method) in parts {
        let violation = honours.iter().find(|violation| violation.rule == rule);
        assert!(violation.unwrap().seen.contains(method), "{rule:?}");
    }
    // A source that refuses them breaks nothing; parts missing in its subject are reported as not checked.
    let refuses = violations(|| Subject::new(OneToken));
    assert_eq!(rules(&refuses, true), []);
    assert_eq!(
        rules(&refuses, false),
        [
            Rule::ServesRequestsIndependently,
            Rule::SeparatesRequests,
            Rule::ReportsWrongCredentials,
            Rule::ReportsUnavailableServer,
            Rule::ReportsRetryAfter,
            Rule::RedactsErrors,
            Rule::RedactsDebug,
            Rule::RedactsTraces,
        ]
    );
    for violation in refuses {
        let text = violation.to_string();
        assert!(
            text.contains(" was not checked: the subject ") || text.contains(" of the subject "),
            "{text}"
        );
        assert!(text.contains("under `ignored`"), "{text}");
    }
    // Without a view of the server nothing shows that a part reached it.
    let unseen = violations(|| {
        Subject::new(Source::new(F::None, Fate::Well))
            .scopes("orders.read", "orders.write")
            .resources("https://a.example", "https://b.example")
            .audiences("https://c.example", "https://d.example")
            .parameter("tenant", "tenant-one", "tenant-two")
    });
    assert_eq!(rules(&unseen, true), []);
    let unchecked = rules(&unseen, false);
    for (rule, _) in parts {
        assert!(unchecked.contains(&rule), "{rule:?}");
    }
}

/// Pauses time, except for the kit's waits.
fn limited(flaw: Flaw) -> Subject {
    tokio::time::pause();
    of_fate(flaw, Fate::Limited)
}

// covers: F-52
#[test]
fn a_rate_limited_server_is_called_within_its_limit() {
    let (calls, window) = LIMIT;
    let kept = violations(move || limited(F::None).limited_to(calls, window));
    assert_eq!(kept, []);
    let dropped = violations(move || limited(F::DropsRetryAfter).limited_to(calls, window));
    assert_eq!(rules(&dropped, true), [Rule::ReportsRetryAfter]);
    // Positive control: a subject that does not mention the limit breaks rules.
    let unmentioned = violations(|| limited(F::None));
    assert!(
        rules(&unmentioned, true).contains(&Rule::SupportsConcurrentCalls),
        "{unmentioned:?}"
    );
    // A limit that is never exceeded shows no `Retry-After`.
    let ample = violations(|| of_fate(F::None, Fate::Well).limited_to(5, MINUTE / 100));
    assert_eq!(rules(&ample, true), []);
    assert_eq!(rules(&ample, false), [Rule::ReportsRetryAfter]);
}

#[test]
fn a_violation_shows_promise_observation_and_remedy() {
    let violation = check(Rule::ReturnsValidToken, || async { of(F::Expired) }).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "the source breaks the rule ReturnsValidToken\n  \
         promise: a token is valid when it is returned, its lifetime counts from the start of the request, and it expires within ten years\n  \
         seen:    the token had expired when it was returned\n  \
         to do:   read the clock before the request is sent, and limit a lifetime that is missing or too long"
    );
    let leak = check(Rule::RedactsErrors, || async { of(F::SecretInError) }).unwrap_err();
    assert!(!leak.to_string().contains(SECRET), "{leak}");
}

#[test]
fn a_wrong_description_is_one_failure() {
    type Describe = fn(Subject) -> Subject;

    let cases: [(Rule, Describe, &str); 6] = [
        (
            Rule::HonoursScopes,
            |subject| subject.scopes("\"", "b"),
            "the subject could not be made: the subject's scopes",
        ),
        (
            Rule::SeparatesRequests,
            |subject| subject.scopes("a b", "b a"),
            "two sets of scopes are the same",
        ),
        (
            Rule::HonoursResources,
            |subject| subject.resources("https://a.example/#fragment", "no uri"),
            "the subject's resource `https://a.example/#fragment` is not a resource",
        ),
        (
            Rule::HonoursParameters,
            |subject| subject.parameter("scope", "one", "two"),
            "the subject's parameter with the value `one` is not a parameter",
        ),
        (
            Rule::SupportsConcurrentCalls,
            |subject| subject.limited_to(0, MINUTE),
            "the subject's server answers no call at all",
        ),
        (
            Rule::ReportsWrongCredentials,
            |subject| subject.with_wrong_credentials(Source::new(F::None, Fate::Well)),
            "the description is wrong",
        ),
    ];
    for (rule, describe, expected) in cases {
        let violation = check(rule, move || async move { describe(of(F::None)) });
        let violation = violation.unwrap_err();
        assert_eq!(violation.rule, rule);
        assert!(violation.seen.contains(expected), "{violation}");
    }
}

#[test]
fn a_panic_of_a_subject_is_reported_without_its_message() {
    let violation = check(Rule::ReturnsToken, || async {
        assert!(SECRET.is_empty(), "no server for {SECRET}");
        of(F::None)
    });
    let violation = violation.unwrap_err();
    assert_eq!(violation.seen, "the subject could not be made: it panicked");
}

/// A source with one token, for the default request.
#[derive(Debug)]
struct OneToken;

#[async_trait]
impl TokenSource for OneToken {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        if !request.is_default() {
            return Err(TokenError::request_refused("there is one token"));
        }
        Ok(AccessToken::bearer(
            "one-token-of-the-test",
            SystemClock.moment(),
            MINUTE,
        )?)
    }
}

#[allow(clippy::unused_async)] // As the kit wants it.
async fn one_token() -> Subject {
    Subject::new(OneToken).secret("one-token-of-the-test")
}

hallpass_testkit::conformance!(one_token, one_token(), ignored: {
    serves_requests_independently: "there is one request",
    separates_requests: "there is one request",
    reports_wrong_credentials: "it has no credentials",
    reports_unavailable_server: "it asks no server",
    reports_retry_after: "it asks no server",
    redacts_errors: "it asks no server",
});

#[test]
fn a_static_source_ignores_the_request() {
    let token = AccessToken::bearer("a-token-of-the-test", SystemClock.moment(), MINUTE).unwrap();
    let violations = violations(move || Subject::new(StaticSource::new(token.clone())));
    assert_eq!(
        rules(&violations, true),
        [
            Rule::HonoursScopes,
            Rule::HonoursResources,
            Rule::HonoursAudiences,
            Rule::HonoursParameters,
        ]
    );
}

#[allow(clippy::unused_async)]
async fn shared_subject() -> Subject {
    // Pointers are also sources.
    let source = Arc::new(Source::new(F::None, Fate::Well));
    let issued = source.issued.clone();
    Subject::new(source)
        .secret(SECRET)
        .scopes("orders.read", "orders.read orders.write")
        .resources("https://a.example", "https://b.example")
        .audiences("https://c.example", "https://d.example")
        .parameter("tenant", "tenant-one", "tenant-two")
        .issued_for(move |token| issued.lock().unwrap()[token.expose()].clone())
        .with_wrong_credentials(Arc::new(Source::new(F::None, Fate::WrongSecret)))
        .with_unreachable_server(Arc::new(Source::new(F::None, Fate::Unreachable)))
        .with_limited_server(Arc::new(Source::new(F::None, Fate::OverLimit)), WAIT)
}

hallpass_testkit::conformance!(pointer, shared_subject());
