//! Connections to a collector that hangs, restarts, or ends them.

use std::{net::SocketAddr, time::Duration};

use hallpass_blocking::BlockingAuthorizer;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, TokenError, TokenRequest, TokenSource, async_trait, authorize::Authorizer,
};
use hallpass_opentelemetry::{exporter_tokens, token_channel};
use hallpass_testkit::FakeTokens;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
    trace_service_server::TraceServiceServer,
};
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Server},
};

use crate::common::{BOTH, Collector, World, export};

fn channel(endpoint: &Endpoint, source: impl TokenSource + 'static) -> Channel {
    let tokens = exporter_tokens(source).build().unwrap();
    let authorizer = Authorizer::builder(tokens.source())
        .allow_origin(&endpoint.uri().to_string())
        .danger_allow_http_on_loopback();
    let authorizer = BlockingAuthorizer::new(tokens, authorizer.build().unwrap());
    token_channel(&authorizer, endpoint).unwrap()
}

fn call(channel: &Channel) -> Result<(), Status> {
    let mut client = TraceServiceClient::new(channel.clone());
    let call = client.export(ExportTraceServiceRequest::default());
    futures_executor::block_on(call).map(drop)
}

/// A collector over gRPC that ends its connections, as on a restart, when the sender is used.
fn serve(
    runtime: &Runtime,
    collector: &Collector,
    address: SocketAddr,
) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel();
    let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = stopped.await;
        });
    let task = runtime.spawn(async move { server.await.unwrap() });
    (address, stop, task)
}

#[test]
fn a_channel_connects_again_after_a_restart() {
    let runtime = Runtime::new().unwrap();
    let collector = Collector::default();
    let (address, stop, task) = serve(&runtime, &collector, ([127, 0, 0, 1], 0).into());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = channel(&endpoint, FakeTokens::valid());
    call(&channel).unwrap();
    // A GOAWAY, then the end of the connection.
    stop.send(()).unwrap();
    runtime.block_on(task).unwrap();
    assert_eq!(call(&channel).unwrap_err().code(), Code::Unavailable);
    let (_, _stop, _task) = serve(&runtime, &collector, address);
    call(&channel).unwrap();
    assert_eq!(collector.tokens().len(), 2);
}

#[test]
fn the_timeout_of_an_endpoint_ends_a_call() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let endpoint = Endpoint::from_shared(url).unwrap();
    let endpoint = endpoint.timeout(Duration::from_millis(50));
    let runtime = Runtime::new().unwrap();
    let direct = runtime.block_on(async { endpoint.connect_lazy() });
    let channel = channel(&endpoint, FakeTokens::valid());
    // An exporter classifies both alike.
    let codes = [direct, channel].map(|channel| call(&channel).unwrap_err().code());
    assert_eq!(codes, [Code::Cancelled; 2]);
}

/// A source with a fault.
struct Panicking;

#[async_trait]
impl TokenSource for Panicking {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        panic!("a fault of the source")
    }
}

#[test]
fn a_source_that_panics_fails_the_export_only() {
    for transport in BOTH {
        let world = World::start();
        let traces = world.traces(transport, CachedTokenSource::new(Panicking));
        for _ in 0..2 {
            export(&traces, "lost").unwrap_err();
        }
        traces.shutdown().unwrap();
        assert!(world.collector.tokens().is_empty());
    }
}
