use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::ScopeSet;
use serde_json::json;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers};

use crate::{
    assertion::Assertions,
    client::Client,
    faults::Fault,
    grant::{self, Refusal, TokenRequestRecord},
};

/// An authorization server and a protected API on loopback, which check what real ones check.
///
/// The token endpoint grants client credentials as RFC 6749 says. The API, everything below `/api/`, takes its
/// tokens as RFC 6750 says. Both are gone when it is dropped.
pub struct AuthorizationServer {
    http: MockServer,
    state: Arc<Mutex<State>>,
}

struct State {
    clients: Vec<Client>,
    assertions: Assertions,
    lifetime: Duration,
    latency: Duration,
    api_scope: Option<String>,
    issued: HashMap<String, Issued>,
    token_requests: Vec<TokenRequestRecord>,
    api_calls: usize,
    /// What is answered in place of what would be, once each.
    next: VecDeque<&'static Fault>,
    /// What is answered to everyone until it is over.
    outage: Option<&'static Fault>,
}

struct Issued {
    client_id: String,
    scopes: ScopeSet,
    expires: Instant,
    revoked: bool,
}

/// Sets up an [`AuthorizationServer`].
#[derive(Debug)]
#[must_use]
pub struct AuthorizationServerBuilder {
    clients: Vec<Client>,
    lifetime: Duration,
    latency: Duration,
    api_scope: Option<String>,
}

impl AuthorizationServerBuilder {
    /// Registers a client.
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// How long tokens live, in whole seconds. Default: an hour.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How long the token endpoint takes to answer. Default: no time.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The scope that the API asks for. Default: none.
    pub fn api_scope(mut self, scope: impl Into<String>) -> Self {
        self.api_scope = Some(scope.into());
        self
    }

    /// Starts the server on a free port.
    pub async fn start(self) -> AuthorizationServer {
        let http = MockServer::start().await;
        let state = Arc::new(Mutex::new(State {
            clients: self.clients,
            assertions: Assertions::new(http.uri()),
            lifetime: self.lifetime,
            latency: self.latency,
            api_scope: self.api_scope,
            issued: HashMap::new(),
            token_requests: Vec::new(),
            api_calls: 0,
            next: VecDeque::new(),
            outage: None,
        }));
        Mock::given(matchers::any())
            .respond_with(Router(state.clone()))
            .mount(&http)
            .await;
        AuthorizationServer { http, state }
    }
}

impl AuthorizationServer {
    /// Starts to set up a server that knows no client yet.
    pub fn builder() -> AuthorizationServerBuilder {
        AuthorizationServerBuilder {
            clients: Vec::new(),
            lifetime: Duration::from_secs(3_600),
            latency: Duration::ZERO,
            api_scope: None,
        }
    }

    /// Its issuer identifier, which assertions must name as their audience.
    pub fn issuer(&self) -> String {
        self.state().assertions.issuer().to_owned()
    }

    /// Where tokens are given out.
    pub fn token_endpoint(&self) -> String {
        format!("{}/oauth/token", self.http.uri())
    }

    /// An address of the protected API; `path` starts with a slash.
    pub fn api_url(&self, path: &str) -> String {
        format!("{}/api{path}", self.http.uri())
    }

    /// What each token request held, in the order of their coming.
    pub fn token_requests(&self) -> Vec<TokenRequestRecord> {
        self.state().token_requests.clone()
    }

    /// How many token requests came.
    pub fn token_request_count(&self) -> usize {
        self.state().token_requests.len()
    }

    /// How many calls of the API came, with a good token or without.
    pub fn api_call_count(&self) -> usize {
        self.state().api_calls
    }

    /// How many tokens were given out.
    pub fn issued_count(&self) -> usize {
        self.state().issued.len()
    }

