//! The number of requests that reach the API after a refusal, with each kind of client.

use std::sync::Arc;

use hallpass_core::{
    AccessToken, Clock as _, Proof, ProofRequest, Prover, SystemClock, TokenError, TokenRequest,
    TokenSource, TokenType, async_trait, authorize::Authorizer,
};
use hallpass_reqwest::{RequestBuilderExt as _, TokenClient};
use hallpass_testkit::raw::{self, RawServer, Reply};
use reqwest::{Client, Method};

use crate::support::{Mint, allow};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scheme {
    Bearer,
    Dpop,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A default reqwest client: it follows redirects, which cannot be detected.
    Plain,
    /// A client of ours.
    Ours,
    /// A reqwest client below a middleware.
    #[cfg(feature = "middleware")]
    Middleware,
}

const KINDS: &[Kind] = &[
    Kind::Plain,
    Kind::Ours,
    #[cfg(feature = "middleware")]
    Kind::Middleware,
];

/// Methods, and whether each is safe (RFC 9110 section 9.2.1). One that is not registered is not.
const METHODS: [(&str, bool); 9] = [
    ("GET", true),
    ("HEAD", true),
    ("OPTIONS", true),
    ("TRACE", true),
    ("DELETE", false),
    ("PATCH", false),
    ("POST", false),
    ("PUT", false),
    ("ARCHIVE", false),
];

/// A prover whose proof names its request.
#[derive(Debug)]
struct TestProver;

#[async_trait]
impl Prover for TestProver {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        tokio::task::yield_now().await;
        let nonce = request.nonce().unwrap_or("none");
        let text = format!("{} {} {nonce}", request.method(), request.url());
        let proof = Proof::new(text, SystemClock.wall())?;
        Ok(match request.nonce() {
            Some(nonce) => proof.with_nonce(nonce),
            None => proof,
        })
    }
}

/// A source that binds the tokens of another one to a key.
struct BoundSource(Mint);

#[async_trait]
impl TokenSource for BoundSource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let token = self.0.token(request).await?;
        let (asked, minute) = (SystemClock.moment(), std::time::Duration::from_secs(60));
        let bound = AccessToken::new(TokenType::Dpop, token.expose(), asked, minute)?;
        Ok(bound.with_prover(Arc::new(TestProver)))
    }

    fn invalidate(&self, token: &AccessToken) {
        self.0.invalidate(token);
    }
}

fn authorizer(scheme: Scheme, server: &RawServer) -> Authorizer {
    let source: Arc<dyn TokenSource> = match scheme {
        Scheme::Bearer => Arc::new(Mint::default()),
        Scheme::Dpop => Arc::new(BoundSource(Mint::default())),
    };
    allow(source, server).build().unwrap()
}

/// Sends one request to `/start`, and returns the status that its caller sees.
async fn send(
    kind: Kind,
    (method, has_body): (&Method, bool),
    scheme: Scheme,
    server: &RawServer,
) -> u16 {
    let authorizer = authorizer(scheme, server);
    let builder = Client::builder().no_proxy();
    let request = |client: &Client| {
        let request = client.request(method.clone(), server.url("/start"));
        if has_body {
            request.body("order")
        } else {
            request
        }
    };
    let response = match kind {
        Kind::Plain => {
            let client = builder.build().unwrap();
            request(&client).send_with(&authorizer).await.unwrap()
        }
        Kind::Ours => {
            let client = TokenClient::new(authorizer, builder).unwrap();
            client.send(request(client.http())).await.unwrap()
        }
        #[cfg(feature = "middleware")]
        Kind::Middleware => {
            let client = builder.build().unwrap();
            let middleware = hallpass_reqwest::TokenMiddleware::new(authorizer);
            reqwest_middleware::ClientBuilder::new(client.clone())
                .with(middleware)
                .build()
                .execute(request(&client).build().unwrap())
                .await
                .unwrap()
        }
    };
    response.status().as_u16()
}

fn redirect(status: u16, to: &str) -> Reply {
    raw::http(status, &[("location", to)], "")
}

