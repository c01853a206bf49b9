//! A processor that exports each span on the thread that ends it.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use common::{BOTH, NEARLY_EXPIRED, World};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, info_span};
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Exports spans before, during and after a refresh.
fn export_over_a_refresh(worlds: &[World]) {
    info_span!("request").in_scope(|| {
        info_span!("first").in_scope(|| {});
        for world in worlds {
            world.clock.advance(NEARLY_EXPIRED);
        }
        info_span!("second").in_scope(|| {});
        let start = Instant::now();
        while worlds
            .iter()
            .any(|world| world.server.token_request_count() < 2)
        {
            assert!(start.elapsed() < TIMEOUT);
            thread::yield_now();
        }
        info_span!("third").in_scope(|| {});
    });
}

#[test]
fn a_refresh_is_not_exported_by_the_thread_that_exports() {
    let worlds = BOTH.map(|_| World::start());
    let mut traces = SdkTracerProvider::builder();
    for (world, transport) in worlds.iter().zip(BOTH) {
        let authorizer = world.authorizer(transport, world.tokens.clone());
        traces = traces.with_simple_exporter(world.span_exporter(transport, &authorizer));
    }
    let traces = traces.build();
    // Without the spans of the servers, which are in this process too.
    let targets = ["hallpass", "simple"].map(|target| (target, Level::DEBUG));
    let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("test"));
    let layer = layer.with_filter(Targets::new().with_targets(targets));
    tracing_subscriber::registry().with(layer).init();

    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        export_over_a_refresh(&worlds);
        done.send(worlds).unwrap();
    });
    let worlds = wait
        .recv_timeout(TIMEOUT)
        .expect("an export waits for itself");
    for world in worlds {
        assert_eq!(
            world.collector.accepted(),
            ["first", "second", "third", "request"]
        );
        assert_eq!(world.server.token_request_count(), 2);
    }
}
