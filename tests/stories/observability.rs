//! docs/observability.md names exactly what the code emits: the tables are read, everything that tells is made to
//! tell, and the two are compared.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use hallpass::{
    Authorizer, ErrorKind, Event, Observer, TokenError, TokenRequest, TokenSource,
    cache::{CachedTokenSource, Lease, StoreEntry, StoreError, StoreKey, TokenStore},
    core::{AccessToken, Clock as _, SystemClock, async_trait, authorize::Target},
    endpoint::{ClientCredentials, ClientSecretBasic, HttpTransport},
};
use hallpass_testkit::{AuthorizationServer, Client, ManualClock, ScriptedSource, faults};
use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};
use tracing::{Subscriber, field::Field};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _};

use crate::support::{ID, secret};

/// A table's rows below this heading, each cell without its backticks.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|part| part.starts_with(heading));
    let rows = section
        .unwrap()
        .lines()
        .filter(|line| line.starts_with('|'));
    let cells = |row: &str| -> Vec<String> {
        let row = row.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
        let cells = row.unwrap().split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    // Without the head and the line below it.
    let rows: Vec<_> = rows.skip(2).map(cells).collect();
    assert!(rows.len() > 5, "no table below `{heading}`");
    rows
}

/// Names in any order, as one text.
fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    Vec::from_iter(names).join(", ")
}

fn listed(names: &str) -> String {
    sorted(names.split(", "))
}

type Lines = Arc<Mutex<BTreeSet<String>>>;

/// Writes down target, message, level and field names of all that is traced by crates of ours.
struct Traced(Lines);

impl Traced {
    fn note(&self, metadata: &tracing::Metadata<'_>, what: &str) {
        let krate = metadata.target().split("::").next().unwrap();
        if !krate.starts_with("hallpass") {
            return;
        }
        let fields = metadata.fields().iter().map(|field| field.name());
        let fields = sorted(fields.filter(|name| *name != "message"));
        let level = metadata.level().as_str().to_lowercase();
        let line = format!("{krate} | {what} | {level} | {fields}");
        self.0.lock().unwrap().insert(line);
    }
}

impl<S: Subscriber> Layer<S> for Traced {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: Context<'_, S>,
    ) {
        let metadata = attributes.metadata();
        self.note(metadata, &format!("span {}", metadata.name()));
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.note(event.metadata(), &message.0);
    }
}

/// Writes down the name of each event and those of its fields, as `Debug` shows them.
#[derive(Clone, Default)]
struct Told(Lines);

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        let shown = format!("{:#?}", event.kind);
        let mut lines = shown.lines();
        let name = lines.next().unwrap().trim_end_matches(" {");
        // Fields of the event itself stand at the first step of indentation.
        let own = |line: &str| line.starts_with("    ") && !line.starts_with("     ");
        let fields = lines
            .filter(|line| own(line))
            .filter_map(|line| line.split_once(':'));
        let fields = sorted(fields.map(|(name, _)| name.trim()));
        let line = format!("{name} | {} | {fields}", event.kind.as_str());
        self.0.lock().unwrap().insert(line);
    }
}

/// Answers no question.
#[derive(Debug)]
struct Down;

#[async_trait]
impl TokenStore for Down {
    async fn look_up(&self, _: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        Err(StoreError::new("down"))
    }

    async fn put(&self, _: &StoreKey, _: &[u8], _: Duration, _: Lease) -> Result<(), StoreError> {
        Err(StoreError::new("down"))
    }

    async fn remove(&self, _: &StoreKey) -> Result<(), StoreError> {
        Err(StoreError::new("down"))
    }

    async fn lease(&self, _: &StoreKey, _: Duration) -> Result<Option<Lease>, StoreError> {
        Err(StoreError::new("down"))
    }

    async fn release(&self, _: &StoreKey, _: Lease) -> Result<(), StoreError> {
        Err(StoreError::new("down"))
    }
}

/// Everything that a cache can tell.
async fn cache_tells(told: &Told) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let clock = ManualClock::new();
    let token = |name: &str| AccessToken::bearer(name, clock.moment(), HOUR);
    let down = TokenError::new(ErrorKind::Unavailable, "down");
    let first = token("first").unwrap();
    let results = [Ok(first.clone()), Err(down), Ok(token("second").unwrap())];
    let cache = CachedTokenSource::builder(ScriptedSource::new(results))
        .clock(clock.clone())
        .min_interval(Duration::ZERO)
        .max_keys(1)
        .store(Down, "orders")
        .observer(Arc::new(told.clone()))
        .observer(Arc::new(|_: &Event<'_>| {
            std::panic::resume_unwind(Box::new(()))
        }))
        .build();
    let ask = TokenRequest::default();
    let settled = async |fetches| {
        while cache.stats().fetches < fetches || cache.stats().flights > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(cache.token(&ask).await.unwrap().is_same(&first));
    settled(1).await;
    // A renewal in vain, and one that works.
    clock.advance(Duration::from_secs(3_500));
    cache.token(&ask).await.unwrap();
    settled(2).await;
    clock.advance(Duration::from_secs(70));
    cache.token(&ask).await.unwrap();
    settled(3).await;
    clock.advance(Duration::from_secs(10));
    let second = cache.token(&ask).await.unwrap();
    cache.invalidate(&second);
    for scope in ["a", "b"] {
        let key = TokenRequest::new().with_scopes(scope.parse().unwrap());
        cache.token(&key).await.unwrap();
    }
}

