//! Requests that get a token, and tokens that are refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource,
    async_trait,
    authorize::{ApiRefusal, Authorizer, RequestHead},
};
use hallpass_reqwest::{RequestBuilderExt as _, TokenClient};
use hallpass_testkit::{
    ScriptedSource,
    raw::{self, RawServer, Reply},
};

use crate::support::{Mint, allow, authorizations, client, get};

fn refused(challenge: &str) -> Reply {
    raw::http(401, &[("www-authenticate", challenge)], "no")
}

// covers: C-32, C-35
#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let invalid = r#"Bearer error="invalid_token""#;
    let server = RawServer::start([
        raw::json(200, "1"),
        refused(invalid),
        raw::json(200, "2"),
        refused(invalid),
        refused(invalid),
    ])
    .await;
    let mint = Arc::new(Mint::default());
    let authorizer = allow(mint.clone(), &server).build().unwrap();

    assert_eq!(get(&server, &authorizer).await.unwrap().status(), 200);
    assert_eq!(get(&server, &authorizer).await.unwrap().status(), 200);
    assert_eq!(mint.dropped(), 1);
    let last = get(&server, &authorizer).await.unwrap();
    assert_eq!(last.status(), 401);
    let refusal = last.extensions().get::<ApiRefusal>().unwrap();
    assert_eq!(refusal.error(), Some("invalid_token"));
    let sent = [1, 1, 2, 2, 3].map(|number| Some(format!("Bearer token-{number}")));
    assert_eq!(authorizations(&server), sent);
}

/// A source with a ready token, like a cache, and another one each time.
#[derive(Default)]
struct AtOnce(AtomicUsize);

#[async_trait]
impl TokenSource for AtOnce {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(self.ready_token(request).unwrap())
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        let text = format!("token-{}", self.0.fetch_add(1, Ordering::SeqCst));
        let (now, minute) = (SystemClock.moment(), Duration::from_secs(60));
        AccessToken::bearer(&text, now, minute).ok()
    }
}

// covers: F-66
#[tokio::test]
async fn the_token_is_obtained_when_the_request_is_sent() {
    let server = RawServer::always(raw::json(200, "")).await;
    let source = Arc::new(AtOnce::default());
    let authorizer = allow(source.clone(), &server).build().unwrap();
    let request = client().get(server.url("/")).send_with(&authorizer);
    // A token that was taken earlier might expire before the future is polled.
    assert_eq!(source.0.load(Ordering::SeqCst), 0);
    assert_eq!(request.await.unwrap().status(), 200);
    assert_eq!(source.0.load(Ordering::SeqCst), 1);
}

// covers: C-36
#[tokio::test]
async fn insufficient_scope_does_not_fetch_another_token() {
    let challenge = r#"Bearer error="insufficient_scope", scope="orders.write orders.read""#;
    let reply = raw::http(403, &[("www-authenticate", challenge)], "no");
    let server = RawServer::always(reply).await;
    let mint = Arc::new(Mint::default());
    let response = get(&server, &allow(mint.clone(), &server).build().unwrap()).await;
    let response = response.unwrap();
    let refusal = response.extensions().get::<ApiRefusal>().unwrap();
    assert!(refusal.is_insufficient_scope());
    assert_eq!(
        refusal.scope().unwrap().as_str(),
        "orders.read orders.write"
    );
    assert_eq!((mint.dropped(), server.request_count()), (0, 1));
}

// covers: C-37, I-02
#[tokio::test]
async fn another_origin_gets_no_request() {
    let (ours, other) = (
        RawServer::always(raw::json(200, "")).await,
        RawServer::always(raw::json(200, "")).await,
    );
    let authorizer = allow(Arc::new(Mint::default()), &ours).build().unwrap();
    let error = get(&other, &authorizer).await.unwrap_err();
    let error = error.token_error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.host(), Some(&*other.address().to_string()));
    assert_eq!(other.connection_count(), 0);

    let lenient = allow(Arc::new(Mint::default()), &ours).pass_other_origins();
    get(&other, &lenient.build().unwrap()).await.unwrap();
    assert_eq!(authorizations(&other), [None]);
}

