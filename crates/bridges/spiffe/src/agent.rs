use std::{
    env, fmt,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hallpass_core::SecretError;
use http::{Uri, uri::PathAndQuery};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tonic::{Request, Status, Streaming, body::Body, client::Grpc, metadata::MetadataValue};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::{JwtSvid, X509Svid, error};

const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";
/// The maximum length of a response in bytes.
const MAX_BYTES: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The SPIFFE Workload API of the agent on this machine, at its Unix socket.
///
/// ```
/// use hallpass_spiffe::WorkloadApi;
///
/// let agent = WorkloadApi::new("unix:///run/spire/sockets/agent.sock")?;
/// assert!(WorkloadApi::new("tcp://127.0.0.1:8000").is_err());
/// # Ok::<(), hallpass_core::SecretError>(())
/// ```
#[derive(Clone)]
pub struct WorkloadApi {
    socket: Arc<Path>,
    timeout: Duration,
}

impl WorkloadApi {
    /// Uses the socket of the variable `SPIFFE_ENDPOINT_SOCKET`.
    ///
    /// # Errors
    ///
    /// A [`SecretError`] if the variable is not set, or as [`new`](Self::new).
    pub fn from_env() -> Result<Self, SecretError> {
        let endpoint = env::var(VARIABLE);
        let endpoint =
            endpoint.map_err(|_| SecretError::new(format!("`{VARIABLE}` is not set")))?;
        Self::new(&endpoint)
    }

    /// Uses the socket of this URI, `unix:` with an absolute path. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A [`SecretError`] if it is another kind of endpoint.
    pub fn new(endpoint: &str) -> Result<Self, SecretError> {
        let path = endpoint.strip_prefix("unix:");
        let path = path.map(|path| path.strip_prefix("//").unwrap_or(path));
        let path = path.filter(|path| path.starts_with('/') && !path.contains(['?', '#', '\0']));
        let path = path.ok_or_else(|| {
            SecretError::new(format!(
                "the endpoint of the SPIFFE agent is not a Unix socket with an absolute path; set `{VARIABLE}` to one such as `unix:///run/spire/sockets/agent.sock`"
            ))
        })?;
        Ok(Self {
            socket: Path::new(path).into(),
            timeout: TIMEOUT,
        })
    }

    /// Sets the timeout of a call, including the connection. Default: 5 seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns a source of JWT-SVIDs for this audience, the issuer identifier of the authorization server.
    pub fn jwt_svid(&self, audience: impl Into<String>) -> JwtSvid {
        JwtSvid::new(self.clone(), audience.into())
    }

    /// Returns a source of the X.509-SVID.
    pub fn x509_svid(&self) -> X509Svid {
        X509Svid::new(self.clone())
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Calls a method on a connection of its own, and returns the stream of responses.
    pub(crate) async fn call<Q, R>(
        &self,
        method: &'static str,
        request: Q,
    ) -> Result<Streaming<R>, SecretError>
    where
        Q: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| error::unreachable(&self.socket, &error))?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| error::broken(&self.socket, error))?;
        // Ends with the last response, or when the stream of responses is dropped.
        tokio::spawn(connection);
        let origin = Uri::from_static("http://localhost");
        let mut client = Grpc::with_origin(Connection(sender), origin);
        client = client.max_decoding_message_size(MAX_BYTES);
        let ready = client.ready().await;
        ready.map_err(|error| error::broken(&self.socket, error))?;
        let mut request = Request::new(request);
        // Without it, an agent refuses the call: a server-side request forgery cannot add a header.
        let present = MetadataValue::from_static("true");
        request.metadata_mut().insert("workload.spiffe.io", present);
        let path = PathAndQuery::from_static(method);
        let codec = ProstCodec::<Q, R>::default();
        let response = client.server_streaming(request, path, codec).await;
        let response = response.map_err(|status| error::refused(&self.socket, &status))?;
        Ok(response.into_inner())
    }

    /// Returns the first response of a stream.
    pub(crate) async fn first<R>(&self, stream: &mut Streaming<R>) -> Result<R, SecretError> {
        let first = stream.message().await;
        let first = first.map_err(|status| error::refused(&self.socket, &status))?;
        first.ok_or_else(|| error::refused(&self.socket, &Status::unavailable("")))
    }

    /// Limits the time of a call.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, SecretError>>,
    ) -> Result<T, SecretError> {
        let limit = self.timeout.min(limit);
        let call = tokio::time::timeout(limit, call).await;
        call.unwrap_or_else(|_| Err(error::late(&self.socket)))
    }
}

impl fmt::Debug for WorkloadApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkloadApi").field(&self.socket).finish()
    }
}

/// An HTTP/2 connection as tonic's service.
struct Connection(SendRequest<Body>);

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