    /// The tokens that were given out, in no order: a leak test looks for them.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.state().issued.keys().cloned().collect()
    }

    /// Gives a client another secret; those before are refused from now on.
    pub fn rotate_secret(&self, client_id: &str, client_secret: &str) {
        self.secrets(client_id, |secrets| {
            *secrets = vec![client_secret.to_owned()];
        });
    }

    /// Gives a client one more secret; those before are accepted too, as in a rotation with an overlap.
    pub fn add_secret(&self, client_id: &str, client_secret: &str) {
        self.secrets(client_id, |secrets| secrets.push(client_secret.to_owned()));
    }

    /// Takes a secret from a client: the end of an overlap.
    pub fn remove_secret(&self, client_id: &str, client_secret: &str) {
        self.secrets(client_id, |secrets| {
            secrets.retain(|known| known != client_secret);
        });
    }

    fn secrets(&self, client_id: &str, change: impl Fn(&mut Vec<String>)) {
        let mut state = self.state();
        let mut clients = state.clients.iter_mut();
        if let Some(client) = clients.find(|client| client.id == client_id) {
            change(&mut client.secrets);
        }
    }

    /// Makes the API refuse every token that was given out so far.
    pub fn revoke_all_tokens(&self) {
        for issued in self.state().issued.values_mut() {
            issued.revoked = true;
        }
    }

    /// How long tokens live that are given out from now on, in whole seconds.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// How long the token endpoint takes to answer from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Answers the next token requests with these, one each, and then as before.
    ///
    /// # Panics
    ///
    /// Where HTTP cannot express one: that takes a [`RawServer`](crate::raw::RawServer).
    pub fn answer_next(&self, faults: impl IntoIterator<Item = &'static Fault>) {
        let faults: Vec<_> = faults
            .into_iter()
            .inspect(|fault| expressible(fault))
            .collect();
        self.state().next.extend(faults);
    }

    /// Answers every token request with this, until [`end_outage`](Self::end_outage).
    ///
    /// # Panics
    ///
    /// Where HTTP cannot express it: that takes a [`RawServer`](crate::raw::RawServer).
    pub fn start_outage(&self, fault: &'static Fault) {
        expressible(fault);
        self.state().outage = Some(fault);
    }

    /// Answers as before.
    pub fn end_outage(&self) {
        self.state().outage = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn expressible(fault: &Fault) {
    let template = fault.template();
    assert!(
        template.is_some(),
        "HTTP cannot express `{}`; use a RawServer",
        fault.name
    );
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer")
            .field("token_endpoint", &self.token_endpoint())
            .finish_non_exhaustive()
    }
}

struct Router(Arc<Mutex<State>>);

impl Respond for Router {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match request.url.path() {
            "/oauth/token" => state.token(request),
            path if path.starts_with("/api/") => state.api(request),
            _ => ResponseTemplate::new(404),
        }
    }
}

impl State {
    fn token(&mut self, request: &Request) -> ResponseTemplate {
        let mut record = grant::record(request);
        let judged = grant::judge(request, &mut record, &self.clients, &mut self.assertions);
        let fault = self.next.pop_front().or(self.outage);
        if let Some((status, template)) = fault.and_then(Fault::template) {
            record.status = status;
            self.token_requests.push(record);
            return template.set_delay(self.latency);
        }
        let answer = match judged {
            Ok(scopes) => self.issue(record.client_id.clone().unwrap_or_default(), scopes),
            Err(refusal) => {
                record.status = refusal.0;
                refuse(refusal)
            }
        };
        if record.status == 0 {
            record.status = 200;
        }
        self.token_requests.push(record);
        answer
            .insert_header("cache-control", "no-store")
            .insert_header("pragma", "no-cache")
            .set_delay(self.latency)
    }

    /// RFC 6749 section 5.1.
    fn issue(&mut self, client_id: String, scopes: ScopeSet) -> ResponseTemplate {
        let mut random = [0; 32];
        // A machine without randomness cannot run a test of tokens.
        getrandom::fill(&mut random).expect("the system has random bytes");
        let token = BASE64_URL_SAFE_NO_PAD.encode(random);
        let answer = ResponseTemplate::new(200).set_body_json(json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.lifetime.as_secs(),
            "scope": scopes.as_str(),
        }));
        let issued = Issued {
            client_id,
            scopes,
            expires: Instant::now() + self.lifetime,
            revoked: false,
        };
        self.issued.insert(token, issued);
        answer
    }

    /// RFC 6750 section 3.
    fn api(&mut self, request: &Request) -> ResponseTemplate {
        self.api_calls += 1;
        let challenge = |status, challenge: &str| {
            ResponseTemplate::new(status).insert_header("www-authenticate", challenge)
        };
        if request
            .url
            .query_pairs()
            .any(|(name, _)| name == "access_token")
        {
            return challenge(400, r#"Bearer error="invalid_request""#);
        }
        let header = request.headers.get("authorization");
        let Some(header) = header.and_then(|header| header.to_str().ok()) else {
            return challenge(401, r#"Bearer realm="api""#);
        };
        let live = |issued: &&Issued| !issued.revoked && Instant::now() < issued.expires;
        let issued = header
            .strip_prefix("Bearer ")
            .and_then(|token| self.issued.get(token));
        let Some(issued) = issued.filter(live) else {
            return challenge(401, r#"Bearer realm="api", error="invalid_token""#);
        };
        if let Some(scope) = self
            .api_scope
            .as_ref()
            .filter(|scope| !issued.scopes.contains(scope))
        {
            let wanted = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
            return challenge(403, &wanted);
        }
        ResponseTemplate::new(200).set_body_json(json!({
            "path": request.url.path(),
            "client_id": issued.client_id,
            "scope": issued.scopes.as_str(),
        }))
    }
}

/// RFC 6749 section 5.2.
fn refuse((status, code, description): Refusal) -> ResponseTemplate {
    let answer = ResponseTemplate::new(status)
        .set_body_json(json!({ "error": code, "error_description": description }));
    match status {
        401 => answer.insert_header("www-authenticate", r#"Basic realm="token""#),
        405 => answer.insert_header("allow", "POST"),
        _ => answer,
    }
}