/// Returns a demand for a nonce, or a refusal of the token.
fn refusal(scheme: Scheme, nonce: &str) -> Reply {
    match scheme {
        Scheme::Bearer => raw::http(
            401,
            &[("www-authenticate", r#"Bearer error="invalid_token""#)],
            "",
        ),
        Scheme::Dpop => raw::http(
            401,
            &[
                ("www-authenticate", r#"DPoP error="use_dpop_nonce""#),
                ("dpop-nonce", nonce),
            ],
            "",
        ),
    }
}

/// Returns the requests with and without a body, of each kind of token, with each client.
fn cases_of_a_method() -> impl Iterator<Item = (bool, Scheme, Kind)> {
    let bodies = [false, true].into_iter();
    let schemes = [Scheme::Bearer, Scheme::Dpop];
    let tokens = bodies.flat_map(move |has_body| schemes.map(|scheme| (has_body, scheme)));
    tokens.flat_map(|(has_body, scheme)| KINDS.iter().map(move |&kind| (has_body, scheme, kind)))
}

// covers: C-35, C-70
#[tokio::test]
async fn a_request_known_not_to_be_redirected_is_retried() {
    let mut cases = 0;
    for (name, is_safe) in METHODS {
        let method = name.parse().unwrap();
        for (has_body, scheme, kind) in cases_of_a_method() {
            let server = RawServer::start([refusal(scheme, "one"), raw::json(200, "")]).await;
            let answer = send(kind, (&method, has_body), scheme, &server).await;
            // A caller that retries itself gets another token, or uses the nonce.
            let again = is_safe && !has_body || kind == Kind::Ours;
            let expected = if again { (200, 2) } else { (401, 1) };
            let case = format!("{method}, body: {has_body}, {scheme:?}, {kind:?}");
            assert_eq!((answer, server.request_count()), expected, "{case}");
            let body = if has_body { "order" } else { "" };
            for request in server.requests() {
                let text = String::from_utf8(request).unwrap();
                assert!(text.ends_with(&format!("\r\n\r\n{body}")), "{case}: {text}");
            }
            cases += 1;
        }
    }
    assert_eq!(cases, METHODS.len() * 4 * KINDS.len());
}

// covers: C-70
#[tokio::test]
async fn repeated_nonce_demands_are_limited() {
    for &kind in KINDS {
        for (request, most) in [((&Method::GET, false), 6), ((&Method::POST, true), 1)] {
            let demands = (0..20).map(|number| refusal(Scheme::Dpop, &format!("nonce-{number}")));
            let server = RawServer::start(demands).await;
            assert_eq!(send(kind, request, Scheme::Dpop, &server).await, 401);
            let most = if kind == Kind::Ours { 6 } else { most };
            assert_eq!(server.request_count(), most, "{request:?}, {kind:?}");
        }
    }
}

#[tokio::test]
async fn an_untracked_redirect_is_not_followed() {
    let server = RawServer::start([redirect(302, "/other"), raw::json(200, "")]).await;
    let authorizer = authorizer(Scheme::Bearer, &server);
    let client = TokenClient::new(authorizer, Client::builder().no_proxy()).unwrap();
    let response = client.http().get(server.url("/start")).send().await;
    assert_eq!(response.unwrap().status(), 302);
    assert_eq!(server.request_count(), 1);
}

// covers: C-35
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_of_concurrent_requests_are_distinguished() {
    let direct = RawServer::start([refusal(Scheme::Bearer, ""), raw::json(200, "")]).await;
    let redirected = RawServer::start([redirect(303, "/start"), refusal(Scheme::Bearer, "")]).await;
    let authorizer = Authorizer::builder(Arc::new(Mint::lenient()))
        .allow_origin(&direct.url(""))
        .allow_origin(&redirected.url(""))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let client = TokenClient::new(authorizer, Client::builder().no_proxy()).unwrap();
    let post = |server: &RawServer| client.send(client.http().post(server.url("/start")).body("x"));
    // In one task, so that one thread polls both.
    let (one, other) = tokio::join!(post(&direct), post(&redirected));
    assert_eq!(
        (one.unwrap().status().as_u16(), direct.request_count()),
        (200, 2)
    );
    assert_eq!(
        (other.unwrap().status().as_u16(), redirected.request_count()),
        (401, 2)
    );
}
