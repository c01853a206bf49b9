//! An agent with a Workload API on a real Unix socket.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{
    net::UnixListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{Request, Response, Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::{
    WorkloadApi,
    messages::{JwtSvidRequest, JwtSvidResponse, X509SvidRequest, X509SvidResponse},
};

type Answer<T> = Result<T, tonic::Code>;

/// The agent's state, which survives its restarts.
pub(super) struct Agent {
    directory: TempDir,
    state: Arc<State>,
    task: Option<JoinHandle<()>>,
}

struct State {
    jwt: Mutex<Answer<JwtSvidResponse>>,
    x509: watch::Sender<Answer<X509SvidResponse>>,
    requests: Mutex<Vec<JwtSvidRequest>>,
    streams: AtomicUsize,
}

impl Agent {
    /// Creates an agent that does not run yet, and has no identity for anyone.
    pub(super) fn new() -> Self {
        let state = State {
            jwt: Mutex::new(Err(tonic::Code::PermissionDenied)),
            x509: watch::Sender::new(Err(tonic::Code::PermissionDenied)),
            requests: Mutex::default(),
            streams: AtomicUsize::new(0),
        };
        Self {
            directory: TempDir::new().unwrap(),
            state: Arc::new(state),
            task: None,
        }
    }

    pub(super) fn start() -> Self {
        let mut agent = Self::new();
        agent.run();
        agent
    }

    pub(super) fn run(&mut self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let state = self.state.clone();
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), request));
                    let server = http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
    }

    /// Ends the process: its connections are lost, and the socket is removed.
    pub(super) async fn stop(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
        std::fs::remove_file(self.socket()).unwrap();
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    pub(super) fn api(&self) -> WorkloadApi {
        api(&self.socket())
    }

    pub(super) fn issue_jwt(&self, answer: Answer<JwtSvidResponse>) {
        *self.state.jwt.lock().unwrap() = answer;
    }

    pub(super) fn issue_x509(&self, answer: Answer<X509SvidResponse>) {
        drop(self.state.x509.send_replace(answer));
    }

    pub(super) fn requests(&self) -> Vec<JwtSvidRequest> {
        self.state.requests.lock().unwrap().clone()
    }

    pub(super) fn stream_count(&self) -> usize {
        self.state.streams.load(Ordering::SeqCst)
    }
}

pub(super) fn api(socket: &Path) -> WorkloadApi {
    WorkloadApi::new(&format!("unix://{}", socket.display())).unwrap()
}

async fn answer(
    state: Arc<State>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let header = request.headers().get("workload.spiffe.io");
    if header.is_none_or(|value| value != "true") {
        return Ok(Status::invalid_argument("no header").into_http());
    }
    Ok(match request.uri().path() {
        "/SpiffeWorkloadAPI/FetchJWTSVID" => {
            Grpc::new(ProstCodec::default())
                .unary(Jwt(state), request)
                .await
        }
        "/SpiffeWorkloadAPI/FetchX509SVID" => {
            Grpc::new(ProstCodec::default())
                .server_streaming(X509(state), request)
                .await
        }
        _ => Status::unimplemented("no such method").into_http(),
    })
}

struct Jwt(Arc<State>);

impl Service<Request<JwtSvidRequest>> for Jwt {
    type Response = Response<JwtSvidResponse>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<JwtSvidRequest>) -> Self::Future {
        self.0.requests.lock().unwrap().push(request.into_inner());
        let answer = self.0.jwt.lock().unwrap().clone();
        ready(
            answer
                .map(Response::new)
                .map_err(|code| Status::new(code, "CANARY")),
        )
    }
}

struct X509(Arc<State>);

type Responses = Pin<Box<dyn Stream<Item = Result<X509SvidResponse, Status>> + Send>>;

impl Service<Request<X509SvidRequest>> for X509 {
    type Response = Response<Responses>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<X509SvidRequest>) -> Self::Future {
        self.0.streams.fetch_add(1, Ordering::SeqCst);
        let answers = WatchStream::new(self.0.x509.subscribe());
        let answers = answers.map(|answer| answer.map_err(|code| Status::new(code, "CANARY")));
        ready(Ok(Response::new(Box::pin(answers))))
    }
}
