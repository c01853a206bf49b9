//! A service of Google Cloud that checks tokens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::{
    backoff_policy::BackoffPolicy, retry_policy::RetryPolicy, retry_state::RetryState,
};
use google_cloud_location::client::Locations;
use hallpass_core::{AccessToken, Clock as _};
use hallpass_testkit::ManualClock;
use tokio::net::TcpListener;

/// A service that accepts the tokens that it knows until they expire, and records the status of each response.
#[derive(Clone)]
pub(crate) struct Service {
    state: Arc<Mutex<Inner>>,
    clock: ManualClock,
    url: String,
}

struct Inner {
    tokens: HashMap<String, AccessToken>,
    challenge: Option<&'static str>,
    statuses: Vec<u16>,
    quota_projects: Vec<String>,
}

impl Service {
    pub(crate) async fn start(clock: &ManualClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            state: Arc::new(Mutex::new(Inner {
                tokens: HashMap::new(),
                challenge: Some("Bearer error=\"invalid_token\""),
                statuses: Vec::new(),
                quota_projects: Vec::new(),
            })),
            clock: clock.clone(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let app = Router::new().fallback(answer).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        service
    }

    /// Returns the token with this number, with a lifetime of an hour from now, which the service accepts.
    pub(crate) fn issue(&self, number: u32) -> AccessToken {
        let lifetime = Duration::from_secs(3_600);
        let token = AccessToken::bearer(&text(number), self.clock.moment(), lifetime).unwrap();
        let mut state = self.state.lock().unwrap();
        state.tokens.insert(text(number), token.clone());
        token
    }

    pub(crate) fn revoke(&self, number: u32) {
        self.state.lock().unwrap().tokens.remove(&text(number));
    }

    pub(crate) fn set_challenge(&self, challenge: Option<&'static str>) {
        self.state.lock().unwrap().challenge = challenge;
    }

    /// Returns the status of each response so far.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.state.lock().unwrap().statuses.clone()
    }

    pub(crate) fn quota_projects(&self) -> Vec<String> {
        self.state.lock().unwrap().quota_projects.clone()
    }

    /// Returns a client of this service, which waits before no retry.
    pub(crate) async fn client(
        &self,
        credentials: impl Into<Credentials>,
        retry: impl RetryPolicy + 'static,
    ) -> Client {
        let client = Locations::builder()
            .with_endpoint(&self.url)
            .with_credentials(credentials)
            .with_retry_policy(retry)
            .with_backoff_policy(AtOnce);
        Client(client.build().await.unwrap())
    }
}

async fn answer(State(service): State<Service>, headers: HeaderMap) -> Response {
    let mut state = service.state.lock().unwrap();
    let sent = headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|sent| sent.to_str().ok()?.strip_prefix("Bearer "));
    let token = sent.and_then(|sent| state.tokens.get(sent));
    let good = token.is_some_and(|token| !token.is_expired(service.clock.now()));
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    };
    state.statuses.push(status.as_u16());
    if let Some(project) = headers.get("x-goog-user-project") {
        let project = project.to_str().unwrap().to_owned();
        state.quota_projects.push(project);
    }
    let json = (header::CONTENT_TYPE, "application/json");
    match state.challenge.filter(|_| !good) {
        Some(challenge) => {
            (status, [json, (header::WWW_AUTHENTICATE, challenge)], "{}").into_response()
        }
        None => (status, [json], "{}").into_response(),
    }
}

#[derive(Debug)]
struct AtOnce;

impl BackoffPolicy for AtOnce {
    fn on_failure(&self, _: &RetryState) -> Duration {
        Duration::ZERO
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Client(Locations);

impl Client {
    pub(crate) async fn call(&self) -> google_cloud_location::Result<()> {
        let call = self.0.get_location();
        let call = call.set_name("projects/orders/locations/here");
        call.send().await.map(|_| ())
    }
}

/// The text of a token, which contains the canary of leak tests.
pub(crate) fn text(number: u32) -> String {
    format!("{CANARY}-{number}")
}

pub(crate) const CANARY: &str = "c4nary-token";
