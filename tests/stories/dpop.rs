//! DPoP-bound tokens (RFC 9449), from the token endpoint to the API.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallpass::{
    AccessToken, ErrorKind, OAuthError, TokenError, TokenRequest, TokenSource, TokenType,
    authorize::{ApiRefusal, Authorizer},
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientSecretPost, Retry, SourceBuilder},
    jwt::{AssertionSettings, Dpop, PrivateKeyJwt, SigningKey},
    reqwest_ext::{RequestBuilderExt as _, TokenClient},
    tower_ext::TokenLayer,
};
use hallpass_testkit::{ManualClock, leak};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use tower::{Layer as _, Service as _, ServiceExt as _};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use crate::{
    assertions::assert_off,
    proofs::{Prudent, VerifiedProof},
    shared::assertions::key,
    support::{ID, secret},
};

fn granted(token: &str, token_type: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "access_token": token, "token_type": token_type, "expires_in": 3600,
    }))
}

fn demand(status: u16, nonce: &str) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .insert_header("dpop-nonce", nonce)
        .set_body_json(json!({ "error": "use_dpop_nonce" }))
}

fn source(url: &str, dpop: Dpop) -> SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(url, ID, ClientSecretPost::new(secret("s3cr3t")))
        .danger_allow_http_on_loopback()
        .retry(Retry::new())
        .dpop(dpop)
}

async fn fetch(builder: SourceBuilder<ClientCredentials>) -> Result<AccessToken, TokenError> {
    builder
        .build()
        .unwrap()
        .token(&TokenRequest::default())
        .await
}

fn nonces(seen: &[VerifiedProof]) -> Vec<Option<&str>> {
    seen.iter().map(VerifiedProof::nonce).collect()
}

// covers: C-40
#[test]
fn a_source_of_bound_tokens_says_so() {
    let url = "https://login.example/token";
    let dpop = Dpop::generate().unwrap();
    assert!(source(url, dpop).build().unwrap().binds_tokens());
    let plain = ClientCredentials::builder(url, ID, ClientSecretPost::new(secret("s3cr3t")));
    assert!(!plain.build().unwrap().binds_tokens());
}

// covers: C-40, C-66, C-67, C-69
#[tokio::test]
async fn each_attempt_has_its_own_proof_and_the_token_its_key() {
    let (_server, endpoint) = Prudent::start("/token", |_, before| match before {
        0 => ResponseTemplate::new(503),
        _ => granted("t", "dpop"),
    })
    .await;
    let dpop = Dpop::generate().unwrap();
    let retry = Retry::new().min_delay(Duration::from_millis(1));
    let token = fetch(source(&endpoint.url(), dpop).retry(retry))
        .await
        .unwrap();
    assert_eq!(token.header_value(), "DPoP t");
    assert_eq!(
        (token.token_type(), token.prover().is_some()),
        (TokenType::Dpop, true)
    );
    let seen = endpoint.seen();
    assert_eq!(nonces(&seen), [None, None]);
    assert!(seen[0].jwk == seen[1].jwk && seen[0].authorization.is_none());
}

