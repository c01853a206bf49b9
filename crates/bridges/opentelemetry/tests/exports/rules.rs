//! The rules for adapters.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hallpass_blocking::BlockingAuthorizer;
use hallpass_core::{
    AccessToken, TokenError, TokenRequest, TokenSource, async_trait, authorize::Authorizer,
};
use hallpass_opentelemetry::{TokenHttpClient, exporter_tokens};
use hallpass_testkit::bridge::{self, Adapter, BoxError, Credential, Rule};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use tonic::transport::Channel;

use crate::common::{Transport, World};

const NO_EXPIRY: (Rule, &str) = (
    Rule::ReportsExpiry,
    "an exporter has no place for it: each export gets a token",
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_http_client_keeps_the_rules() {
    let create = |source| {
        let tokens = exporter_tokens(source).build().unwrap();
        let authorizer = Authorizer::builder(tokens.source()).allow_origin("https://collector");
        let authorizer = BlockingAuthorizer::new(tokens, authorizer.build().unwrap());
        let collector = Arc::new(Revocations::default());
        let client = TokenHttpClient::new(&authorizer, Client(collector.clone()));
        OverHttp { client, collector }
    };
    assert_eq!(bridge::check(create, &[NO_EXPIRY]).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_channel_keeps_the_rules() {
    let world = tokio::task::spawn_blocking(World::start).await.unwrap();
    let create = |source| {
        let source = Running(source, Arc::default());
        let running = source.1.clone();
        let authorizer = world.authorizer(Transport::Grpc, source);
        OverGrpc {
            channel: world.channel(&authorizer).unwrap(),
            world: &world,
            running,
        }
    };
    assert_eq!(bridge::check(create, &[NO_EXPIRY]).await, []);
    tokio::task::block_in_place(|| drop(world));
}

#[derive(Debug)]
struct OverHttp {
    client: TokenHttpClient<Client>,
    collector: Arc<Revocations>,
}

#[async_trait]
impl Adapter for OverHttp {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let request = Request::post("https://collector/v1/traces").body(Bytes::new())?;
        let response = self.client.send_bytes(request).await?;
        let shown = response.extensions().get::<Shown>().unwrap().0.clone();
        Ok(Credential::new(str::from_utf8(response.body())?).shown(shown))
    }

    async fn refuse(&self, token: &str) {
        self.collector.0.lock().unwrap().push(token.to_owned());
        self.credential().await.unwrap();
    }
}

/// The tokens that the collector refuses.
#[derive(Default)]
struct Revocations(Mutex<Vec<String>>);

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revocations(..)")
    }
}

/// A client whose collector answers with the token.
#[derive(Debug)]
struct Client(Arc<Revocations>);

/// The `Debug` output of a request.
#[derive(Clone)]
struct Shown(String);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let token = request.headers()["authorization"].to_str()?;
        let token = token.strip_prefix("Bearer ").unwrap();
        let refused = self
            .0
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|revoked| revoked == token);
        let response = Response::builder()
            .status(if refused { 401 } else { 200 })
            .extension(Shown(format!("{request:?}")));
        Ok(response.body(Bytes::from(token.to_owned()))?)
    }
}

struct OverGrpc<'a> {
    channel: Channel,
    world: &'a World,
    running: Arc<AtomicUsize>,
}

impl fmt::Debug for OverGrpc<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.fmt(f)
    }
}

#[async_trait]
impl Adapter for OverGrpc<'_> {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let cancelled = Cancelled(&self.running);
        let mut client = TraceServiceClient::new(self.channel.clone());
        client.export(ExportTraceServiceRequest::default()).await?;
        std::mem::forget(cancelled);
        let sent = self.world.collector.tokens();
        Ok(Credential::new(sent.last().unwrap()))
    }

    async fn refuse(&self, token: &str) {
        self.world.collector.revoke(token);
        self.credential().await.unwrap();
        // The other rules have the same tokens.
        self.world.collector.restore(token);
    }
}

/// Waits until the channel has received a cancellation.
struct Cancelled<'a>(&'a AtomicUsize);

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        let start = Instant::now();
        while self.0.load(Ordering::SeqCst) > 0 {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::yield_now();
        }
    }
}

/// A source that counts its calls in progress.
struct Running(Arc<dyn TokenSource>, Arc<AtomicUsize>);

#[async_trait]
impl TokenSource for Running {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        struct Call<'a>(&'a AtomicUsize);
        impl Drop for Call<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.1.fetch_add(1, Ordering::SeqCst);
        let _call = Call(&self.1);
        self.0.token(request).await
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.0.ready_token(request)
    }

    fn invalidate(&self, token: &AccessToken) {
        self.0.invalidate(token);
    }
}
