//! An OTLP receiver, over HTTP and over gRPC.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status};

/// A collector that accepts bearer tokens, but for those that were revoked, and records what it accepts.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    revoked: Vec<String>,
    accepted: Vec<String>,
    refused: usize,
    tokens: Vec<String>,
    proofs: Vec<String>,
}

impl Collector {
    pub(crate) async fn serve_http(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/v1/logs", post(answer::<ExportLogsServiceRequest>))
            .route("/v1/metrics", post(answer::<ExportMetricsServiceRequest>))
            .route("/v1/traces", post(answer::<ExportTraceServiceRequest>))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    pub(crate) async fn serve_grpc(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(LogsServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(TraceServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        format!("http://{address}")
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.0.lock().unwrap().revoked.push(token.to_owned());
    }

    /// Accepts a token that was revoked.
    pub(crate) fn restore(&self, token: &str) {
        let mut records = self.0.lock().unwrap();
        records.revoked.retain(|revoked| revoked != token);
    }

    /// Returns the names of the accepted spans, log records and metrics, in the order of their arrival.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.0.lock().unwrap().accepted.clone()
    }

    /// Returns the number of refused exports.
    pub(crate) fn refused(&self) -> usize {
        self.0.lock().unwrap().refused
    }

    /// Returns the tokens of all exports, in the order of their arrival.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.0.lock().unwrap().tokens.clone()
    }

    /// Returns the proofs of all exports, in the order of their arrival.
    pub(crate) fn proofs(&self) -> Vec<String> {
        self.0.lock().unwrap().proofs.clone()
    }

    /// Records an export, and returns true if its token is good.
    fn receive(&self, headers: &HeaderMap, names: Vec<String>) -> bool {
        let mut records = self.0.lock().unwrap();
        let sent = headers.get(header::AUTHORIZATION);
        let sent = sent.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        records.tokens.extend(sent.map(str::to_owned));
        let proofs = headers.get_all("dpop").iter();
        records
            .proofs
            .extend(proofs.map(|proof| proof.to_str().unwrap().to_owned()));
        let good = sent.is_some_and(|sent| !records.revoked.iter().any(|revoked| revoked == sent));
        if good {
            records.accepted.extend(names);
        } else {
            records.refused += 1;
        }
        good
    }

    fn receive_grpc<T: Names, R: Default>(
        &self,
        request: Request<T>,
    ) -> Result<tonic::Response<R>, Status> {
        let (metadata, _, message) = request.into_parts();
        if self.receive(&metadata.into_headers(), message.names()) {
            return Ok(tonic::Response::new(R::default()));
        }
        Err(Status::unauthenticated("the token was revoked"))
    }
}

async fn answer<T: Message + Default + Names>(
    State(collector): State<Collector>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let names = T::decode(body).unwrap().names();
    if collector.receive(&headers, names) {
        return StatusCode::OK.into_response();
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

/// The content of an export.
trait Names {
    fn names(self) -> Vec<String>;
}

impl Names for ExportTraceServiceRequest {
    fn names(self) -> Vec<String> {
        let scopes = self
            .resource_spans
            .into_iter()
            .flat_map(|all| all.scope_spans);
        scopes
            .flat_map(|scope| scope.spans)
            .map(|span| span.name)
            .collect()
    }
}

impl Names for ExportMetricsServiceRequest {
    fn names(self) -> Vec<String> {
        let scopes = self
            .resource_metrics
            .into_iter()
            .flat_map(|all| all.scope_metrics);
        scopes
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name)
            .collect()
    }
}

impl Names for ExportLogsServiceRequest {
    fn names(self) -> Vec<String> {
        let scopes = self
            .resource_logs
            .into_iter()
            .flat_map(|all| all.scope_logs);
        scopes
            .flat_map(|scope| scope.log_records)
            .map(|record| record.event_name)
            .collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.receive_grpc(request)
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.receive_grpc(request)
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.receive_grpc(request)
    }
}
