//! The responses of the server: tokens, refusals, and the protected API.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::ScopeSet;
use serde_json::json;
use wiremock::{Request, Respond, ResponseTemplate};

use crate::{
    assertion::Assertions,
    client::Client,
    faults::FaultyResponse,
    grant::{self, AcceptedGrant, KnownTokens, RefreshTokens, ServerState},
    record::{self, Refusal, TokenRequestRecord},
};

pub(super) struct State {
    pub(super) clients: Vec<Client>,
    pub(super) assertions: Assertions,
    pub(super) lifetime: Duration,
    pub(super) latency: Duration,
    pub(super) api_scope: Option<String>,
    pub(super) issued: HashMap<String, IssuedToken>,
    pub(super) known_tokens: KnownTokens,
    pub(super) refresh_tokens: RefreshTokens,
    pub(super) token_requests: Vec<TokenRequestRecord>,
    pub(super) api_calls: usize,
    /// Responses that replace the usual ones, once each.
    pub(super) next: VecDeque<&'static FaultyResponse>,
    /// The response to every request until the outage ends.
    pub(super) outage: Option<&'static FaultyResponse>,
}

pub(super) struct IssuedToken {
    /// The index of the request in `token_requests`.
    pub(super) request: usize,
    pub(super) client_id: String,
    pub(super) scopes: ScopeSet,
    pub(super) expires: Instant,
    pub(super) revoked: bool,
}

pub(super) struct Router(pub(super) Arc<Mutex<State>>);

impl Respond for Router {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match request.url.path() {
            "/oauth/token" => state.token(request),
            path if path.starts_with("/api/") => state.api(request),
            "/.well-known/oauth-authorization-server" => state.metadata(),
            "/.well-known/oauth-protected-resource/api" => state.api_metadata(),
            _ => ResponseTemplate::new(404),
        }
    }
}

impl State {
    /// Serves the server's metadata (RFC 8414).
    fn metadata(&self) -> ResponseTemplate {
        let issuer = self.assertions.issuer();
        ResponseTemplate::new(200).set_body_json(json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/oauth/token"),
            "token_endpoint_auth_methods_supported": [
                "private_key_jwt", "client_secret_jwt", "client_secret_basic", "client_secret_post",
            ],
        }))
    }

    /// Serves the metadata of the API (RFC 9728).
    fn api_metadata(&self) -> ResponseTemplate {
        let issuer = self.assertions.issuer();
        ResponseTemplate::new(200).set_body_json(json!({
            "resource": format!("{issuer}/api"),
            "authorization_servers": [issuer],
            "bearer_methods_supported": ["header"],
        }))
    }

    fn token(&mut self, request: &Request) -> ResponseTemplate {
        let mut record = record::record(request);
        let lives = |token: &str| self.issued.get(token).is_some_and(IssuedToken::lives);
        let mut state = ServerState {
            clients: &self.clients,
            assertions: &mut self.assertions,
            tokens: &self.known_tokens,
            lives: &lives,
            refresh_tokens: &mut self.refresh_tokens,
        };
        let decision = grant::decide(request, &mut record, &mut state);
        let fault = self.next.pop_front().or(self.outage);
        if let Some((status, template)) = fault.and_then(FaultyResponse::template) {
            record.status = status;
            self.token_requests.push(record);
            return template.set_delay(self.latency);
        }
        let answer = match decision {
            Ok(granted) => self.issue(granted),
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

    /// Issues a token (RFC 6749 section 5.1).
    fn issue(&mut self, granted: AcceptedGrant) -> ResponseTemplate {
        let token = random();
        let mut answer = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.lifetime.as_secs(),
            "scope": granted.scopes.as_str(),
        });
        for (name, value) in granted.more {
            answer[name] = value;
        }
        if let Some(used) = granted.used.filter(|_| self.refresh_tokens.rotate) {
            let next = random();
            self.refresh_tokens.rotate(&used, &next);
            answer["refresh_token"] = next.into();
        }
        let issued = IssuedToken {
            // The request is recorded next.
            request: self.token_requests.len(),
            client_id: granted.client_id,
            scopes: granted.scopes,
            expires: Instant::now() + self.lifetime,
            revoked: false,
        };
        self.issued.insert(token, issued);
        ResponseTemplate::new(200).set_body_json(answer)
    }

    /// Serves the protected API (RFC 6750 section 3).
    fn api(&mut self, request: &Request) -> ResponseTemplate {
        self.api_calls += 1;
        let metadata = format!(
            r#"resource_metadata="{}/.well-known/oauth-protected-resource/api""#,
            self.assertions.issuer()
        );
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
            return challenge(401, &format!(r#"Bearer realm="api", {metadata}"#));
        };
        let issued = header
            .strip_prefix("Bearer ")
            .and_then(|token| self.issued.get(token));
        let Some(issued) = issued.filter(|issued| issued.lives()) else {
            let refused = format!(r#"Bearer realm="api", error="invalid_token", {metadata}"#);
            return challenge(401, &refused);
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

impl IssuedToken {
    fn lives(&self) -> bool {
        !self.revoked && Instant::now() < self.expires
    }
}

fn random() -> String {
    let mut random = [0; 32];
    // A machine without random bytes cannot run the test.
    getrandom::fill(&mut random).expect("the system has random bytes");
    BASE64_URL_SAFE_NO_PAD.encode(random)
}

/// Creates an error response (RFC 6749 section 5.2).
fn refuse((status, code, description): Refusal) -> ResponseTemplate {
    let answer = ResponseTemplate::new(status)
        .set_body_json(json!({ "error": code, "error_description": description }));
    match status {
        401 => answer.insert_header("www-authenticate", r#"Basic realm="token""#),
        405 => answer.insert_header("allow", "POST"),
        _ => answer,
    }
}
