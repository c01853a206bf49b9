//! The events of calls: observers, metrics, traces.

use http::header::WWW_AUTHENTICATE;

use super::*;
use crate::{Event, EventKind};

const ORIGIN: &str = "https://api.example";

/// Adds an observer that records each event as a line.
pub(super) fn observed(builder: AuthorizerBuilder) -> (AuthorizerBuilder, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let record = lines.clone();
    let observer = move |event: &Event<'_>| {
        let details = match event.kind {
            EventKind::CallAccepted { origin, status } => format!("{origin} {status}"),
            EventKind::TokenRefused {
                origin,
                refusal,
                retried,
            } => format!("{origin} {} {retried}", refusal.status()),
            EventKind::CallRetried { origin } => origin.to_string(),
            EventKind::CallRefused { origin, refusal } => format!("{origin} {:?}", refusal.error()),
            EventKind::CallWithoutToken { origin, error } => format!("{origin} {error}"),
            EventKind::CallBlocked { host } => format!("{host:?}"),
            _ => String::new(),
        };
        let line = format!("{} {} {details}", event.name, event.kind.as_str());
        record.lock().unwrap().push(line);
    };
    (builder.name("orders").observer(Arc::new(observer)), lines)
}

/// A source without tokens.
struct Failing;

#[async_trait]
impl TokenSource for Failing {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Err(TokenError::unavailable("no token today"))
    }
}

/// Makes calls with each outcome, and one request that is not sent for each reason.
async fn calls(authorizer: &Authorizer) {
    let mut call = permit(authorizer, ORIGIN).unwrap().unwrap();
    let first = call.token().await.unwrap();
    assert_eq!(
        call.evaluate_response(&first, StatusCode::CREATED, &HeaderMap::new()),
        Decision::Pass
    );
    unauthorized(&mut call, &first);
    let second = call.replacement(&first).await.unwrap().unwrap();
    unauthorized(&mut call, &second);

    let mut call = permit(authorizer, ORIGIN).unwrap().unwrap();
    let third = call.token().await.unwrap();
    let mut headers = HeaderMap::new();
    for reason in ["insufficient_scope", "invalid_request"] {
        let challenge = format!("Bearer error=\"{reason}\"");
        headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        call.evaluate_response(&third, StatusCode::FORBIDDEN, &headers);
    }

    permit(authorizer, "https://other.example").unwrap_err();
    authorizer
        .permit(head(None, &HeaderMap::new()), None)
        .unwrap_err();
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("other.example"));
    authorizer
        .permit(head(Some(target(ORIGIN)), &headers), None)
        .unwrap_err();
}

#[tokio::test]
async fn an_observer_receives_the_outcome_of_each_call() {
    let (builder, lines) = observed(builder().allow_origin(ORIGIN));
    calls(&builder.build().unwrap()).await;
    assert_eq!(
        *lines.lock().unwrap(),
        [
            "orders call_accepted https://api.example 201 Created",
            "orders token_refused https://api.example 401 Unauthorized false",
            "orders call_retried https://api.example",
            "orders token_refused https://api.example 401 Unauthorized true",
            "orders call_refused https://api.example Some(\"insufficient_scope\")",
            "orders call_refused https://api.example Some(\"invalid_request\")",
            "orders call_blocked Some(\"other.example\")",
            "orders call_blocked None",
            "orders call_blocked Some(\"api.example\")",
        ]
    );
}

#[tokio::test]
async fn an_observer_learns_that_there_is_no_token() {
    let (builder, lines) = observed(Authorizer::builder(Failing).allow_origin(ORIGIN));
    let authorizer = builder.build().unwrap();
    let permit = permit(&authorizer, ORIGIN).unwrap().unwrap();
    permit.token().await.unwrap_err();
    assert_eq!(
        *lines.lock().unwrap(),
        ["orders call_without_token https://api.example no token today"]
    );
}

// covers: C-35
#[tokio::test]
async fn trailers_that_refuse_the_token_drop_it() {
    let (builder, lines) = observed(builder().allow_origin(ORIGIN));
    let mut call = permit(&builder.build().unwrap(), ORIGIN).unwrap().unwrap();
    let token = call.token().await.unwrap();
    let mut trailers = HeaderMap::new();
    for other in ["0", "7", "160"] {
        trailers.insert("grpc-status", HeaderValue::from_static(other));
        assert_eq!(call.evaluate_trailers(&token, &trailers), None, "{other}");
    }
    assert_eq!(call.token().await.unwrap().expose(), "CANARY-0");
    trailers.insert("grpc-status", HeaderValue::from_static("16"));
    let refusal = call.evaluate_trailers(&token, &trailers).unwrap();
    assert_eq!((refusal.status(), refusal.error()), (StatusCode::OK, None));
    assert_eq!(call.token().await.unwrap().expose(), "CANARY-1");
    assert_eq!(
        *lines.lock().unwrap(),
        ["orders token_refused https://api.example 200 OK false"]
    );
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn each_outcome_is_counted_and_starts_at_zero() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let counts = || {
        let counters = snapshotter.snapshot().into_vec().into_iter();
        let mut counts: Vec<_> = counters
            .map(|(key, _, _, value)| {
                let labels = key.key().labels();
                let labels: Vec<_> = labels.map(metrics::Label::value).collect();
                let DebugValue::Counter(count) = value else {
                    panic!("{key:?} is no counter");
                };
                format!("{} {} {count}", key.key().name(), labels.join(" "))
            })
            .collect();
        counts.sort();
        counts
    };
    let with = |count: [u64; 6]| {
        let outcomes = [
            "accepted",
            "blocked",
            "insufficient_scope",
            "no_token",
            "refused",
            "token_refused",
        ];
        let line = |(outcome, count)| format!("hallpass_api_calls_total orders {outcome} {count}");
        outcomes
            .into_iter()
            .zip(count)
            .map(line)
            .collect::<Vec<_>>()
    };
    let authorizer = builder().name("orders").allow_origin(ORIGIN);
    let authorizer = authorizer.build().unwrap();
    assert_eq!(counts(), with([0; 6]));
    calls(&authorizer).await;
    assert_eq!(counts(), with([1, 3, 1, 0, 1, 2]));
    let failing = Authorizer::builder(Failing).name("orders");
    let failing = failing.allow_origin(ORIGIN).build().unwrap();
    let failing = permit(&failing, ORIGIN).unwrap().unwrap();
    failing.token().await.unwrap_err();
    // A snapshot resets the counters.
    assert_eq!(counts(), with([0, 0, 0, 1, 0, 0]));
}

/// The text of a log.
#[cfg(feature = "tracing")]
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

#[cfg(feature = "tracing")]
impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "tracing")]
#[test]
fn tokens_over_plain_http_are_logged_when_it_is_built() {
    let logged = |origin: &str| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        let subscriber = subscriber.with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            let builder = builder().name("orders").allow_origin(origin);
            builder.danger_allow_http_on_loopback().build().unwrap();
        });
        let text = log.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    };
    let line = logged("http://127.0.0.1:8080");
    assert!(
        line.contains("WARN") && line.contains("API requests sent over plain HTTP"),
        "{line}"
    );
    let fields = "authorizer=\"orders\" origin=http://127.0.0.1:8080";
    assert!(line.contains(fields), "{line}");
    assert_eq!(logged(ORIGIN), "");
}
