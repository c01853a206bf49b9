use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use hallpass_core::AccessToken;
use tokio::net::TcpListener;

/// A storage server that speaks enough of Azure's and Google's protocols for a read and a write. It accepts bearer
/// tokens, but for those that were revoked, and records its requests.
pub(crate) struct Storage {
    url: String,
    state: Shared,
}

type Shared = Arc<Mutex<Record>>;

#[derive(Default)]
struct Record {
    revoked: Vec<String>,
    /// The token of each request so far.
    tokens: Vec<String>,
    /// The status of each response so far; 200 for each success.
    statuses: Vec<u16>,
}

impl Storage {
    pub(crate) async fn start() -> Self {
        let state = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn revoke(&self, token: &AccessToken) {
        self.revoke_text(token.expose());
    }

    pub(crate) fn revoke_text(&self, token: &str) {
        let mut record = self.state.lock().unwrap();
        record.revoked.push(token.to_owned());
    }

    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.state.lock().unwrap().statuses.clone()
    }

    /// Returns the different tokens so far.
    pub(crate) fn tokens_used(&self) -> Vec<String> {
        let mut tokens = self.state.lock().unwrap().tokens.clone();
        tokens.dedup();
        tokens
    }

    pub(crate) fn last_token(&self) -> Option<String> {
        self.state.lock().unwrap().tokens.last().cloned()
    }

    /// Forgets all requests and revocations.
    pub(crate) fn clear(&self) {
        *self.state.lock().unwrap() = Record::default();
    }
}

async fn answer(
    State(state): State<Shared>,
    method: Method,
    headers: HeaderMap,
    _: Bytes,
) -> Response {
    let mut record = state.lock().unwrap();
    let sent = headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    record.tokens.extend(sent.map(str::to_owned));
    let good = sent.is_some_and(|sent| !record.revoked.iter().any(|revoked| revoked == sent));
    record.statuses.push(if good { 200 } else { 401 });
    if !good {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    let etag = [(header::ETAG, "\"1\"")];
    match method {
        Method::DELETE => StatusCode::ACCEPTED.into_response(),
        Method::PUT => (StatusCode::CREATED, etag).into_response(),
        Method::POST => r#"{"etag":"1","size":"10"}"#.into_response(),
        _ => (etag, "an invoice").into_response(),
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Storage(..)")
    }
}
