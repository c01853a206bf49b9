//! The cost of a cached token in an export, compared with a static header: in the client alone, and in exports of a span
//! over HTTP and over gRPC.
//!
//! The calls come from a thread without a runtime, as those of a batch processor. The static header is sent as the
//! documentation of the exporters says: with the blocking client over HTTP, with a channel of another runtime over gRPC.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../../turns.rs"]
mod turns;

use std::{collections::HashMap, hint::black_box, time::SystemTime};

use common::{DEFAULT, Transport, World};
use hallpass_blocking::BlockingAuthorizer;
use hallpass_core::{async_trait, authorize::Authorizer};
use hallpass_opentelemetry::{TokenHttpClient, exporter_tokens};
use opentelemetry::{
    InstrumentationScope,
    trace::{SpanContext, SpanId, SpanKind, Status},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::runtime::Runtime;
use tonic::{metadata::MetadataMap, transport::Endpoint};

fn main() {
    let world = World::start();
    futures_executor::block_on(compare(&world));
}

async fn compare(world: &World) {
    let authorizer = world.authorizer(Transport::Http, world.tokens.clone());
    let token = authorizer.tokens().token(&DEFAULT).unwrap();
    let bearer = format!("Bearer {}", token.expose());

    let ours = {
        let tokens = exporter_tokens(world.tokens.clone()).build().unwrap();
        let authorizer = Authorizer::builder(tokens.source()).allow_origin("https://collector");
        let authorizer = authorizer.clock(world.clock.clone()).build().unwrap();
        TokenHttpClient::new(&BlockingAuthorizer::new(tokens, authorizer), Null)
    };
    let request = || Request::post("https://collector/v1/traces");
    let with_token = async || {
        let request = request().body(Bytes::new()).unwrap();
        black_box(ours.send_bytes(request).await.unwrap());
    };
    let with_header = async || {
        let request = request().header("authorization", &bearer);
        let request = request.body(Bytes::new()).unwrap();
        black_box(Null.send_bytes(request).await.unwrap());
    };
    turns::compare("client", 1_000, with_token, with_header).await;
    turns::allocations("client", with_token, with_header);

    let ours = world.span_exporter(Transport::Http, &authorizer);
    let theirs = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", world.url(Transport::Http)))
        .with_http_client(reqwest::blocking::Client::new())
        .with_headers(HashMap::from([(
            "authorization".to_owned(),
            bearer.clone(),
        )]))
        .build()
        .unwrap();
    export("HTTP", &ours, &theirs).await;

    let authorizer = world.authorizer(Transport::Grpc, world.tokens.clone());
    let ours = world.span_exporter(Transport::Grpc, &authorizer);
    let runtime = Runtime::new().unwrap();
    let endpoint = Endpoint::from_shared(world.url(Transport::Grpc).to_owned()).unwrap();
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", bearer.parse().unwrap());
    let channel = runtime.block_on(async { endpoint.connect_lazy() });
    let theirs = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_metadata(metadata)
        .build()
        .unwrap();
    export("gRPC", &ours, &theirs).await;
}

/// Compares exports of one span.
async fn export(row: &str, ours: &SpanExporter, theirs: &SpanExporter) {
    let span = span();
    turns::compare(
        row,
        1,
        async || ours.export(vec![span.clone()]).await.unwrap(),
        async || theirs.export(vec![span.clone()]).await.unwrap(),
    )
    .await;
}

fn span() -> SpanData {
    let now = SystemTime::now();
    SpanData {
        span_context: SpanContext::empty_context(),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "a span".into(),
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

/// A client without a network.
#[derive(Debug)]
struct Null;

#[async_trait]
impl HttpClient for Null {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        Ok(Response::new(request.into_body()))
    }
}