#[tokio::test]
async fn an_existing_header_is_preserved_by_default() {
    let server = RawServer::always(raw::json(200, "")).await;
    let authorizer = || allow(Arc::new(Mint::default()), &server);
    for authorizer in [authorizer(), authorizer().replace_authorization()] {
        let get = client()
            .get(server.url("/"))
            .header("authorization", "Basic eDp5");
        get.send_with(&authorizer.build().unwrap()).await.unwrap();
    }
    let seen = ["Basic eDp5", "Bearer token-1"].map(|header| Some(header.to_owned()));
    assert_eq!(authorizations(&server), seen);
}

#[tokio::test]
async fn a_request_can_set_its_own_token_request() {
    let server = RawServer::always(raw::json(200, "")).await;
    let authorizer = allow(Arc::new(Mint::default()), &server).build().unwrap();
    let wanted = TokenRequest::new().with_scopes("orders.write".parse().unwrap());
    let get = client().get(server.url("/"));
    get.send_with_request(&authorizer, &wanted).await.unwrap();
    assert_eq!(
        authorizations(&server),
        [Some("Bearer token-1orders.write".to_owned())]
    );
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let server = RawServer::always(raw::json(200, "")).await;
    let down = TokenError::unavailable("the server is down");
    let source = Arc::new(ScriptedSource::new([Err(down)]));
    let error = get(&server, &allow(source, &server).build().unwrap())
        .await
        .unwrap_err();
    assert!(error.token_error().unwrap().is_transient());
    assert!(error.http_error().is_none());
    assert_eq!(server.connection_count(), 0);
}

fn by_tenant(call: RequestHead<'_>) -> Result<TokenRequest, TokenError> {
    let tenant = call.headers().get("x-tenant");
    let tenant = tenant.and_then(|tenant| tenant.to_str().ok());
    let tenant = tenant.ok_or_else(|| TokenError::configuration("no tenant"))?;
    let method = call.method().as_str().to_lowercase();
    let scopes = format!("{tenant}.{method}{}", call.path().replace('/', "."));
    Ok(TokenRequest::new().with_scopes(scopes.parse().unwrap()))
}

#[tokio::test]
async fn a_request_chooses_its_token_by_header_method_and_path() {
    let server = RawServer::start([raw::json(200, ""), refused("Bearer"), raw::json(200, "")]);
    let server = server.await;
    let authorizer = Authorizer::builder(Mint::default())
        .allow_origin_by(&server.url(""), by_tenant)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let get = |tenant: &str| client().get(server.url("/a?q")).header("x-tenant", tenant);

    let blue = get("blue").send_with(&authorizer).await.unwrap();
    assert_eq!(blue.status(), 200);
    // A retry asks for the same token.
    let with_client = TokenClient::new(authorizer.clone(), reqwest::Client::builder().no_proxy());
    let post = client().post(server.url("/b")).header("x-tenant", "green");
    let green = with_client.unwrap().send(post.body("{}")).await.unwrap();
    assert_eq!(green.status(), 200);
    let none = client().get(server.url("/a")).send_with(&authorizer).await;
    assert_eq!(none.unwrap_err().to_string(), "no tenant");

    let sent = [
        "token-1blue.get.a",
        "token-1green.post.b",
        "token-2green.post.b",
    ];
    let sent = sent.map(|token| Some(format!("Bearer {token}")));
    assert_eq!(authorizations(&server), sent);
}

#[cfg(feature = "middleware")]
#[tokio::test]
async fn a_middleware_chooses_the_token_by_the_request() {
    let server = RawServer::always(raw::json(200, "")).await;
    let authorizer = Authorizer::builder(Mint::default())
        .allow_origin_by(&server.url(""), by_tenant)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let client = reqwest_middleware::ClientBuilder::new(client())
        .with(hallpass_reqwest::TokenMiddleware::new(authorizer))
        .build();
    let get = client.get(server.url("/a")).header("x-tenant", "blue");
    assert_eq!(get.send().await.unwrap().status(), 200);
    assert!(client.get(server.url("/a")).send().await.is_err());
    let sent = [Some("Bearer token-1blue.get.a".to_owned())];
    assert_eq!(authorizations(&server), sent);
}
