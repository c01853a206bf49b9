//! The kit can fail: each of these sources breaks one rule, and is caught by that rule and no other.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
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
    conformance::{Rule, Subject, check},
};

const SECRET: &str = "s3cr3t-canary-of-the-kit";
const MINUTE: Duration = Duration::from_secs(60);

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    Fails,
    Hangs,
    Blocks,
    Panics,
    Expired,
    Eternal,
    FromTheFuture,
    OneAtATime,
    HangsInACrowd,
    PanicsInACrowd,
    PoisonedByLeaving,
    IgnoresScopes,
    WidensScopes,
    OneTokenForAll,
    OneReadyForAll,
    PassesOverResources,
    OneTokenForAllResources,
    WrongSecretIsTransient,
    WrongSecretIsConfiguration,
    OutageIsPermanent,
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
    (F::Fails, Rule::YieldsAToken),
    (F::Hangs, Rule::YieldsAToken),
    (F::Blocks, Rule::YieldsAToken),
    (F::Panics, Rule::YieldsAToken),
    (F::Expired, Rule::LivesForAWhile),
    (F::Eternal, Rule::LivesForAWhile),
    (F::FromTheFuture, Rule::LivesForAWhile),
    (F::OneAtATime, Rule::ServesManyAtOnce),
    (F::HangsInACrowd, Rule::ServesManyAtOnce),
    (F::PanicsInACrowd, Rule::ServesManyAtOnce),
    (F::PoisonedByLeaving, Rule::SurvivesACallerThatLeaves),
    (F::IgnoresScopes, Rule::GrantsTheScopesAskedFor),
    (F::WidensScopes, Rule::GrantsTheScopesAskedFor),
    (F::OneTokenForAll, Rule::TellsRequestsApart),
    (F::OneReadyForAll, Rule::TellsRequestsApart),
    (F::PassesOverResources, Rule::HonoursResources),
    (F::OneTokenForAllResources, Rule::HonoursResources),
    (F::WrongSecretIsTransient, Rule::NamesWrongCredentials),
    (F::WrongSecretIsConfiguration, Rule::NamesWrongCredentials),
    (F::OutageIsPermanent, Rule::NamesAServerThatIsDown),
    (F::SecretInError, Rule::LeaksNothingInErrors),
    (F::SecretInErrorSource, Rule::LeaksNothingInErrors),
    (F::SecretInDebug, Rule::LeaksNothingInDebug),
    (F::TokenInDebug, Rule::LeaksNothingInDebug),
    (F::SecretInTrace, Rule::LeaksNothingInTraces),
    (F::TokenInTrace, Rule::LeaksNothingInTraces),
    (F::ReadyExpired, Rule::HasOnlyLiveTokensReady),
    (F::ReadyNeedsARuntime, Rule::HasOnlyLiveTokensReady),
    (F::KeepsTheRefused, Rule::DropsOnlyTheRefusedToken),
    (F::DropsAnother, Rule::DropsOnlyTheRefusedToken),
    (F::RestlessEpoch, Rule::KeepsItsCredentialEpoch),
];

/// A source that holds the default request's last token, and is right but for its flaw.
struct Source {
    flaw: Flaw,
    /// What the server makes of it.
    fate: Fate,
    minted: AtomicUsize,
    held: Mutex<Option<AccessToken>>,
    busy: AtomicUsize,
    poisoned: AtomicBool,
    epoch: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    WrongSecret,
    Unreachable,
}

impl Source {
    fn new(flaw: Flaw, fate: Fate) -> Self {
        Self {
            flaw,
            fate,
            minted: AtomicUsize::new(0),
            held: Mutex::default(),
            busy: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
        }
    }

    fn mint(&self, asked: Moment, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let serial = self.minted.fetch_add(1, Ordering::SeqCst) + 1;
        let resource = request.resources().next().is_some();
        let name = match self.flaw {
            F::OneTokenForAll if !resource => "the-same-token".to_owned(),
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
        if self.flaw == F::TokenInTrace {
            tracing::trace!(token = token.expose(), "minted");
        }
        Ok(token)
    }

    /// Where there is no token to be had.
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
        };
        Err(error)
    }
}

