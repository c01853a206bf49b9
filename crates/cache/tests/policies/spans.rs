//! Spans: each flight's span closes when the flight lands, and a refresh is not part of the request that started it.

use std::sync::{Arc, Mutex};

use tokio::time::advance;
use tracing::{
    Instrument as _, Subscriber,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::support::{HOUR, MINUTE, Mint, name, settle};

/// A subscriber that records which spans open, under which parent, and which close.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("the span is new");
        let parent = span.parent().map_or("none", |parent| parent.name());
        self.note(format!("{} opened, parent {parent}", span.name()));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let name = |id| context.span(id).map_or("closed", |span| span.name());
        self.note(format!("{} follows {}", name(id), name(follows)));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let name = context.span(&id).map_or("closed", |span| span.name());
        self.note(format!("{name} closed"));
    }
}

impl Spans {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_follows_from_the_request_that_triggered_it() {
    let spans = Spans::default();
    let _guard = tracing_subscriber::registry()
        .with(spans.clone())
        .set_default();
    let mint = Mint::hourly();
    let cache = mint.cached();
    let request = || tracing::info_span!("request");
    name(&cache).instrument(request()).await;
    settle().await;
    assert_eq!(
        spans.take(),
        [
            "request opened, parent none",
            "token_fetch opened, parent request",
            "token_fetch closed",
            "request closed",
        ]
    );
    advance(58 * MINUTE).await;
    let gate = mint.close();
    let call = async {
        name(&cache).await;
        settle().await;
    };
    call.instrument(request()).await;
    assert_eq!(
        spans.take(),
        [
            "request opened, parent none",
            "token_fetch opened, parent none",
            "token_fetch follows request",
            // It does not wait for the refresh.
            "request closed",
        ]
    );
    gate.open();
    settle().await;
    assert_eq!(spans.take(), ["token_fetch closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_keeps_no_span_of_its_caller_open() {
    let spans = Spans::default();
    let _guard = tracing_subscriber::registry()
        .with(spans.clone())
        .set_default();
    let cache = Mint::hourly().cached();
    name(&cache).await;
    advance(58 * MINUTE).await;
    spans.take();
    // Closed before the refresh's task begins.
    name(&cache)
        .instrument(tracing::info_span!("request"))
        .await;
    assert_eq!(
        spans.take(),
        ["request opened, parent none", "request closed"]
    );
    settle().await;
    assert_eq!(
        spans.take(),
        [
            "token_fetch opened, parent none",
            "token_fetch follows closed",
            "token_fetch closed",
        ]
    );
}

#[test]
fn a_refresh_is_no_child_of_a_span_around_the_runtime() {
    let spans = Spans::default();
    let _guard = tracing_subscriber::registry()
        .with(spans.clone())
        .set_default();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    let _main = tracing::info_span!("main").entered();
    runtime.block_on(async {
        let cache = Mint::hourly().cached();
        name(&cache).await;
        advance(58 * MINUTE).await;
        spans.take();
        name(&cache).await;
        settle().await;
    });
    assert_eq!(
        spans.take(),
        [
            "token_fetch opened, parent none",
            "token_fetch follows main",
            "token_fetch closed",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_warm_token_holds_no_span_open() {
    let spans = Spans::default();
    let _guard = tracing_subscriber::registry()
        .with(spans.clone())
        .set_default();
    let mint = Mint::hourly();
    let cache = mint.builder().keep_warm().build();
    name(&cache)
        .instrument(tracing::info_span!("request"))
        .await;
    tokio::time::sleep(3 * HOUR).await;
    let told = spans.take();
    assert_eq!(
        told[..4],
        [
            "request opened, parent none",
            "token_fetch opened, parent request",
            "token_fetch closed",
            "request closed",
        ]
    );
    let refresh = ["token_fetch opened, parent none", "token_fetch closed"];
    assert_eq!(told[4..], refresh.repeat(mint.calls() - 1));
    assert_eq!(mint.calls(), 4);
}
