use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::AccessToken;
use wiremock::{Mock, MockServer, matchers};

use crate::{
    assertion::Assertions,
    client::Client,
    faults::FaultyResponse,
    grant::{KnownTokens, RefreshTokens},
    record::TokenRequestRecord,
};

mod answers;

use answers::{Router, State};

/// An authorization server and a protected API on loopback, with the checks of real ones.
///
/// The token endpoint grants client credentials and refreshes tokens (RFC 6749), accepts assertions (RFC 7523) and
/// exchanges tokens (RFC 8693). The API, everything below `/api/`, accepts the server's tokens (RFC 6750). Both
/// publish metadata (RFC 8414, RFC 9728). Dropping it stops both.
pub struct AuthorizationServer {
    http: MockServer,
    state: Arc<Mutex<State>>,
}

/// A builder of an [`AuthorizationServer`].
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

    /// Sets the lifetime of tokens, in whole seconds. Default: 1 hour.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Delays the responses of the token endpoint. Default: no delay.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the scope that the API requires. Default: none.
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
            known_tokens: KnownTokens::default(),
            refresh_tokens: RefreshTokens::new(),
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
    /// Creates a builder of a server without clients, whose tokens live for an hour.
    pub fn builder() -> AuthorizationServerBuilder {
        AuthorizationServerBuilder {
            clients: Vec::new(),
            lifetime: Duration::from_secs(3_600),
            latency: Duration::ZERO,
            api_scope: None,
        }
    }

    /// Returns the issuer identifier, the required audience of assertions.
    pub fn issuer(&self) -> String {
        self.state().assertions.issuer().to_owned()
    }

    /// Returns the URL of the token endpoint.
    pub fn token_endpoint(&self) -> String {
        format!("{}/oauth/token", self.http.uri())
    }

    /// Returns a URL of the protected API; `path` starts with a slash.
    pub fn api_url(&self, path: &str) -> String {
        format!("{}/api{path}", self.http.uri())
    }

    /// Returns each token request, in the order of arrival.
    pub fn token_requests(&self) -> Vec<TokenRequestRecord> {
        self.state().token_requests.clone()
    }

    /// Returns the number of token requests.
    pub fn token_request_count(&self) -> usize {
        self.state().token_requests.len()
    }

    /// Returns the number of API calls, with or without a valid token.
    pub fn api_call_count(&self) -> usize {
        self.state().api_calls
    }

    /// Returns the number of tokens that were issued.
    pub fn issued_count(&self) -> usize {
        self.state().issued.len()
    }

    /// Returns the tokens that were issued, in no order, for leak tests.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.state().issued.keys().cloned().collect()
    }

    /// Returns the request that a token was issued for, if this server issued it.
    pub fn request_for(&self, token: &AccessToken) -> Option<TokenRequestRecord> {
        let state = self.state();
        let issued = state.issued.get(token.expose())?;
        state.token_requests.get(issued.request).cloned()
    }

    /// Replaces a client's secrets; the previous ones are refused from now on.
    pub fn rotate_secret(&self, client_id: &str, client_secret: &str) {
        self.secrets(client_id, |secrets| {
            *secrets = vec![client_secret.to_owned()];
        });
    }

    /// Adds a secret to a client; the previous ones stay valid, as in a rotation with an overlap.
    pub fn add_secret(&self, client_id: &str, client_secret: &str) {
        self.secrets(client_id, |secrets| secrets.push(client_secret.to_owned()));
    }

    /// Removes a secret from a client: the end of an overlap.
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

    /// Accepts this token of another issuer in token exchange, as a subject's or an actor's; `token_type` is the URI
    /// of its type. The server always accepts its own access tokens.
    pub fn trust_token(&self, token: &str, token_type: &str) {
        self.state().known_tokens.trust(token, token_type);
    }

    /// Stops accepting this token.
    pub fn distrust_token(&self, token: &str) {
        self.state().known_tokens.distrust(token);
    }

    /// Gives a client a refresh token, as if a user had signed in and granted these scopes. Each use rotates it; reuse
    /// revokes every token that came of it.
    ///
    /// # Panics
    ///
    /// If these are no scopes.
    pub fn issue_refresh_token(&self, client_id: &str, token: &str, scopes: &str) {
        // A typo in a test must stop the test.
        let scopes = scopes
            .parse()
            .unwrap_or_else(|error| panic!("scopes of a test's refresh token: {error}"));
        self.state().refresh_tokens.issue(token, client_id, scopes);
    }

    /// Stops rotating refresh tokens from now on.
    pub fn stop_rotation(&self) {
        self.state().refresh_tokens.rotate = false;
    }

    /// Returns the valid refresh tokens, in no order.
    pub fn live_refresh_tokens(&self) -> Vec<String> {
        let state = self.state();
        state.refresh_tokens.live().map(str::to_owned).collect()
    }

    /// Returns all refresh tokens that ever existed, in no order, for leak tests.
    pub fn refresh_tokens(&self) -> Vec<String> {
        let state = self.state();
        state.refresh_tokens.all().map(str::to_owned).collect()
    }

    /// Makes the API refuse every token issued so far.
    pub fn revoke_all_tokens(&self) {
        for issued in self.state().issued.values_mut() {
            issued.revoked = true;
        }
    }

    /// Sets the lifetime of tokens issued from now on, in whole seconds.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// Delays the responses of the token endpoint from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Answers the next token requests with these faults, one each, and then as before.
    ///
    /// # Panics
    ///
    /// If HTTP cannot express one of them: use a [`RawServer`](crate::raw::RawServer).
    pub fn inject_faults(&self, faults: impl IntoIterator<Item = &'static FaultyResponse>) {
        let faults: Vec<_> = faults
            .into_iter()
            .inspect(|fault| expressible(fault))
            .collect();
        self.state().next.extend(faults);
    }

    /// Answers every token request with this fault, until [`end_outage`](Self::end_outage).
    ///
    /// # Panics
    ///
    /// If HTTP cannot express it: use a [`RawServer`](crate::raw::RawServer).
    pub fn start_outage(&self, fault: &'static FaultyResponse) {
        expressible(fault);
        self.state().outage = Some(fault);
    }

    /// Answers token requests as before the outage.
    pub fn end_outage(&self) {
        self.state().outage = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn expressible(fault: &FaultyResponse) {
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
