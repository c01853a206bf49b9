//! The settings of an authorizer, as its decisions show them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use hallpass::{
    AccessToken, Event, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::{Authorizer, AuthorizerBuilder, RequestHead, Target},
};
use hallpass_testkit::ManualClock;
use http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION};

use super::pairs::{Exclusions, PairCounts, Setting, SettingSelection, check};
use crate::support::static_token;

const API: &str = "https://api.example";
const ORIGIN: &str = "https://one.example";

/// The system's clock starts a century back.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// One origin has one request.
const EXCLUDED: Exclusions = &[
    ("allow_origin", &["allow_origin_by", "allow_origin_with"]),
    ("allow_origin_by", &["allow_origin_with"]),
];

/// A source that counts the tokens that an API refused.
#[derive(Default)]
struct Source(Arc<AtomicUsize>);

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(static_token("t"))
    }

    fn invalidate(&self, _: &AccessToken) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The state that the runs share.
#[derive(Default)]
struct World {
    clock: ManualClock,
    events: Arc<AtomicUsize>,
}

/// The observations of an authorizer.
struct Observations {
    /// The names in events, and the number of events of another observer.
    names: Vec<String>,
    other_events: usize,
    is_expired: bool,
    /// The scopes of the requests for `ORIGIN`.
    scopes: Option<String>,
    /// The calls that are let through.
    passed: Vec<&'static str>,
    refused: usize,
}

fn scoped(scope: &str) -> TokenRequest {
    TokenRequest::new().with_scopes(scope.parse().unwrap())
}

fn rows() -> Vec<Setting<AuthorizerBuilder, World, Observations>> {
    let row = Setting::<AuthorizerBuilder, World, Observations>::new;
    vec![
        row(
            "allow_origin",
            |one, _| one.allow_origin(ORIGIN),
            |seen| seen.scopes.as_deref() == Some(""),
        ),
        row(
            "allow_origin_by",
            |one, _| one.allow_origin_by(ORIGIN, |_| Ok(scoped("selection"))),
            |seen| seen.scopes.as_deref() == Some("selection"),
        ),
        row(
            "allow_origin_with",
            |one, _| one.allow_origin_with(ORIGIN, scoped("fixed")),
            |seen| seen.scopes.as_deref() == Some("fixed"),
        ),
        row(
            "clock",
            |one, world| one.clock(world.clock.clone()),
            |seen| seen.is_expired,
        ),
        row(
            "danger_allow_http_on_loopback",
            |one, _| {
                one.allow_origin("http://127.0.0.1")
                    .danger_allow_http_on_loopback()
            },
            |seen| seen.passed.contains(&"plain HTTP"),
        ),
        row(
            "name",
            |one, _| one.name("orders"),
            |seen| seen.names.iter().all(|name| name == "orders"),
        ),
        row(
            "observer",
            |one, world| {
                let events = world.events.clone();
                one.observer(Arc::new(move |_: &Event<'_>| {
                    events.fetch_add(1, Relaxed);
                }))
            },
            |seen| seen.other_events == seen.names.len(),
        ),
        row(
            "pass_other_origins",
            |one, _| one.pass_other_origins(),
            |seen| seen.passed.contains(&"another origin"),
        ),
        row(
            "replace_authorization",
            |one, _| one.replace_authorization(),
            |seen| seen.passed.contains(&"an own header"),
        ),
        row(
            "treat_forbidden_as_refused",
            |one, _| one.treat_forbidden_as_refused(API),
            |seen| seen.refused == 1,
        ),
    ]
}

/// Asks for permits, and has an API refuse a token.
async fn run(
    selection: &SettingSelection<'_, AuthorizerBuilder, World, Observations>,
    world: &World,
) -> Result<Observations, String> {
    let (names, refused) = (Arc::<Mutex<Vec<_>>>::default(), Arc::default());
    let list = names.clone();
    let builder = Authorizer::builder(Source(Arc::clone(&refused)))
        .allow_origin(API)
        .observer(Arc::new(move |event: &Event<'_>| {
            list.lock().unwrap().push(event.name.to_owned());
        }));
    let authorizer = selection.set(builder, world).build();
    let authorizer = authorizer.map_err(|error| error.to_string())?;
    world.events.store(0, Relaxed);
    let permit = |scheme, host, headers: &HeaderMap| {
        let target = Target::new(scheme, host, None);
        let head = RequestHead::new(&Method::GET, Some(target), "/", headers);
        authorizer.permit(head, None)
    };
    let none = HeaderMap::new();
    let mut own = HeaderMap::new();
    own.insert(AUTHORIZATION, "Basic eDp5".parse().unwrap());
    let scopes = permit("https", "one.example", &none).ok().flatten();
    let scopes = scopes.map(|permit| permit.request().scopes().to_string());
    let mut api = permit("https", "api.example", &none).unwrap().unwrap();
    let token = api.token().await.unwrap();
    world.clock.advance(CENTURY * 2);
    let is_expired = api.is_expired(&token);
    api.evaluate_response(&token, StatusCode::FORBIDDEN, &none);
    let calls = [
        (
            "plain HTTP",
            permit("http", "127.0.0.1", &none).is_ok_and(|permit| permit.is_some()),
        ),
        (
            "an own header",
            permit("https", "api.example", &own).unwrap().is_some(),
        ),
        (
            "another origin",
            permit("https", "other.example", &none).is_ok(),
        ),
    ];
    let passed = calls.into_iter().filter(|(_, is_passed)| *is_passed);
    let seen = Observations {
        is_expired,
        scopes,
        passed: passed.map(|(name, _)| name).collect(),
        names: names.lock().unwrap().clone(),
        other_events: world.events.load(Relaxed),
        refused: refused.load(Relaxed),
    };
    assert!(!seen.names.is_empty());
    Ok(seen)
}

#[tokio::test]
async fn every_two_settings_of_an_authorizer_work_or_are_refused() {
    let rows = rows();
    let run =
        async |selection: &SettingSelection<'_, _, _, _>| run(selection, &World::default()).await;
    assert_eq!(
        check(("core", "AuthorizerBuilder"), &rows, EXCLUDED, run).await,
        PairCounts {
            built: 100,
            refused: 6
        }
    );
}
