//! Runs the service as a process, with an authorization server, an API, a collector and a scraper on this machine.

#![cfg(unix)] // It is ended by a signal.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use hallpass_testkit::{AuthorizationServer, Client, leak};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

const ID: &str = "orders-service";
const SECRET: &str = "CANARY-s3cr3t-0123456789";

/// The data received by a collector: raw bodies and spans.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<(Vec<Bytes>, Vec<Span>)>>);

impl Collected {
    /// Starts a collector for `/v1/traces` on a free port and returns its address.
    async fn listen(&self) -> String {
        async fn take(
            State(collected): State<Collected>,
            headers: HeaderMap,
            body: Bytes,
        ) -> Vec<u8> {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
            let resources = request.resource_spans.into_iter();
            let scopes = resources.flat_map(|resource| resource.scope_spans);
            let mut all = collected.0.lock().unwrap();
            all.1.extend(scopes.flat_map(|scope| scope.spans));
            all.0.push(body);
            ExportTraceServiceResponse::default().encode_to_vec()
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/v1/traces", post(take))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }

    fn spans(&self, name: &str) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        all.1
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    }

    /// Returns all received data as text, for leak checks.
    fn text(&self) -> String {
        let all = self.0.lock().unwrap();
        all.0
            .iter()
            .map(|body| String::from_utf8_lossy(body).into_owned())
            .collect()
    }
}

struct Running {
    process: Child,
    address: String,
}

impl Running {
    async fn start(server: &AuthorizationServer, collector: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_observed-service"))
            .env_clear()
            .env("CAMALL_CLIENT_ID", ID)
            .env("CAMALL_CLIENT_SECRET", SECRET)
            .env("CAMALL_SCOPE", "orders.read")
            .env("CAMALL_TOKEN_ENDPOINT", server.token_endpoint())
            .env("API_ORIGIN", server.api_url("").trim_end_matches("/api"))
            .env("LISTEN", "127.0.0.1:0")
            .env("DANGER_HTTP_ON_LOOPBACK", "1")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let address = line.strip_prefix("listening on ").unwrap();
        Self {
            process,
            address: format!("http://{address}"),
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.address))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Returns hallpass's series with their values, and the full text.
    async fn scrape(&self) -> (BTreeMap<String, f64>, String) {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| line.starts_with("hallpass_"));
        let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
        let series = pairs.map(|(series, value)| (series.to_owned(), value.parse().unwrap()));
        (series.collect(), text)
    }

    /// Stops the service as an operator would, and returns its log.
    async fn end(mut self) -> String {
        let id = self.process.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-INT", &id]).status().await;
        assert!(kill.unwrap().success());
        let mut log = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        stderr.read_to_string(&mut log).await.unwrap();
        let status = self.process.wait().await.unwrap();
        assert!(status.success(), "{status}\n{log}");
        log
    }
}

// covers: F-99, F-101, I-14
#[tokio::test]
async fn figures_and_spans_are_exact_and_hold_no_secret() {
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, SECRET).scopes("orders.read"))
        .start()
        .await;
    let collected = Collected::default();
    let service = Running::start(&server, &collected.listen().await).await;

    // Counters exist before anything happened.
    let (series, text) = service.scrape().await;
    for zero in [
        r#"hallpass_fetches_total{cache="camall",outcome="CredentialsRefused"}"#,
        r#"hallpass_fetches_total{cache="camall",outcome="ok"}"#,
        r#"hallpass_api_calls_total{authorizer="orders",outcome="accepted"}"#,
    ] {
        assert_eq!(series.get(zero), Some(&0.0), "{zero}\n{text}");
    }
    assert!(text.contains("# HELP hallpass_hits_total Calls that were answered from the cache"));

    for id in 0..20 {
        let (status, body) = service.get(&format!("/orders/{id}")).await;
        assert_eq!((status, body.contains(ID)), (200, true), "{body}");
    }
    // The API refuses the token: the call is retried with a new one, and the caller does not notice.
    server.revoke_all_tokens();
    assert_eq!(service.get("/orders/20").await.0, 200);
    assert_eq!(
        (server.token_request_count(), server.api_call_count()),
        (2, 22)
    );

    let (series, text) = service.scrape().await;
    for (name, value) in [
        (
            r#"hallpass_fetches_total{cache="camall",outcome="ok"}"#,
            2.0,
        ),
        (
            r#"hallpass_fetches_total{cache="camall",outcome="Unavailable"}"#,
            0.0,
        ),
        (
            r#"hallpass_fetch_duration_seconds_count{cache="camall",outcome="ok"}"#,
            2.0,
        ),
        (r#"hallpass_hits_total{cache="camall"}"#, 20.0),
        (r#"hallpass_misses_total{cache="camall"}"#, 2.0),
        (r#"hallpass_invalidations_total{cache="camall"}"#, 1.0),
        (
            r#"hallpass_token_lifetime_seconds{cache="camall"}"#,
            3_600.0,
        ),
        (r#"hallpass_keys{cache="camall"}"#, 0.0),
        (r#"hallpass_waiters_sum{cache="camall"}"#, 2.0),
        (
            r#"hallpass_api_calls_total{authorizer="orders",outcome="accepted"}"#,
            21.0,
        ),
        (
            r#"hallpass_api_calls_total{authorizer="orders",outcome="token_refused"}"#,
            1.0,
        ),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}\n{text}");
    }

    assert!(text.contains("# TYPE hallpass_fetch_duration_seconds histogram"));

    let log = service.end().await;
    let requests = collected.spans("GET /orders/{id}");
    let fetches = collected.spans("token_fetch");
    assert_eq!((requests.len(), fetches.len()), (21, 2));
    for fetch in &fetches {
        let parent = requests
            .iter()
            .find(|span| span.span_id == fetch.parent_span_id);
        let parent = parent.expect("the fetch is a child of a request's span");
        assert_eq!(parent.trace_id, fetch.trace_id);
        let events: Vec<_> = fetch
            .events
            .iter()
            .map(|event| event.name.as_str())
            .collect();
        assert_eq!(
            events,
            ["token fetch started", "token fetched", "fetch completed"]
        );
    }
    let tokens = server.issued_tokens();
    assert_eq!(tokens.len(), 2);
    let exported = collected.text();
    for (shown, of_it) in [
        (&exported, "token fetched"),
        (&log, "token fetched"),
        (&text, "hallpass_"),
    ] {
        // Positive control: a leak would be visible in this text.
        assert!(shown.contains(of_it), "{shown}");
        leak::assert_clean(shown, SECRET);
        for token in &tokens {
            leak::assert_clean(shown, token);
        }
    }
    assert!(leak::find(&format!("{exported}{SECRET}"), SECRET).is_some());
}