/// One call less, however it ends.
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
        tokio::task::yield_now().await;
        if let (F::PassesOverResources, true) = (self.flaw, request.resources().next().is_some())
            && let Some(held) = self.held.lock().unwrap().clone()
        {
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
    Subject::new(Source::new(flaw, Fate::Well))
        .secret(SECRET)
        .scopes("orders.read", "orders.read orders.write")
        .resources("https://a.example", "https://b.example")
        .with_wrong_credentials(Source::new(flaw, Fate::WrongSecret))
        .with_unreachable_server(Source::new(flaw, Fate::Unreachable))
}

/// All rules of all flaws at once: some of them wait for deadlines.
fn broken(flaws: &[Flaw]) -> Vec<(Flaw, Vec<Rule>)> {
    let checks: Vec<_> = flaws
        .iter()
        .map(|&flaw| {
            let rules = Rule::ALL.iter().map(move |&rule| {
                std::thread::spawn(move || check(rule, move || async move { of(flaw) }).err())
            });
            (flaw, rules.collect::<Vec<_>>())
        })
        .collect();
    let ended = checks.into_iter().map(|(flaw, rules)| {
        let violations = rules.into_iter().filter_map(|rule| rule.join().unwrap());
        (flaw, violations.map(|violation| violation.rule).collect())
    });
    ended.collect()
}

// covers: F-74, F-85
#[test]
fn each_flaw_is_caught_by_its_rule_and_no_other() {
    let flaws: Vec<Flaw> = FLAWS.iter().map(|(flaw, _)| *flaw).collect();
    for ((flaw, rules), (_, rule)) in broken(&flaws).into_iter().zip(FLAWS) {
        assert_eq!(rules, [*rule], "{flaw:?}");
    }
}

#[test]
fn every_rule_catches_something() {
    for rule in Rule::ALL {
        assert!(FLAWS.iter().any(|(_, by)| by == rule), "{rule:?}");
    }
}

#[test]
fn a_source_without_a_flaw_breaks_nothing() {
    assert_eq!(broken(&[F::None]), [(F::None, Vec::new())]);
}

#[test]
fn a_violation_says_what_was_promised_what_was_seen_and_what_to_do() {
    let violation = check(Rule::LivesForAWhile, || async { of(F::Expired) }).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "the source breaks the rule LivesForAWhile (C-21, C-22, F-20, F-66)\n  \
         promise: a token lives when it is handed out, counts from when it was asked for, and ends within ten years\n  \
         seen:    the token had expired when it was handed out\n  \
         to do:   take the moment from the clock before the request is sent, and bound a lifetime that is missing or absurd"
    );
    let leak = check(Rule::LeaksNothingInErrors, || async {
        of(F::SecretInError)
    })
    .unwrap_err();
    assert!(!leak.to_string().contains(SECRET), "{leak}");
}

#[test]
fn a_wrong_description_is_one_clear_failure() {
    type Describe = fn(Subject) -> Subject;

    let cases: [(Rule, Describe, &str); 4] = [
        (
            Rule::GrantsTheScopesAskedFor,
            |subject| subject.scopes("\"", "b"),
            "the subject could not be made: it panicked: the subject's scopes",
        ),
        (
            Rule::TellsRequestsApart,
            |subject| subject.scopes("a b", "b a"),
            "two sets of scopes are the same",
        ),
        (
            Rule::HonoursResources,
            |subject| subject.resources("https://a.example/#fragment", "no uri"),
            "the subject's resource `https://a.example/#fragment` is not a resource",
        ),
        (
            Rule::NamesWrongCredentials,
            |subject| subject.with_wrong_credentials(Source::new(F::None, Fate::Well)),
            "the description is wrong",
        ),
    ];
    for (rule, describe, says) in cases {
        let violation = check(rule, move || async move { describe(of(F::None)) });
        let violation = violation.unwrap_err();
        assert_eq!(violation.rule, rule);
        assert!(violation.seen.contains(says), "{violation}");
    }
}

#[allow(clippy::unused_async)] // As the kit wants it.
async fn static_subject() -> Subject {
    let hour = Duration::from_secs(3_600);
    let token = AccessToken::bearer("a-token-of-the-test", SystemClock.moment(), hour).unwrap();
    Subject::new(StaticSource::new(token))
}

hallpass_testkit::conformance!(static_source, static_subject());

#[allow(clippy::unused_async)]
async fn shared_subject() -> Subject {
    // Pointers are sources too.
    Subject::new(Arc::new(Source::new(F::None, Fate::Well)))
}

hallpass_testkit::conformance!(pointer, shared_subject());
