//! The list for adapters finds each rule that an adapter breaks.

#![allow(clippy::unwrap_used)]

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use hallpass_core::{
    AccessToken, TokenError, TokenRequest, TokenSource, TokenSourceExt as _, TokenType, async_trait,
};
use hallpass_testkit::bridge::{self, Adapter, BoxError, Credential, Rule};

/// A way in which an adapter is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    CallsToken,
    NeedsReadyToken,
    KeepsToken,
    NoExpiry,
    LateExpiry,
    PastExpiry,
    IgnoresRefusals,
    InvalidatesNewest,
    DropsHint,
    ShowsTokenInError,
    GivesBoundTokens,
    LeavesCallRunning,
    Locks,
    ShowsToken,
    CredentialShowsToken,
}

struct Bridge {
    fault: Fault,
    source: Arc<dyn TokenSource>,
    kept: Mutex<Option<AccessToken>>,
    lock: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.lock().unwrap();
        let shown = kept.as_ref().filter(|_| self.fault == Fault::ShowsToken);
        f.debug_tuple("Bridge")
            .field(&shown.map(AccessToken::expose))
            .finish()
    }
}

impl Bridge {
    async fn token(&self) -> Result<AccessToken, TokenError> {
        let request = TokenRequest::new();
        let kept = self.kept.lock().unwrap().clone();
        match (self.fault, kept) {
            (Fault::KeepsToken, Some(kept)) => Ok(kept),
            (Fault::CallsToken, _) => self.source.token(&request).await,
            (Fault::NeedsReadyToken, _) => {
                let ready = self.source.ready_token(&request);
                ready.ok_or_else(|| TokenError::unavailable("no token is ready"))
            }
            (Fault::Locks, _) => {
                let _lock = self.lock.lock().await;
                self.source.access_token(&request).await
            }
            (Fault::LeavesCallRunning, _) => {
                let source = self.source.clone();
                tokio::spawn(async move { source.access_token(&request).await })
                    .await
                    .unwrap()
            }
            _ => self.source.access_token(&request).await,
        }
    }
}

#[async_trait]
impl Adapter for Bridge {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let token = self.token().await;
        let token = token.map_err(|error| match self.fault {
            Fault::DropsHint => BoxError::from(error.message()),
            _ => BoxError::from(error),
        })?;
        *self.kept.lock().unwrap() = Some(token.clone());
        if token.token_type() != TokenType::Bearer && self.fault != Fault::GivesBoundTokens {
            return Err(match self.fault {
                Fault::ShowsTokenInError => {
                    format!("not a bearer token: {}", token.expose()).into()
                }
                _ => "the token is bound to a key".into(),
            });
        }
        let minute = Duration::from_secs(60);
        let expires = token.expires_at().unwrap();
        let credential = Credential::new(token.expose());
        let credential = match self.fault {
            Fault::NoExpiry => credential,
            Fault::LateExpiry => credential.expires_at(expires + minute),
            Fault::PastExpiry => credential.expires_at(SystemTime::now() - minute),
            _ => credential.expires_at(expires - minute),
        };
        Ok(match self.fault {
            Fault::CredentialShowsToken => credential.shown(token.expose()),
            _ => credential.shown("a credential"),
        })
    }

    async fn refuse(&self, token: &str) {
        let kept = self.kept.lock().unwrap().clone().unwrap();
        match self.fault {
            Fault::IgnoresRefusals => {}
            Fault::InvalidatesNewest => self.source.invalidate(&kept),
            _ if kept.expose() == token => self.source.invalidate(&kept),
            _ => {}
        }
    }
}

async fn check(fault: Fault, exceptions: &[(Rule, &str)]) -> Vec<Rule> {
    let create = |source| Bridge {
        fault,
        source,
        kept: Mutex::default(),
        lock: tokio::sync::Mutex::default(),
    };
    let violations = bridge::check(create, exceptions).await;
    violations.iter().map(|violation| violation.rule).collect()
}

#[tokio::test]
async fn a_correct_adapter_breaks_no_rule() {
    assert_eq!(check(Fault::None, &[]).await, []);
}

// covers: F-72, F-99
#[tokio::test(start_paused = true)]
async fn each_wrong_adapter_is_caught_by_its_rule() {
    // The first rule of each list is the one that the fault breaks; the others depend on the same step.
    for (fault, rules) in [
        (
            Fault::CallsToken,
            &[
                Rule::UsesReadyTokens,
                Rule::UsesNewTokens,
                Rule::ServesCallsIndependently,
                Rule::ReportsExpiry,
                Rule::ReportsRefusals,
                Rule::HidesTokens,
            ][..],
        ),
        (
            Fault::NeedsReadyToken,
            &[
                Rule::FetchesTokens,
                Rule::ServesCallsIndependently,
                Rule::ReportsRefusals,
                Rule::KeepsErrors,
                Rule::SurvivesCancellation,
            ],
        ),
        (
            Fault::KeepsToken,
            &[Rule::UsesNewTokens, Rule::ReportsRefusals],
        ),
        (Fault::NoExpiry, &[Rule::ReportsExpiry]),
        (Fault::LateExpiry, &[Rule::ReportsExpiry]),
        (Fault::PastExpiry, &[Rule::ReportsExpiry]),
        (Fault::IgnoresRefusals, &[Rule::ReportsRefusals]),
        (Fault::InvalidatesNewest, &[Rule::ReportsRefusals]),
        (Fault::DropsHint, &[Rule::KeepsErrors]),
        (Fault::GivesBoundTokens, &[Rule::RefusesBoundTokens]),
        (Fault::LeavesCallRunning, &[Rule::SurvivesCancellation]),
        (Fault::Locks, &[Rule::ServesCallsIndependently]),
        (Fault::ShowsToken, &[Rule::HidesTokens]),
        (Fault::CredentialShowsToken, &[Rule::HidesTokens]),
        (Fault::ShowsTokenInError, &[Rule::HidesTokens]),
    ] {
        assert_eq!(check(fault, &[]).await, rules, "{fault:?}");
    }
}

#[tokio::test]
async fn an_exception_that_is_not_needed_is_a_violation() {
    let exceptions = [(Rule::ReportsExpiry, "it has no place for it")];
    assert_eq!(check(Fault::NoExpiry, &exceptions).await, []);
    assert_eq!(check(Fault::None, &exceptions).await, [Rule::ReportsExpiry]);
}

#[tokio::test]
async fn a_violation_shows_no_token() {
    let create = |source| Bridge {
        fault: Fault::KeepsToken,
        source,
        kept: Mutex::default(),
        lock: tokio::sync::Mutex::default(),
    };
    let violations = bridge::check(create, &[]).await;
    let [violation, ..] = &violations[..] else {
        panic!("nothing was found");
    };
    assert_eq!(
        violation.to_string(),
        "UsesNewTokens: A credential has the source's newest token: the adapter keeps none of its own. \
         Observed: token 1 instead of 2"
    );
}
