//! Single calls: origins, proofs, threads, shutdown.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use hallpass_blocking::{BlockingAuthorizer, BlockingTokenSource};
use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, Proof, ProofRequest, Prover, SystemClock, TokenError,
    TokenRequest, TokenSource, TokenType, async_trait, authorize::Authorizer,
};
use hallpass_opentelemetry::{TokenHttpClient, exporter_tokens, token_channel};
use hallpass_testkit::{FakeTokens, leak};
use opentelemetry::{
    Context,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use opentelemetry_sdk::trace::SpanExporter as _;
use tonic::{
    Code,
    transport::{Endpoint, Uri},
};

use crate::common::{BOTH, LIFETIME, Transport, World, export, http_client};

#[test]
fn an_origin_that_is_not_allowed_gets_no_export() {
    let world = World::start();
    let source = FakeTokens::valid();
    // Each URL is allowed for the other transport only.
    let authorizer = world.authorizer(Transport::Grpc, source.clone());
    let client = TokenHttpClient::new(&authorizer, http_client());
    let request = Request::post(world.url(Transport::Http)).body(Bytes::new());
    let error = futures_executor::block_on(client.send_bytes(request.unwrap())).unwrap_err();
    let error = error.downcast::<TokenError>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);

    let authorizer = world.authorizer(Transport::Http, source.clone());
    let error = world.channel(&authorizer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(source.calls(), 0);
    assert!(world.collector.tokens().is_empty());
}

#[test]
fn a_token_that_is_bound_to_a_key_has_a_proof() {
    for (transport, path) in [
        (Transport::Http, "/v1/traces"),
        (
            Transport::Grpc,
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        ),
    ] {
        let world = World::start();
        let traces = world.traces(transport, BoundSource);
        // The collector takes bearer tokens only.
        export(&traces, "a span").unwrap_err();
        let url = format!("POST {}{path}", world.url(transport));
        let sent = world.collector.proofs();
        assert_eq!(sent.first(), Some(&url));
    }
}

#[test]
fn a_large_batch_arrives_though_its_token_is_refused() {
    // More than fits into a pipe, or into the window of a stream.
    let name = "n".repeat(1 << 20);
    for transport in BOTH {
        let world = World::start();
        let traces = world.traces(transport, FakeTokens::valid());
        world.collector.revoke("fake-1");
        traces.tracer("test").start(name.clone()).end();
        traces.force_flush().unwrap();
        assert_eq!(world.collector.accepted(), [name.as_str()]);
        assert_eq!(world.collector.tokens(), ["fake-1", "fake-2"]);
    }
}

#[test]
fn a_collector_that_is_down_is_unavailable() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let tokens = exporter_tokens(FakeTokens::valid()).build().unwrap();
    let authorizer = Authorizer::builder(tokens.source()).allow_origin(&url);
    let authorizer = authorizer.danger_allow_http_on_loopback().build().unwrap();
    let authorizer = BlockingAuthorizer::new(tokens, authorizer);
    let channel = token_channel(&authorizer, &Endpoint::from_shared(url).unwrap()).unwrap();
    let mut client = TraceServiceClient::new(channel);
    let call = client.export(ExportTraceServiceRequest::default());
    let status = futures_executor::block_on(call).unwrap_err();
    // An exporter retries it.
    assert_eq!(status.code(), Code::Unavailable);
}

#[test]
fn an_https_endpoint_without_tls_gets_no_token() {
    let world = World::start();
    let url = world.url(Transport::Grpc).replace("http:", "https:");
    let tokens = exporter_tokens(FakeTokens::valid()).build().unwrap();
    let authorizer = Authorizer::builder(tokens.source()).allow_origin(&url);
    let authorizer = BlockingAuthorizer::new(tokens, authorizer.build().unwrap());
    // No `tls_config`.
    let endpoint = Endpoint::from(url.parse::<Uri>().unwrap());
    let mut client = TraceServiceClient::new(token_channel(&authorizer, &endpoint).unwrap());
    let call = client.export(ExportTraceServiceRequest::default());
    let status = futures_executor::block_on(call).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(world.collector.tokens().is_empty());
}

