//! A gRPC service that greets authenticated callers, and its client: the equivalent of tonic's generated code.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hallpass_core::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, body::Body, client::GrpcService, server::NamedService};
use tonic_prost::ProstCodec;

/// The request to greet someone.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Hello {
    /// A name.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// An issuer of tokens, which knows the valid one: the latest that it did not drop.
#[derive(Debug, Default)]
pub(crate) struct Issuer {
    revoked: AtomicUsize,
    issued: AtomicUsize,
}

impl Issuer {
    /// Makes the service refuse the clients' current token.
    pub(crate) fn revoke(&self) {
        self.revoked.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn is_good(&self, header: &str) -> bool {
        header == format!("Bearer token-{}", self.revoked.load(Ordering::SeqCst))
    }
}

/// The client's token source; a service has a `CachedTokenSource` here.
#[derive(Clone, Debug)]
pub(crate) struct Tokens(pub(crate) Arc<Issuer>);

#[async_trait]
impl TokenSource for Tokens {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = self.0.issued.load(Ordering::SeqCst);
        let hour = Duration::from_secs(3_600);
        Ok(AccessToken::bearer(
            &format!("token-{number}"),
            SystemClock.moment(),
            hour,
        )?)
    }

    fn invalidate(&self, _: &AccessToken) {
        let revoked = self.0.revoked.load(Ordering::SeqCst);
        self.0.issued.store(revoked, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Greeter(Arc<Issuer>);

impl NamedService for Greeter {
    const NAME: &'static str = "greeter.Greeter";
}

impl tower::Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let issuer = self.0.clone();
        let greet = tower::service_fn(move |request: Request<Hello>| {
            let header = request.metadata().get("authorization");
            let header = header.and_then(|header| header.to_str().ok());
            let good = header.is_some_and(|header| issuer.is_good(header));
            std::future::ready(if good {
                let name = format!("hello {}", request.into_inner().name);
                Ok(Response::new(Hello { name }))
            } else {
                Err(Status::unauthenticated("the token is not good"))
            })
        });
        Box::pin(async move {
            let codec = ProstCodec::<Hello, Hello>::default();
            Ok(tonic::server::Grpc::new(codec).unary(greet, request).await)
        })
    }
}

/// Serves on a free port of this machine.
pub(crate) async fn serve(issuer: Arc<Issuer>) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tonic::transport::Server::builder()
        .add_service(Greeter(issuer))
        .serve_with_incoming(TcpListenerStream::new(listener));
    // It stops with its task.
    let task = tokio::spawn(async move { drop(serving.await) });
    Ok((address, task))
}

/// Greets `name` over any channel.
pub(crate) async fn greet<S>(channel: S, name: &str) -> Result<String, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::from_error(error.into()))?;
    let path = http::uri::PathAndQuery::from_static("/greeter.Greeter/Greet");
    let hello = Request::new(Hello {
        name: name.to_owned(),
    });
    let answer = grpc.unary(hello, path, ProstCodec::<Hello, Hello>::default());
    Ok(answer.await?.into_inner().name)
}