/// Everything that an integration can tell.
async fn integration_tells(told: &Told) {
    const MINUTE: Duration = Duration::from_secs(60);
    let token = |name: &str| AccessToken::bearer(name, SystemClock.moment(), MINUTE);
    let [first, second] = ["first", "second"].map(|name| token(name).unwrap());
    let refused = TokenError::credentials_refused("the secret is wrong");
    let results = [Ok(first), Ok(second), Err(refused)];
    let source = Arc::new(ScriptedSource::new(results));
    let authorizer = Authorizer::builder(source)
        .allow_origin("https://api.example")
        .allow_origin("http://127.0.0.1:9")
        .danger_allow_http_on_loopback()
        .observer(Arc::new(told.clone()))
        .observer(Arc::new(|_: &Event<'_>| {
            std::panic::resume_unwind(Box::new(()))
        }))
        .build()
        .unwrap();
    let none = HeaderMap::new();
    let permit = |host| authorizer.permit(Some(Target::new("https", host, None)), &none, None);
    assert!(permit("other.example").is_err());
    let mut permit = permit("api.example").unwrap().unwrap();
    let first = permit.token().await.unwrap();
    let mut judge = |token, status, challenge: &str| {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge.parse().unwrap())]);
        permit.judge(token, status, &headers)
    };
    for (status, challenge) in [
        (StatusCode::OK, ""),
        (
            StatusCode::FORBIDDEN,
            r#"Bearer error="insufficient_scope", scope="a""#,
        ),
        (StatusCode::UNAUTHORIZED, "Basic"),
        (StatusCode::UNAUTHORIZED, "Bearer"),
    ] {
        judge(&first, status, challenge);
    }
    let second = permit.replacement(&first).await.unwrap().unwrap();
    permit.judge(&second, StatusCode::UNAUTHORIZED, &none);
    assert!(permit.token().await.is_err());
}

/// Everything that a source of endpoint's can tell.
async fn endpoint_tells() {
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, "s3cr3t"))
        .start()
        .await;
    let basic = ClientSecretBasic::new(secret("s3cr3t"));
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let source = ClientCredentials::builder(server.token_endpoint(), ID, basic)
        .danger_allow_http_on_loopback()
        .transport(HttpTransport::danger_from_client(client))
        .lenient_responses()
        .build()
        .unwrap();
    let fault = |name| faults::named(name).unwrap();
    server.answer_next([fault("status_503"), fault("token_type_missing")]);
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(server.token_request_count(), 2);
}

/// Name, kind, unit, labels and description of all that was counted.
fn counted(snapshotter: &Snapshotter) -> BTreeSet<String> {
    let metrics = snapshotter.snapshot().into_vec();
    let lines = metrics.into_iter().map(|(key, unit, description, _)| {
        let kind = format!("{:?}", key.kind()).to_lowercase();
        let unit = unit.unwrap().as_str();
        let labels = sorted(key.key().labels().map(metrics::Label::key));
        let what = description.unwrap();
        format!("{} | {kind} | {unit} | {labels} | {what}", key.key().name())
    });
    lines.collect()
}

#[track_caller]
fn assert_same(documented: &BTreeSet<String>, emitted: &BTreeSet<String>) {
    let only = |these: &BTreeSet<String>, others: &BTreeSet<String>| {
        let lines: Vec<_> = these.difference(others).map(String::as_str).collect();
        lines.join("\n  ")
    };
    assert!(
        documented == emitted,
        "documented alone:\n  {}\nemitted alone:\n  {}",
        only(documented, emitted),
        only(emitted, documented)
    );
}

// covers: F-101
#[tokio::test]
async fn the_documented_names_are_those_that_are_emitted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let traced = Lines::default();
    let subscriber = tracing_subscriber::registry().with(Traced(traced.clone()));
    let _tracing = tracing::subscriber::set_default(subscriber);
    let told = Told::default();
    cache_tells(&told).await;
    integration_tells(&told).await;
    endpoint_tells().await;

    let documented = table("Traces").into_iter();
    let documented = documented
        .map(|row| format!("{} | {} | {} | {}", row[0], row[1], row[2], listed(&row[3])))
        .collect();
    assert_same(&documented, &traced.lock().unwrap());

    let documented = table("Metrics").into_iter();
    let first_upper = |text: &str| text[..1].to_uppercase() + &text[1..];
    let documented = documented
        .map(|row| {
            let labels = listed(&row[3]);
            let what = first_upper(&row[4]);
            format!("{} | {} | {} | {labels} | {what}", row[0], row[1], row[2])
        })
        .collect();
    assert_same(&documented, &counted(&snapshotter));

    let documented = table("Observers").into_iter();
    let documented = documented
        .map(|row| format!("{} | {} | {}", row[0], row[1], listed(&row[2])))
        .collect();
    assert_same(&documented, &told.0.lock().unwrap());
}