// covers: C-69, C-72, F-28, F-29
#[tokio::test]
async fn a_token_without_the_bond_is_dropped() {
    for (kind, says) in [
        (r#""Bearer""#, "is not `DPoP`"),
        (r#""mac""#, "is not `DPoP`"),
        (r#""N_A""#, "is not an access token"),
        ("null", "no `token_type`"),
    ] {
        let body = format!(r#"{{"access_token":"CANARY","token_type":{kind},"expires_in":60}}"#);
        let (_server, endpoint) = Prudent::start("/token", move |_, _| {
            ResponseTemplate::new(200).set_body_raw(body.clone(), "application/json")
        })
        .await;
        let lenient = source(&endpoint.url(), Dpop::generate().unwrap()).lenient_responses();
        let error = fetch(lenient).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse);
        assert!(error.to_string().contains(says), "{error}");
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
        assert_eq!(
            endpoint.seen().len(),
            1,
            "nothing is asked again, with a proof or without"
        );
    }
}

// covers: C-70, C-71, C-72
#[tokio::test]
async fn a_nonce_that_is_demanded_is_used_and_then_stored() {
    for status in [400, 401] {
        let (_server, endpoint) =
            Prudent::start("/token", move |seen, before| match seen.nonce() {
                None => demand(status, "first"),
                Some("first") if before < 2 => {
                    granted("t", "DPoP").insert_header("dpop-nonce", "second")
                }
                Some("second") => granted("t", "DPoP"),
                _ => ResponseTemplate::new(500),
            })
            .await;
        let source = source(&endpoint.url(), Dpop::generate().unwrap())
            .build()
            .unwrap();
        for _ in 0..3 {
            source.token(&TokenRequest::default()).await.unwrap();
        }
        let expected = [None, Some("first"), Some("second"), Some("second")];
        assert_eq!(nonces(&endpoint.seen()), expected);
    }
}

// covers: C-70, C-72
#[tokio::test]
async fn a_server_that_is_never_content_is_left_alone() {
    let (_server, endless) =
        Prudent::start("/token", |_, before| demand(400, &format!("n{before}"))).await;
    let (_server, stubborn) = Prudent::start("/token", |_, _| demand(400, "same")).await;
    let (_server, silent) = Prudent::start("/token", |_, _| {
        ResponseTemplate::new(400).set_body_json(json!({ "error": "use_dpop_nonce" }))
    })
    .await;
    for (endpoint, requests) in [(endless, 6), (stubborn, 2), (silent, 1)] {
        let error = fetch(source(&endpoint.url(), Dpop::generate().unwrap()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestRefused);
        assert!(error.hint().unwrap().contains("nonce"), "{error}");
        let seen = endpoint.seen();
        assert_eq!(seen.len(), requests);
        assert!(seen[1..].iter().all(|seen| seen.nonce().is_some()));
    }
}

// covers: C-46, C-70
#[tokio::test]
async fn an_assertion_is_not_sent_a_second_time_with_the_nonce() {
    let (_server, endpoint) = Prudent::start("/token", |seen, _| match seen.nonce() {
        None => demand(400, "first"),
        Some(_) => granted("t", "DPoP"),
    })
    .await;
    let settings = AssertionSettings::new("https://login.example").unwrap();
    let authentication = PrivateKeyJwt::new(settings, key("a key"));
    fetch(source(&endpoint.url(), Dpop::generate().unwrap()).authentication(authentication))
        .await
        .unwrap();
    let [first, second] = &endpoint.seen()[..] else {
        panic!("two requests");
    };
    let starts = |seen: &VerifiedProof| {
        String::from_utf8(seen.body.clone())
            .unwrap()
            .contains("client_assertion=")
    };
    assert!(starts(first) && starts(second) && first.body != second.body);
}

// covers: F-71
#[tokio::test]
async fn a_wrong_clock_is_reported() {
    let server = MockServer::start().await;
    let refusal = json!({ "error": "invalid_dpop_proof", "error_description": "iat is too old" });
    let refusal = ResponseTemplate::new(400).set_body_json(refusal);
    Mock::given(matchers::any())
        .respond_with(refusal)
        .mount(&server)
        .await;
    for (sign, side) in [
        (-600, "behind the server's"),
        (600, "ahead of the server's"),
        (0, "clock"),
    ] {
        let clock = ManualClock::new();
        let by = Duration::from_secs(i64::unsigned_abs(sign));
        let now = SystemTime::now();
        clock.set_wall(if sign < 0 { now - by } else { now + by });
        let dpop = Dpop::generate().unwrap().clock(clock.clone());
        let error = fetch(source(&server.uri(), dpop).clock(clock))
            .await
            .unwrap_err();
        let code = error.oauth_error().map(OAuthError::code);
        assert_eq!(
            (error.kind(), code),
            (ErrorKind::RequestRefused, Some("invalid_dpop_proof"))
        );
        if sign == 0 {
            assert!(error.hint().unwrap().starts_with("check"), "{error}");
        } else {
            assert_off(&error, side);
        }
    }
    // A request without a proof gets a challenge.
    let plain = ClientCredentials::builder(server.uri(), ID, ClientSecretPost::new(secret("s")));
    let error = fetch(plain.danger_allow_http_on_loopback())
        .await
        .unwrap_err();
    assert!(error.hint().unwrap().contains("`dpop`"), "{error}");
}

/// Creates a token bound to this key as a source would return it, with the origins that may receive it.
fn api(uri: &str, dpop: &Dpop, text: &str) -> Authorizer {
    let lifetime = Duration::from_secs(60);
    let moment = hallpass::Clock::moment(&hallpass::SystemClock);
    let token = AccessToken::new(TokenType::Dpop, text, moment, lifetime).unwrap();
    let token = token.with_prover(Arc::new(dpop.clone()));
    let source = hallpass_testkit::StaticSource::new(token);
    let source: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(source));
    Authorizer::builder(source)
        .allow_origin(uri)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap()
}

/// Requires a nonce, then a second one, and then accepts it.
fn demanding(seen: &VerifiedProof, _: usize) -> ResponseTemplate {
    let challenge = |nonce: &str| {
        ResponseTemplate::new(401)
            .insert_header(
                "www-authenticate",
                r#"DPoP error="use_dpop_nonce", algs="ES256""#,
            )
            .insert_header("dpop-nonce", nonce)
    };
    match seen.nonce() {
        None => challenge("one"),
        Some("one") => challenge("two"),
        _ => ResponseTemplate::new(200).insert_header("dpop-nonce", "three"),
    }
}

fn assert_demanding(endpoint: &Prudent) {
    let seen = endpoint.seen();
    let expected = [None, Some("one"), Some("two"), Some("three")];
    assert_eq!(nonces(&seen), expected);
    assert!(
        seen.iter()
            .all(|seen| seen.authorization.as_deref() == Some("DPoP CANARY-token"))
    );
}

// covers: C-67, C-68, C-70, C-71
#[tokio::test]
async fn each_request_of_reqwest_is_proven() {
    let (server, orders) = Prudent::start("/orders", demanding).await;
    let authorizer = api(&server.uri(), &Dpop::generate().unwrap(), "CANARY-token");
    let client = TokenClient::new(authorizer.clone(), reqwest::Client::builder()).unwrap();
    for _ in 0..2 {
        let url = format!("{}?page=2#top", orders.url());
        let post = client.http().post(url).body("{}");
        assert_eq!(client.send(post).await.unwrap().status(), 200);
    }
    assert_demanding(&orders);

    let chain = reqwest_middleware::ClientBuilder::new(reqwest::Client::new());
    let chain = chain
        .with(hallpass::reqwest_ext::TokenMiddleware::new(authorizer))
        .build();
    let response = chain
        .put(orders.url())
        .header("dpop", "stale")
        .body("{}")
        .send()
        .await;
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(nonces(&orders.seen()), [Some("three")]);
}

// covers: C-67, C-68, C-70, C-71
#[tokio::test]
async fn each_request_of_tower_is_proven() {
    let (server, orders) = Prudent::start("/orders", demanding).await;
    let authorizer = api(&server.uri(), &Dpop::generate().unwrap(), "CANARY-token");
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<&'static [u8]>>();
    let mut service = TokenLayer::new(authorizer).retry_cloned().layer(client);
    for _ in 0..2 {
        let request = http::Request::post(format!("{}?page=2", orders.url()));
        let request = request.body(Full::new(&b"{}"[..])).unwrap();
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_demanding(&orders);
}

// covers: C-70
#[tokio::test]
async fn what_cannot_be_sent_again_leaves_its_nonce_for_the_next() {
    let (server, orders) = Prudent::start("/orders", demanding).await;
    let authorizer = api(&server.uri(), &Dpop::generate().unwrap(), "CANARY-token");
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<&'static [u8]>>();
    let mut service = TokenLayer::new(authorizer).layer(client);
    for status in [401, 401, 200, 200] {
        let request = http::Request::post(orders.url())
            .body(Full::new(&b"{}"[..]))
            .unwrap();
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), status);
        let refusal = response.extensions().get::<ApiRefusal>();
        let code = refusal.and_then(ApiRefusal::error);
        assert_eq!(code, (status == 401).then_some("use_dpop_nonce"));
    }
    assert_demanding(&orders);
}

// covers: F-99
#[tokio::test]
async fn neither_key_nor_proof_nor_token_is_shown_on_the_way() {
    let capture = leak::Capture::start();
    let jwk = include_str!("../../crates/jwt/src/key/samples/ed25519.jwk");
    let private: serde_json::Value = serde_json::from_str(jwk).unwrap();
    let private = private["d"].as_str().unwrap();
    let dpop = Dpop::new(SigningKey::from_jwk(jwk).unwrap()).unwrap();
    // It repeats the request's contents in a refusal.
    let server = MockServer::start().await;
    Mock::given(matchers::any())
        .respond_with(|request: &wiremock::Request| {
            let proof = request.headers["dpop"].to_str().unwrap();
            ResponseTemplate::new(401).insert_header(
                "www-authenticate",
                format!(r#"DPoP error="invalid_dpop_proof", error_description="{proof}""#),
            )
        })
        .mount(&server)
        .await;
    let authorizer = api(&server.uri(), &dpop, CANARY_TOKEN);
    let client = reqwest::Client::new();
    let response = client
        .get(server.uri())
        .send_with(&authorizer)
        .await
        .unwrap();
    let refusal = response.extensions().get::<ApiRefusal>().unwrap();
    assert_eq!(refusal.error(), Some("invalid_dpop_proof"));
    let sent = &server.received_requests().await.unwrap()[0];
    let proof = sent.headers["dpop"].to_str().unwrap();
    let signature = proof.rsplit('.').next().unwrap();
    let token = authorizer
        .source()
        .token(&TokenRequest::default())
        .await
        .unwrap();
    let shown = format!(
        "{dpop:?} {authorizer:?} {token:?} {refusal:?} {refusal} {response:?} {}",
        capture.text()
    );
    // Positive controls: each value was there to be leaked.
    assert!(leak::find(jwk, private).is_some() && leak::find(proof, signature).is_some());
    assert!(
        leak::find(
            sent.headers["authorization"].to_str().unwrap(),
            CANARY_TOKEN
        )
        .is_some()
    );
    // Text that the API itself wrote in its header may be shown.
    let shown = shown.replace(response.headers()["www-authenticate"].to_str().unwrap(), "");
    for canary in [private, CANARY_TOKEN] {
        leak::assert_clean(&shown, canary);
    }
    leak::assert_clean(&format!("{refusal:?} {refusal}"), signature);
}

const CANARY_TOKEN: &str = "CANARY-token-0123456789";
