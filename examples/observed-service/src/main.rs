//! A service with observable tokens: `/metrics` for Prometheus, and OTLP traces if a collector is configured.
//!
//! | variable | |
//! |---|---|
//! | `CAMALL_CLIENT_ID`, `CAMALL_CLIENT_SECRET` and so on | as `Camall::from_env` reads them |
//! | `API_ORIGIN` | the API that is called; `https://api.example` |
//! | `LISTEN` | where the service is; `127.0.0.1:8080` by default |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | a collector, such as `http://localhost:4318`; no traces are exported without |
//! | `DANGER_HTTP_ON_LOOPBACK` | set it to try this against servers on this machine |

mod telemetry;

use std::{env, error::Error, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use hallpass::{
    authorize::Authorizer, cache::CachedTokenSource, camall::Camall, reqwest_ext::RequestBuilderExt,
};
use tokio::{net::TcpListener, signal};
use tracing::instrument;

use telemetry::Telemetry;

struct Service {
    http: reqwest::Client,
    authorizer: Authorizer,
    tokens: Arc<CachedTokenSource<Camall>>,
    telemetry: Telemetry,
    api: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Before the cache is built, so that its counters start at zero.
    let telemetry = Telemetry::start("observed-service")?;
    let service = Arc::new(Service::from_env(telemetry.clone())?);
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/metrics", get(metrics))
        .with_state(service);
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async { drop(signal::ctrl_c().await) })
        .await?;
    // Flushes what was not exported yet; blocks.
    tokio::task::spawn_blocking(move || telemetry.end()).await?;
    Ok(())
}

impl Service {
    fn from_env(telemetry: Telemetry) -> Result<Self, Box<dyn Error>> {
        let api = env::var("API_ORIGIN")?;
        let on_this_machine = env::var_os("DANGER_HTTP_ON_LOOPBACK").is_some();
        let mut camall = Camall::from_env()?;
        if on_this_machine {
            camall = camall.danger_allow_http_on_loopback();
        }
        // The names used in dashboards: one for each cache and each API.
        let tokens = CachedTokenSource::builder(camall.build()?).name("camall");
        let tokens = Arc::new(tokens.build());
        let mut authorizer = Authorizer::builder(tokens.clone())
            .name("orders")
            .allow_origin(&api);
        if on_this_machine {
            authorizer = authorizer.danger_allow_http_on_loopback();
        }
        Ok(Self {
            http: reqwest::Client::new(),
            authorizer: authorizer.build()?,
            tokens,
            telemetry,
            api,
        })
    }
}

/// Creates the span of the request. The span of a token fetch becomes its child if this request starts the fetch.
#[instrument(name = "GET /orders/{id}", skip_all, fields(otel.kind = "server", id))]
async fn order(
    State(service): State<Arc<Service>>,
    Path(id): Path<u64>,
) -> Result<String, (StatusCode, &'static str)> {
    let url = format!("{}/api/orders/{id}", service.api);
    let answer = service.http.get(url).send_with(&service.authorizer).await;
    let answer = answer.map_err(|error| {
        tracing::error!(%error, "no order");
        let no_token = error.token_error().is_some();
        (
            if no_token {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::BAD_GATEWAY
            },
            "no order\n",
        )
    })?;
    if !answer.status().is_success() {
        return Err((StatusCode::BAD_GATEWAY, "no order\n"));
    }
    answer
        .text()
        .await
        .map_err(|_| (StatusCode::BAD_GATEWAY, "no order\n"))
}

/// Renders the metrics. Do not expose this route to the outside.
async fn metrics(State(service): State<Arc<Service>>) -> String {
    // Publishes the cache hits, which are not reported to the exporter one by one.
    service.tokens.stats();
    service.telemetry.metrics()
}
