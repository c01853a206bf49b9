//! A backend service that calls another one: axum in front, and behind it an API that requires a token.
//!
//! `GET /orders/{id}` requests the order from the API; `GET /health` reports whether a token can be obtained. The
//! service stops on SIGTERM or Ctrl-C, after answering the requests in flight.

use std::{env, error::Error, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderName, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::get,
};
use hallpass::{
    TokenError, TokenRequest, TokenSourceExt,
    authorize::{ApiRefusal, Authorizer},
    reqwest_ext::RequestBuilderExt,
};
use tokio::{net::TcpListener, signal};
use uses::{Tokens, setting};

/// The handlers' state: no client id, no secret.
struct Service {
    http: reqwest::Client,
    authorizer: Authorizer,
    tokens: Tokens,
    api: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    uses::log();
    let api = setting("API_ORIGIN")?;
    let tokens = uses::tokens("orders.read")?;
    // Wrong credentials should stop the deployment, not fail the first request.
    tokens.access_token(&TokenRequest::default()).await?;
    let authorizer = uses::authorizer(tokens.clone(), &api)?;
    let http = uses::http()?;
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/health", get(health))
        .with_state(Arc::new(Service {
            http,
            authorizer,
            tokens,
            api,
        }));
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(ended())
        .await?;
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

async fn health(State(service): State<Arc<Service>>) -> Result<&'static str, Trouble> {
    service
        .tokens
        .access_token(&TokenRequest::default())
        .await?;
    Ok("well\n")
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