#[test]
fn a_channel_ends_the_thread_of_its_tokens_with_it() {
    struct Thread(mpsc::Sender<()>);
    impl Drop for Thread {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    let world = World::start();
    let (ended, wait) = mpsc::channel();
    let tokens = BlockingTokenSource::builder(world.tokens.clone());
    let tokens = tokens.thread_scope(|| Thread(ended)).build().unwrap();
    let authorizer = Authorizer::builder(tokens.source())
        .allow_origin(world.url(Transport::Grpc))
        .clock(world.clock.clone())
        .danger_allow_http_on_loopback();
    let authorizer = BlockingAuthorizer::new(tokens, authorizer.build().unwrap());
    let exporter = world.span_exporter(Transport::Grpc, &authorizer);
    drop(authorizer);
    futures_executor::block_on(exporter.export(Vec::new())).unwrap();
    assert!(wait.try_recv().is_err());
    drop(exporter);
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[tokio::test]
async fn telemetry_is_suppressed_during_an_export() {
    #[derive(Debug)]
    struct Suppressed;
    #[async_trait]
    impl HttpClient for Suppressed {
        async fn send_bytes(&self, _: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            assert!(Context::is_current_telemetry_suppressed());
            Ok(Response::default())
        }
    }
    let tokens = exporter_tokens(FakeTokens::valid()).build().unwrap();
    let authorizer = Authorizer::builder(tokens.source()).allow_origin("https://collector");
    let authorizer = BlockingAuthorizer::new(tokens, authorizer.build().unwrap());
    let client = TokenHttpClient::new(&authorizer, Suppressed);
    let request = Request::post("https://collector/v1/traces").body(Bytes::new());
    client.send_bytes(request.unwrap()).await.unwrap();
    assert!(!Context::is_current_telemetry_suppressed());
}

#[tokio::test]
async fn an_export_works_in_a_task() {
    let world = tokio::task::spawn_blocking(World::start).await.unwrap();
    for transport in BOTH {
        let authorizer = world.authorizer(transport, world.tokens.clone());
        let exporter = world.span_exporter(transport, &authorizer);
        exporter.export(Vec::new()).await.unwrap();
    }
    assert_eq!(world.collector.tokens().len(), 2);
    tokio::task::spawn_blocking(|| drop(world)).await.unwrap();
}

#[test]
fn a_client_that_blocks_works_on_a_thread_without_a_runtime() {
    let world = World::start();
    let authorizer = world.authorizer(Transport::Http, world.tokens.clone());
    let client = TokenHttpClient::new(&authorizer, reqwest::blocking::Client::new());
    let url = format!("{}/v1/traces", world.url(Transport::Http));
    for _ in 0..2 {
        let request = Request::post(&url).body(Bytes::new()).unwrap();
        let response = futures_executor::block_on(client.send_bytes(request)).unwrap();
        assert_eq!(response.status(), 200);
        world.collector.revoke(world.current().expose());
    }
    assert_eq!(world.collector.refused(), 1);
    assert_eq!(world.server.token_request_count(), 2);
}

#[test]
fn a_shutdown_on_the_only_thread_of_a_runtime_exports_all() {
    for transport in BOTH {
        let world = World::start();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let traces = world.traces(transport, world.tokens.clone());
            traces.tracer("test").start("last").end();
            traces.shutdown().unwrap();
        });
        assert_eq!(world.collector.accepted(), ["last"]);
    }
}

#[test]
fn a_channel_outlives_the_authorizer_that_made_it() {
    let world = World::start();
    let authorizer = world.authorizer(Transport::Grpc, world.tokens.clone());
    let exporter = world.span_exporter(Transport::Grpc, &authorizer);
    drop(authorizer);
    for _ in 0..2 {
        futures_executor::block_on(exporter.export(Vec::new())).unwrap();
    }
    assert_eq!(world.server.token_request_count(), 1);
}

#[test]
fn an_export_after_the_shutdown_of_its_tokens_fails() {
    for transport in BOTH {
        let world = World::start();
        let authorizer = world.authorizer(transport, world.tokens.clone());
        let exporter = world.span_exporter(transport, &authorizer);
        futures_executor::block_on(exporter.export(Vec::new())).unwrap();
        assert!(authorizer.tokens().shutdown());
        futures_executor::block_on(exporter.export(Vec::new())).unwrap_err();
        assert_eq!(world.collector.tokens().len(), 1);
    }
}

#[test]
fn debug_output_shows_no_token() {
    let world = World::start();
    for transport in BOTH {
        let authorizer = world.authorizer(transport, world.tokens.clone());
        let exporter = world.span_exporter(transport, &authorizer);
        futures_executor::block_on(exporter.export(Vec::new())).unwrap();
        let token = world.current();
        // The collector received it.
        assert!(leak::find(&format!("{:?}", world.collector.tokens()), token.expose()).is_some());
        leak::assert_clean(&format!("{exporter:#?}"), token.expose());
        leak::assert_clean(&format!("{authorizer:#?}"), token.expose());
    }
}

#[test]
fn a_channel_is_built_without_a_runtime() {
    let world = World::start();
    let authorizer = world.authorizer(Transport::Grpc, world.tokens.clone());
    let endpoint = Endpoint::from_shared(world.url(Transport::Grpc).to_owned());
    token_channel(&authorizer, &endpoint.unwrap()).unwrap();
    assert!(tokio::runtime::Handle::try_current().is_err());
}

/// A source of tokens that are bound to a key.
struct BoundSource;

#[async_trait]
impl TokenSource for BoundSource {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let token = AccessToken::new(TokenType::Dpop, "bound", SystemClock.moment(), LIFETIME)?;
        Ok(token.with_prover(Arc::new(Url)))
    }
}

/// A prover whose proofs are the method and the URL that they are for.
#[derive(Debug)]
struct Url;

#[async_trait]
impl Prover for Url {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        let text = format!("{} {}", request.method(), request.url());
        Proof::new(text, SystemClock.moment().wall)
    }
}
