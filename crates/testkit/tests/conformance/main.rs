//! Shows that the kit can fail: each of these sources breaks one rule, and only that rule reports it.

#![allow(missing_docs, clippy::unwrap_used)]

mod source;

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::{
    StaticSource,
    conformance::{Rule, Subject, Violation, check},
};

use self::source::{FLAWS, Fate, Flaw, Flaw as F, LIMIT, MINUTE, SECRET, Source, WAIT};

fn of(flaw: Flaw) -> Subject {
    of_fate(flaw, Fate::Well).with_limited_server(Source::new(flaw, Fate::OverLimit), WAIT)
}

fn of_fate(flaw: Flaw, fate: Fate) -> Subject {
    subject(flaw, fate, |source| source)
}

/// Creates the subject with its facts, whose sources are wrapped by `wrap`.
fn subject<S>(flaw: Flaw, fate: Fate, wrap: fn(Source) -> S) -> Subject
where
    S: TokenSource + std::fmt::Debug + 'static,
{
    let source = Source::new(flaw, fate);
    let issued = source.issued.clone();
    Subject::new(wrap(source))
        .secret(SECRET)
        .scopes("orders.read", "orders.read orders.write")
        .resources("https://a.example", "https://b.example")
        .audiences("https://c.example", "https://d.example")
        .parameter("tenant", "tenant-one", "tenant-two")
        .issued_for(move |token| issued.lock().unwrap()[token.expose()].clone())
        .with_wrong_credentials(wrap(Source::new(flaw, Fate::WrongSecret)))
        .with_unreachable_server(wrap(Source::new(flaw, Fate::Unreachable)))
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
    reports_unavailable_server: "it contacts no server",
    reports_retry_after: "it contacts no server",
    redacts_errors: "it contacts no server",
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
    subject(F::None, Fate::Well, Arc::new)
        .with_limited_server(Arc::new(Source::new(F::None, Fate::OverLimit)), WAIT)
}

hallpass_testkit::conformance!(pointer, shared_subject());
