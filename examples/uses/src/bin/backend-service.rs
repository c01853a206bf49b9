//! A backend service that calls another one: axum in front, and behind it an API that requires a token.
//!
//! `GET /orders/{id}` requests the order from the API; `GET /readyz` is the readiness probe. On SIGTERM or Ctrl-C the
//! service is not ready from then on, answers requests for `DRAIN_SECONDS` (default: 5), and stops.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderName, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::get,
};
use hallpass::{
    TokenError, TokenRequest,
    authorize::{ApiRefusal, Authorizer},
    cache::Readiness,
    reqwest_ext::RequestBuilderExt,
};
use tokio::{net::TcpListener, signal, time};
use uses::{Tokens, setting};

/// The handlers' state: no client id, no secret.
struct Service {
    http: reqwest::Client,
    authorizer: Authorizer,
    tokens: Tokens,
    api: String,
    draining: AtomicBool,
}

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Shorter than the probe's own timeout, which is a second in Kubernetes.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    uses::log();
    let api = setting("API_ORIGIN")?;
    let tokens = uses::tokens("orders.read")?;
    // Wrong credentials should stop the deployment, not fail the first request. A short outage is waited for.
    tokens
        .warm_up([TokenRequest::default()], START_TIMEOUT)
        .await?;
    let authorizer = uses::authorizer(tokens.clone(), &api)?;
    let http = uses::http()?;
    let drain = env::var("DRAIN_SECONDS").map_or(Ok(5), |seconds| seconds.parse())?;
    let service = Arc::new(Service {
        http,
        authorizer,
        tokens,
        api,
        draining: AtomicBool::new(false),
    });
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/readyz", get(ready))
        .with_state(service.clone());
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(drained(service.clone(), Duration::from_secs(drain)))
        .await?;
    service.tokens.shutdown().await;
    Ok(())
}

async fn order(
    State(service): State<Arc<Service>>,
    Path(id): Path<u64>,
) -> Result<Response, Trouble> {
    let url = format!("{}/api/orders/{id}", service.api);
    let answer = service.http.get(url).send_with(&service.authorizer).await?;
    if let Some(refusal) = answer.extensions().get::<ApiRefusal>() {
        return Err(Trouble::Refused(refusal.clone()));
    }
    let status = answer.status();
    let body = answer
        .text()
        .await
        .map_err(hallpass::reqwest_ext::Error::from)?;
    Ok((status, body).into_response())
}

/// Answers the readiness probe; the details are in the traces and metrics.
async fn ready(State(service): State<Arc<Service>>) -> (StatusCode, &'static str) {
    if service.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    }
    let request = TokenRequest::default();
    // An instance that is not ready gets no calls that would fetch: the probe does. With a token it costs nothing.
    let fetched = service.tokens.warm_up([request.clone()], PROBE_TIMEOUT);
    let _ = fetched.await;
    match service.tokens.readiness(&request) {
        Readiness::Ready { .. } => (StatusCode::OK, "ready\n"),
        Readiness::Stale { .. } => (StatusCode::OK, "ready, but the token is not refreshed\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no token\n"),
    }
}

/// The reason why a request cannot be answered. Responses name no internal server; the traces do.
enum Trouble {
    NoToken(TokenError),
    Unreachable,
    Refused(ApiRefusal),
}

impl From<TokenError> for Trouble {
    fn from(error: TokenError) -> Self {
        Self::NoToken(error)
    }
}

impl From<hallpass::reqwest_ext::Error> for Trouble {
    fn from(error: hallpass::reqwest_ext::Error) -> Self {
        let token = error.token_error().cloned();
        token.map_or(Self::Unreachable, Self::NoToken)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::NoToken(error) => {
                let wait = error.retry_after().map_or(1, |wait| wait.as_secs().max(1));
                let header: [(HeaderName, String); 1] = [(RETRY_AFTER, wait.to_string())];
                (StatusCode::SERVICE_UNAVAILABLE, header, "try again later\n").into_response()
            }
            Self::Unreachable => {
                (StatusCode::GATEWAY_TIMEOUT, "the order service is away\n").into_response()
            }
            Self::Refused(refusal) => {
                eprintln!("error: {refusal}");
                (StatusCode::BAD_GATEWAY, "the order service refused us\n").into_response()
            }
        }
    }
}

/// Waits for a shutdown signal, and then until load balancers have noticed that this instance is not ready: they send
/// requests until then.
async fn drained(service: Arc<Service>, time: Duration) {
    ended().await;
    service.draining.store(true, Ordering::Relaxed);
    time::sleep(time).await;
}

/// Waits for a shutdown signal.
async fn ended() {
    let ctrl_c = async { drop(signal::ctrl_c().await) };
    #[cfg(unix)]
    let terminated = async {
        if let Ok(mut signal) = signal::unix::signal(signal::unix::SignalKind::terminate()) {
            signal.recv().await;
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminated => {}
    }
}
