//! A token that is refused at the end of a response.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use hallpass_core::authorize::Authorizer;
use hallpass_tower::{GrpcTokenService, TokenLayer};
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Iter, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client::Grpc,
    server::NamedService,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::Layer as _;

use crate::greeter::{Hello, Issuer, Tokens};

type Replies = Iter<std::vec::IntoIter<Result<Hello, Status>>>;

/// A service that checks the token after it has sent its headers, and one reply.
#[derive(Clone)]
struct Late {
    issuer: Arc<Issuer>,
    calls: Arc<AtomicUsize>,
    replies: usize,
}

impl NamedService for Late {
    const NAME: &'static str = "greeter.Late";
}

impl tower::Service<http::Request<Body>> for Late {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (issuer, replies) = (self.issuer.clone(), self.replies);
        let greet = tower::service_fn(move |request: Request<Streaming<Hello>>| {
            let header = request.metadata().get("authorization").unwrap();
            let good = issuer.is_good(header.to_str().unwrap());
            async move {
                let name = "hello".to_owned();
                let mut sent: Vec<_> = vec![Ok(Hello { name: name.clone() }); replies];
                if good {
                    sent.resize(sent.len().max(1), Ok(Hello { name }));
                } else {
                    sent.push(Err(Status::unauthenticated("the token is not good")));
                }
                Ok::<Response<Replies>, Status>(Response::new(tokio_stream::iter(sent)))
            }
        });
        Box::pin(async move {
            let codec = ProstCodec::<Hello, Hello>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(grpc.streaming(greet, request).await)
        })
    }
}

/// A server that refuses the token in the trailers after `replies` messages, and a client.
struct Case {
    issuer: Arc<Issuer>,
    calls: Arc<AtomicUsize>,
    grpc: Grpc<GrpcTokenService<Channel>>,
    server: JoinHandle<()>,
}

impl Case {
    async fn start(replies: usize) -> Self {
        let (issuer, calls) = (Arc::new(Issuer::default()), Arc::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let service = Late {
            issuer: issuer.clone(),
            calls: Arc::clone(&calls),
            replies,
        };
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let origin = format!("http://{address}");
        let authorizer = Authorizer::builder(Tokens(issuer.clone())).allow_origin(&origin);
        let authorizer = authorizer.danger_allow_http_on_loopback().build().unwrap();
        let layer = TokenLayer::new(authorizer).connected_to(origin.parse().unwrap());
        let channel = Endpoint::from_shared(origin).unwrap().connect_lazy();
        Self {
            issuer,
            calls,
            grpc: Grpc::new(layer.grpc().layer(channel)),
            server: tokio::spawn(async move { drop(serving.await) }),
        }
    }

    async fn call(&mut self, kind: &str) -> Result<usize, Status> {
        self.grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/greeter.Late/Greet");
        let codec = ProstCodec::<Hello, Hello>::default();
        let hello = || Hello {
            name: "Ada".to_owned(),
        };
        match kind {
            "unary" => {
                let reply = self.grpc.unary(Request::new(hello()), path, codec);
                reply.await.map(|_| 1)
            }
            "client streaming" => {
                let hellos = Request::new(tokio_stream::iter([hello(), hello()]));
                let reply = self.grpc.client_streaming(hellos, path, codec);
                reply.await.map(|_| 1)
            }
            _ => {
                let replies = self
                    .grpc
                    .server_streaming(Request::new(hello()), path, codec);
                let mut replies = replies.await?.into_inner();
                let mut count = 0;
                while let Some(reply) = replies.next().await {
                    reply?;
                    count += 1;
                }
                Ok(count)
            }
        }
    }
}

// covers: C-32, C-35
#[tokio::test]
async fn a_token_refused_in_trailers_is_dropped_without_a_resend() {
    for kind in ["unary", "client streaming", "server streaming"] {
        // A unary call has its status before or after its message.
        for replies in [0, 1] {
            let mut case = Case::start(replies).await;
            assert_eq!(case.call(kind).await.unwrap(), 1, "{kind}");
            case.issuer.revoke();
            let status = case.call(kind).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{kind}");
            assert_eq!(case.calls.load(Ordering::SeqCst), 2, "{kind}");
            assert_eq!(case.call(kind).await.unwrap(), 1, "{kind}");
            assert_eq!(case.calls.load(Ordering::SeqCst), 3, "{kind}");
            case.server.abort();
        }
    }
}
