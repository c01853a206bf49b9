//! A service behind the SDK's pipeline that checks tokens.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use azure_core::{
    Result,
    credentials::TokenCredential,
    http::{
        AsyncRawResponse, ClientOptions, Context, HttpClient, Method, Pipeline, Request,
        RetryOptions, StatusCode, Transport,
        headers::{AUTHORIZATION, Headers, WWW_AUTHENTICATE},
        policies::{Policy, auth::BearerTokenAuthorizationPolicy},
    },
};
use hallpass_core::{AccessToken, Clock};
use hallpass_testkit::ManualClock;

pub(crate) const SCOPE: &str = "https://vault.azure.net/.default";

/// A service that accepts the tokens that it knows until they expire, and records the status of each response.
#[derive(Clone)]
pub(crate) struct Service(Arc<Mutex<State>>, ManualClock);

struct State {
    tokens: HashMap<String, AccessToken>,
    challenge: Option<&'static str>,
    statuses: Vec<u16>,
}

impl Service {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        let state = State {
            tokens: HashMap::new(),
            challenge: Some("Bearer error=\"invalid_token\""),
            statuses: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)), clock.clone())
    }

    /// Returns the token with this number, with a lifetime of an hour from now, which the service accepts.
    pub(crate) fn issue(&self, number: u32) -> AccessToken {
        let lifetime = Duration::from_secs(3_600);
        let token = AccessToken::bearer(&text(number), self.1.moment(), lifetime).unwrap();
        let mut state = self.0.lock().unwrap();
        state.tokens.insert(text(number), token.clone());
        token
    }

    pub(crate) fn revoke(&self, number: u32) {
        self.0.lock().unwrap().tokens.remove(&text(number));
    }

    pub(crate) fn set_challenge(&self, challenge: Option<&'static str>) {
        self.0.lock().unwrap().challenge = challenge;
    }

    /// Returns the status of each response so far.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.0.lock().unwrap().statuses.clone()
    }

    /// Returns a client's pipeline to this service, with the SDK's policy for this credential.
    pub(crate) fn client(
        &self,
        credential: impl TokenCredential + 'static,
        per_call: Vec<Arc<dyn Policy>>,
    ) -> Client {
        let auth = BearerTokenAuthorizationPolicy::new(Arc::new(credential), [SCOPE]);
        self.client_with(auth, per_call)
    }

    pub(crate) fn client_with(
        &self,
        auth: BearerTokenAuthorizationPolicy,
        per_call: Vec<Arc<dyn Policy>>,
    ) -> Client {
        let options = ClientOptions {
            transport: Some(Transport::new(Arc::new(self.clone()))),
            retry: RetryOptions::none(),
            per_call_policies: per_call,
            ..ClientOptions::default()
        };
        let per_try: Vec<Arc<dyn Policy>> = vec![Arc::new(auth)];
        Client(Pipeline::new(
            Some("orders"),
            Some("1.0.0"),
            options,
            Vec::new(),
            per_try,
            None,
        ))
    }
}

#[async_trait]
impl HttpClient for Service {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        let mut state = self.0.lock().unwrap();
        let sent = request.headers().get_optional_str(&AUTHORIZATION);
        let token = sent.and_then(|sent| state.tokens.get(sent.strip_prefix("Bearer ")?));
        let now = self.1.now();
        let good = token.is_some_and(|token| !token.is_expired(now));
        let mut headers = Headers::new();
        let status = if good {
            StatusCode::Ok
        } else {
            if let Some(challenge) = state.challenge {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            StatusCode::Unauthorized
        };
        state.statuses.push(status.into());
        Ok(AsyncRawResponse::from_bytes(status, headers, "an answer"))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Client(Pipeline);

impl Client {
    pub(crate) async fn call(&self) -> Result<()> {
        let mut request = Request::new("https://vault.example/keys".parse()?, Method::Put);
        request.set_body("a body");
        let sent = self.0.send(&Context::new(), &mut request, None).await;
        sent.map(|_| ())
    }
}

/// The text of a token, which contains the canary of leak tests.
pub(crate) fn text(number: u32) -> String {
    format!("{CANARY}-{number}")
}

pub(crate) const CANARY: &str = "c4nary-token";
