//! Requests that get a token, and tokens that are refused.

use std::sync::Arc;

use hallpass_core::{
    ErrorKind, TokenError, TokenRequest,
    authorize::{ApiRefusal, Authorizer},
};
use hallpass_testkit::ScriptedSource;
use hallpass_tower::TokenLayer;
use http::Request;
use tower::Layer as _;

use crate::support::{Api, Mint, ORIGIN, answer, authorizer, invalid_token, send};

fn get(uri: &str) -> Request<String> {
    Request::get(uri).body(String::new()).unwrap()
}

fn bearers<const N: usize>(numbers: [u8; N]) -> [Option<String>; N] {
    numbers.map(|number| Some(format!("Bearer token-{number}")))
}

// covers: C-32, C-35
#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    for ready in [true, false] {
        let api = Api::new([
            answer(200, &[]),
            invalid_token(),
            answer(200, &[]),
            invalid_token(),
            invalid_token(),
        ]);
        let mint = Arc::new(Mint::new(ready));
        let layer = TokenLayer::new(authorizer(mint.clone())).retry_cloned();
        let mut service = layer.layer(api.clone());
        assert_eq!(send(&mut service, get(ORIGIN)).await.unwrap().status(), 200);
        assert_eq!(send(&mut service, get(ORIGIN)).await.unwrap().status(), 200);
        assert_eq!(mint.dropped(), 1);
        let last = send(&mut service, get(ORIGIN)).await.unwrap();
        assert_eq!(last.status(), 401);
        let refusal = last.extensions().get::<ApiRefusal>().unwrap();
        assert_eq!(refusal.error(), Some("invalid_token"));
        assert_eq!(api.authorizations(), bearers([1, 1, 2, 2, 3]));
    }
}

// covers: C-35
#[tokio::test]
async fn without_a_replay_the_next_request_has_a_new_token() {
    for ready in [true, false] {
        let api = Api::new([invalid_token(), answer(200, &[])]);
        let mint = Arc::new(Mint::new(ready));
        let mut service = TokenLayer::new(authorizer(mint)).layer(api.clone());
        assert_eq!(send(&mut service, get(ORIGIN)).await.unwrap().status(), 401);
        assert_eq!(send(&mut service, get(ORIGIN)).await.unwrap().status(), 200);
        assert_eq!(api.authorizations(), bearers([1, 2]));
    }
}

// covers: C-36
#[tokio::test]
async fn insufficient_scope_does_not_fetch_another_token() {
    let challenge = r#"Bearer error="insufficient_scope", scope="orders.write""#;
    let api = Api::new([answer(403, &[("www-authenticate", challenge)])]);
    let mint = Arc::new(Mint::default());
    let layer = TokenLayer::new(authorizer(mint.clone())).retry_cloned();
    let response = send(&mut layer.layer(api), get(ORIGIN)).await.unwrap();
    let refusal = response.extensions().get::<ApiRefusal>().unwrap();
    assert_eq!(refusal.scope().unwrap().as_str(), "orders.write");
    assert_eq!(mint.dropped(), 0);
}

// covers: C-37, I-02
#[tokio::test]
async fn another_origin_gets_no_request() {
    let api = Api::new([answer(200, &[])]);
    let mint = Arc::new(Mint::default());
    let mut service = TokenLayer::new(authorizer(mint.clone())).layer(api.clone());
    for elsewhere in [
        "https://other.example/",
        "https://api.example:8443/",
        "http://api.example/",
        "https://api.example@other.example/",
        "/orders",
    ] {
        let error = send(&mut service, get(elsewhere)).await.unwrap_err();
        let error = error.downcast_ref::<TokenError>().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{elsewhere}");
    }
    assert!(api.authorizations().is_empty());

    let lenient = Authorizer::builder(mint)
        .allow_origin(ORIGIN)
        .pass_other_origins();
    let mut service = TokenLayer::new(lenient.build().unwrap()).layer(api.clone());
    send(&mut service, get("https://other.example/"))
        .await
        .unwrap();
    assert_eq!(api.authorizations(), [None]);
}

// covers: C-37
#[tokio::test]
async fn a_connection_to_one_origin_accepts_relative_uris() {
    let api = Api::new([answer(200, &[])]);
    let layer = TokenLayer::new(authorizer(Arc::new(Mint::default())));
    let mut service = layer
        .clone()
        .connected_to(ORIGIN.parse().unwrap())
        .layer(api.clone());
    send(&mut service, get("/orders")).await.unwrap();
    // `connected_to` allows no other origin.
    assert!(
        send(&mut service, get("https://other.example/"))
            .await
            .is_err()
    );
    let elsewhere = "https://other.example".parse().unwrap();
    let mut service = layer.connected_to(elsewhere).layer(api.clone());
    assert!(send(&mut service, get("/orders")).await.is_err());
    assert_eq!(api.authorizations(), bearers([1]));
}

#[tokio::test]
async fn a_request_can_set_its_own_token_request() {
    let api = Api::new([answer(200, &[])]);
    let mut service = TokenLayer::new(authorizer(Arc::new(Mint::default()))).layer(api.clone());
    let mut request = get(ORIGIN);
    let wanted = TokenRequest::new().with_scopes("orders.write".parse().unwrap());
    request.extensions_mut().insert(wanted);
    send(&mut service, request).await.unwrap();
    assert_eq!(
        api.authorizations(),
        [Some("Bearer token-1orders.write".to_owned())]
    );
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let api = Api::new([]);
    let down = TokenError::unavailable("the server is down");
    let source = Arc::new(ScriptedSource::new([Err(down)]));
    let mut service = TokenLayer::new(authorizer(source)).layer(api.clone());
    let error = send(&mut service, get(ORIGIN)).await.unwrap_err();
    assert!(error.downcast_ref::<TokenError>().unwrap().is_transient());
    assert!(api.authorizations().is_empty());
}

#[tokio::test]
async fn a_request_chooses_its_token() {
    for ready in [true, false] {
        let api = Api::new([answer(200, &[]), answer(200, &[])]);
        let authorizer = Authorizer::builder(Mint::new(ready))
            .allow_origin_by(ORIGIN, |call| {
                let tenant = call.headers().get("x-tenant");
                let tenant = tenant.and_then(|tenant| tenant.to_str().ok());
                let scope = tenant.unwrap_or(call.path()).trim_matches('/');
                let scope = scope
                    .parse()
                    .map_err(|_| TokenError::configuration("no tenant"))?;
                Ok(TokenRequest::new().with_scopes(scope))
            })
            .build()
            .unwrap();
        let mut service = TokenLayer::new(authorizer).layer(api.clone());
        let mut blue = get(ORIGIN);
        blue.headers_mut()
            .insert("x-tenant", "blue".parse().unwrap());
        send(&mut service, blue).await.unwrap();
        let green = get("https://api.example/green");
        send(&mut service, green).await.unwrap();
        let mut none = get(ORIGIN);
        none.headers_mut().insert("x-tenant", "\"".parse().unwrap());
        let error = send(&mut service, none).await.unwrap_err();
        assert!(error.is::<TokenError>());
        let sent = ["token-1blue", "token-1green"];
        let sent = sent.map(|token| Some(format!("Bearer {token}")));
        assert_eq!(api.authorizations(), sent);
    }
}
