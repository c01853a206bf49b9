//! OTLP exporters over HTTP and over gRPC, with the SDK's batch processors, against a collector that checks tokens.

#![allow(clippy::unwrap_used)]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod rules;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{BOTH, LIFETIME, NEARLY_EXPIRED, Transport, World, export};
use hallpass_core::{AccessToken, Clock as _, ErrorKind, TokenError};
use hallpass_testkit::{FakeTokens, ScriptedSource, faults};
use opentelemetry::{
    logs::{LogRecord as _, Logger as _, LoggerProvider as _},
    metrics::MeterProvider as _,
};
use opentelemetry_sdk::{
    logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider,
};

const SECOND: Duration = Duration::from_secs(1);
const PIPELINES: usize = 8;

/// Exports a span from each pipeline at the same time.
fn export_from_all(pipelines: &[SdkTracerProvider]) {
    thread::scope(|scope| {
        for traces in pipelines {
            scope.spawn(|| export(traces, "a span").unwrap());
        }
    });
}

#[test]
fn exports_of_all_signals_have_a_token() {
    for transport in BOTH {
        let world = World::start();
        let authorizer = world.authorizer(transport, world.tokens.clone());
        let exporter = world.metric_exporter(transport, &authorizer);
        let metrics = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter)
            .build();
        metrics
            .meter("test")
            .u64_counter("orders")
            .build()
            .add(1, &[]);
        metrics.shutdown().unwrap();
        let exporter = world.log_exporter(transport, &authorizer);
        let logs = SdkLoggerProvider::builder()
            .with_batch_exporter(exporter)
            .build();
        let logger = logs.logger("test");
        let mut record = logger.create_log_record();
        record.set_event_name("an event");
        logger.emit(record);
        logs.shutdown().unwrap();
        let traces = world.traces(transport, world.tokens.clone());
        export(&traces, "a span").unwrap();
        traces.shutdown().unwrap();
        assert_eq!(world.collector.accepted(), ["orders", "an event", "a span"]);
        assert_eq!(world.collector.refused(), 0);
        assert_eq!(world.server.token_request_count(), 1);
    }
}

#[test]
fn an_expired_token_is_renewed_once_for_all_exporters() {
    for transport in BOTH {
        let world = World::start();
        let traces = || world.traces(transport, world.tokens.clone());
        let pipelines: Vec<_> = (0..PIPELINES).map(|_| traces()).collect();
        for _ in 0..3 {
            export_from_all(&pipelines);
            world.clock.advance(LIFETIME);
        }
        assert_eq!(world.collector.accepted().len(), 3 * PIPELINES);
        assert_eq!(world.collector.refused(), 0);
        assert_eq!(world.server.token_request_count(), 3);
        let mut sent = world.collector.tokens();
        sent.dedup();
        assert_eq!(sent.len(), 3);
    }
}

#[test]
fn no_export_waits_for_a_refresh() {
    for transport in BOTH {
        let world = World::start();
        let traces = || world.traces(transport, world.tokens.clone());
        let pipelines: Vec<_> = (0..PIPELINES).map(|_| traces()).collect();
        export(&pipelines[0], "a span").unwrap();
        world.clock.advance(NEARLY_EXPIRED);
        world.server.set_latency(LIFETIME);
        export_from_all(&pipelines);
        assert_eq!(world.collector.accepted().len(), 1 + PIPELINES);
        assert_eq!(world.collector.refused(), 0);
        let start = Instant::now();
        while world.server.token_request_count() < 2 {
            assert!(start.elapsed() < 20 * SECOND);
            thread::yield_now();
        }
        assert_eq!(world.server.token_request_count(), 2);
    }
}

#[test]
fn exports_go_on_through_an_outage_with_the_cached_token() {
    for transport in BOTH {
        let world = World::start();
        let traces = world.traces(transport, world.tokens.clone());
        export(&traces, "before").unwrap();
        world
            .server
            .start_outage(faults::named("status_503").unwrap());
        world.clock.advance(NEARLY_EXPIRED);
        export(&traces, "during").unwrap();
        // Without a valid token the exporter retries, then drops the batch.
        world.clock.advance(SECOND);
        export(&traces, "lost").unwrap_err();
        world.server.end_outage();
        world.clock.advance(LIFETIME);
        export(&traces, "after").unwrap();
        assert_eq!(world.collector.accepted(), ["before", "during", "after"]);
        assert_eq!(world.collector.refused(), 0);
    }
}

#[test]
fn a_batch_survives_an_outage_shorter_than_its_retries() {
    for transport in BOTH {
        let world = World::start();
        let token = AccessToken::bearer("good", world.clock.moment(), LIFETIME).unwrap();
        let outage = || Err(TokenError::unavailable("the token server is down"));
        let source = ScriptedSource::new([outage(), outage(), outage(), Ok(token)]);
        let traces = world.traces(transport, source.clone());
        export(&traces, "a span").unwrap();
        assert_eq!(world.collector.accepted(), ["a span"]);
        assert_eq!(source.calls(), 4);
    }
}

#[test]
fn a_refused_token_is_replaced_and_the_batch_arrives_once() {
    for transport in BOTH {
        let world = World::start();
        let traces = world.traces(transport, world.tokens.clone());
        export(&traces, "first").unwrap();
        world.collector.revoke(world.current().expose());
        export(&traces, "second").unwrap();
        assert_eq!(world.collector.accepted(), ["first", "second"]);
        assert_eq!(world.collector.refused(), 1);
        assert_eq!(world.server.token_request_count(), 2);
    }
}

#[test]
fn a_batch_whose_tokens_are_all_refused_is_sent_twice() {
    for transport in BOTH {
        let world = World::start();
        for token in ["fake-1", "fake-2"] {
            world.collector.revoke(token);
        }
        let source = FakeTokens::valid();
        let traces = world.traces(transport, source.clone());
        export(&traces, "lost").unwrap_err();
        assert_eq!(world.collector.refused(), 2);
        // The second refusal dropped its token too.
        export(&traces, "next").unwrap();
        assert_eq!(world.collector.accepted(), ["next"]);
        assert_eq!(source.calls(), 3);
    }
}

#[test]
fn without_a_token_nothing_is_sent() {
    // Over HTTP an exporter cannot distinguish it from a network error, and retries three times.
    for (transport, calls) in [(Transport::Http, 4), (Transport::Grpc, 1)] {
        let world = World::start();
        let source = FakeTokens::failing(ErrorKind::CredentialsRefused);
        let traces = world.traces(transport, source.clone());
        export(&traces, "lost").unwrap_err();
        assert_eq!(source.calls(), calls);
        assert_eq!(world.collector.refused(), 0);
        assert!(world.collector.accepted().is_empty());
    }
}
