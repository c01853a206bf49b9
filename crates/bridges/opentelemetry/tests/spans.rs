//! The spans of a token fetch, where exports need the token.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{BOTH, DEFAULT, NEARLY_EXPIRED, World};
use hallpass_blocking::BlockingTokenSource;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource, async_trait};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, info_span};
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// A source that fetches in a task with a span, as an HTTP client connects.
struct Connecting(std::sync::Arc<dyn TokenSource>);

#[async_trait]
impl TokenSource for Connecting {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let connection = tokio::spawn(async { info_span!("connection").in_scope(|| {}) });
        connection.await.unwrap();
        self.0.token(request).await
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.0.ready_token(request)
    }
}

/// Returns the names of the accepted spans, sorted.
fn accepted(world: &World) -> Vec<String> {
    let mut names = world.collector.accepted();
    names.sort_unstable();
    names
}

#[test]
fn the_spans_of_a_fetch_cause_no_exports_without_end() {
    let worlds = BOTH.map(|_| World::start());
    let mut traces = SdkTracerProvider::builder();
    for (world, transport) in worlds.iter().zip(BOTH) {
        let authorizer = world.authorizer(transport, Connecting(world.tokens.clone()));
        traces = traces.with_batch_exporter(world.span_exporter(transport, &authorizer));
    }
    let traces = traces.build();
    // Without the spans of the servers, which are in this process too.
    let targets = ["hallpass", "spans"].map(|target| (target, Level::DEBUG));
    let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("test"));
    let layer = layer.with_filter(Targets::new().with_targets(targets));
    tracing_subscriber::registry().with(layer).init();

    // The first export fetches a token.
    info_span!("first").in_scope(|| {});
    for _ in 0..3 {
        traces.force_flush().unwrap();
    }
    for world in &worlds {
        assert_eq!(accepted(world), ["first"]);
        assert_eq!(world.server.token_request_count(), 1);
    }

    // Nor does a refresh.
    for world in &worlds {
        world.clock.advance(NEARLY_EXPIRED);
    }
    info_span!("second").in_scope(|| {});
    let start = Instant::now();
    let fetches = |world: &World| world.server.token_request_count();
    while worlds.iter().any(|world| fetches(world) < 2) {
        assert!(start.elapsed() < Duration::from_secs(20));
        traces.force_flush().unwrap();
        thread::yield_now();
    }
    for _ in 0..3 {
        traces.force_flush().unwrap();
    }
    for world in &worlds {
        assert_eq!(accepted(world), ["first", "second"]);
        assert_eq!(fetches(world), 2);
    }

    // A source whose thread is not that of an exporter has spans.
    let other = World::start();
    let tokens = BlockingTokenSource::new(Connecting(other.tokens.clone())).unwrap();
    tokens.token(&DEFAULT).unwrap();
    other.clock.advance(NEARLY_EXPIRED);
    tokens.token(&DEFAULT).unwrap();
    let start = Instant::now();
    let all = [
        "connection",
        "first",
        "second",
        "token_fetch",
        "token_fetch",
    ];
    while worlds.iter().any(|world| accepted(world) != all) {
        assert!(start.elapsed() < Duration::from_secs(20));
        traces.force_flush().unwrap();
        thread::yield_now();
    }
}
