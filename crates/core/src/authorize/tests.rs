use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, HOST},
};

use super::*;
use crate::{
    AccessToken, Clock, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource, TokenType,
    async_trait,
};

mod events;
mod forbidden;
mod proofs;

/// A source that numbers its tokens and counts the dropped ones.
#[derive(Default)]
struct Numbered {
    number: AtomicUsize,
    kind: Option<TokenType>,
    stubborn: bool,
}

#[async_trait]
impl TokenSource for Numbered {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let text = format!("CANARY-{}", self.number.load(Ordering::SeqCst));
        let kind = self.kind.unwrap_or(TokenType::Bearer);
        Ok(AccessToken::new(
            kind,
            &text,
            SystemClock.moment(),
            Duration::from_secs(60),
        )?)
    }

    fn invalidate(&self, _: &AccessToken) {
        if !self.stubborn {
            self.number.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn builder() -> AuthorizerBuilder {
    Authorizer::builder(Arc::new(Numbered::default()))
}

fn api() -> Authorizer {
    builder()
        .allow_origin("https://api.example")
        .build()
        .unwrap()
}

fn target(uri: &'static str) -> Target<'static> {
    let (scheme, host) = uri.split_once("://").unwrap();
    Target::new(scheme, host, None)
}

fn head<'a>(target: Option<Target<'a>>, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead::new(&Method::GET, target, "/orders", headers)
}

fn permit(authorizer: &Authorizer, uri: &'static str) -> Result<Option<Permit>, TokenError> {
    authorizer.permit(head(Some(target(uri)), &HeaderMap::new()), None)
}

// covers: C-37
#[test]
fn only_a_list_of_origins_that_makes_sense_is_taken() {
    let wrong = |builder: AuthorizerBuilder, expected: &str| {
        let error = builder.build().unwrap_err().to_string();
        assert!(
            error.starts_with("allow_origin") && error.contains(expected),
            "{error}"
        );
    };
    wrong(builder(), "no origin");
    wrong(builder().pass_other_origins(), "no origin");
    wrong(builder().allow_origin("api.example"), "not an origin");
    let reading = TokenRequest::new().with_scopes("read".parse().unwrap());
    wrong(
        builder()
            .allow_origin("https://a.example")
            .allow_origin_with("https://A.example:443/", reading),
        "allow_origin_with: `https://a.example` is allowed by `allow_origin` with another",
    );
    let twice = builder()
        .allow_origin("https://a.example")
        .allow_origin("https://A.example:443/");
    assert_eq!(twice.build().unwrap().origins().count(), 1);
    wrong(
        builder().allow_origin("http://127.0.0.1:1"),
        "danger_allow_http_on_loopback",
    );
    // The method would not help.
    wrong(
        builder().allow_origin("http://api.example"),
        "loopback only",
    );
    let danger = || builder().danger_allow_http_on_loopback();
    wrong(danger().allow_origin("http://api.example"), "loopback only");
    wrong(
        danger()
            .allow_origin("http://127.0.0.1")
            .allow_origin("http://10.0.0.1"),
        "loopback only",
    );
    // The order of the calls does not matter.
    assert!(danger().allow_origin("http://[::1]:80").build().is_ok());
    assert!(
        builder()
            .allow_origin("http://localhost")
            .danger_allow_http_on_loopback()
            .build()
            .is_ok()
    );
}

// covers: C-37, I-02
#[test]
fn another_origin_has_no_permit() {
    let api = api();
    assert!(permit(&api, "https://api.example").unwrap().is_some());
    for (elsewhere, hint) in [
        ("https://other.example", "pass_other_origins"),
        ("http://api.example", "use `https://`, which was allowed"),
        ("http://other.example", "and add it with `allow_origin`"),
        ("http://127.0.0.1", "`danger_allow_http_on_loopback`"),
    ] {
        let error = permit(&api, elsewhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let expected = format!("no token for `{elsewhere}`: this origin is not allowed");
        let text = error.to_string();
        assert!(text.starts_with(&expected) && text.contains(hint), "{text}");
    }
    let error = api.permit(head(None, &HeaderMap::new()), None).unwrap_err();
    assert!(error.to_string().contains("names no origin"), "{error}");

    let lenient = builder()
        .allow_origin("https://api.example")
        .pass_other_origins()
        .build()
        .unwrap();
    assert!(permit(&lenient, "https://other.example").unwrap().is_none());
    assert!(
        lenient
            .permit(head(None, &HeaderMap::new()), None)
            .unwrap()
            .is_none()
    );
}

// covers: C-37
#[test]
fn a_host_header_must_name_the_host_of_the_url() {
    let authorizer = builder()
        .allow_origin("https://api.example")
        .allow_origin("https://api.example:8443")
        .allow_origin("https://[::1]")
        .build()
        .unwrap();
    let check = |port, host: &str, hosts: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host).unwrap());
        }
        authorizer.permit(head(Some(Target::new("https", host, port)), &headers), None)
    };
    for (port, host, same) in [
        (None, "api.example", "api.example"),
        (None, "api.example", "API.example:443"),
        (Some(443), "api.example", "api.example"),
        (Some(8443), "api.example", "api.example:8443"),
        (None, "[::1]", "[::1]:443"),
    ] {
        let permit = check(port, host, &[same.as_bytes(), same.as_bytes()]);
        assert!(permit.unwrap().is_some(), "{same}");
    }
    for (port, other) in [
        (None, &b"CANARY.example"[..]),
        (None, b"api.example:8443"),
        (Some(8443), b"api.example"),
        (None, b"api.example:"),
        (None, b"api.example:443:443"),
        (None, b"api.example."),
        (None, b"x@api.example"),
        (None, b"api.example, CANARY.example"),
        (None, b""),
        (None, b"\xffapi.example"),
    ] {
        for hosts in [&[other][..], &[b"api.example", other]] {
            let error = check(port, "api.example", hosts).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            let text = error.to_string();
            let cause = "no token for this request: its `Host` header";
            assert!(
                text.starts_with(cause) && !text.contains("CANARY"),
                "{text}"
            );
        }
    }
    // A request without a token of ours is sent as it is.
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("other.example"));
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
    let target = Some(target("https://api.example"));
    assert!(
        authorizer
            .permit(head(target, &headers), None)
            .unwrap()
            .is_none()
    );
}

#[test]
fn an_existing_header_stays_by_default() {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
    let anywhere = ["https://api.example", "https://other.example"];
    for uri in anywhere {
        assert!(
            api()
                .permit(head(Some(target(uri)), &headers), None)
                .unwrap()
                .is_none()
        );
    }
    let replacing = builder()
        .allow_origin(anywhere[0])
        .replace_authorization()
        .build()
        .unwrap();
    assert!(
        replacing
            .permit(head(Some(target(anywhere[0])), &headers), None)
            .unwrap()
            .is_some()
    );
    assert!(
        replacing
            .permit(head(Some(target(anywhere[1])), &headers), None)
            .is_err()
    );
}

// covers: C-37
#[test]
fn each_origin_has_its_token_unless_the_request_says_which() {
    let asks = |scope: &str| TokenRequest::new().with_scopes(scope.parse().unwrap());
    let authorizer = builder()
        .allow_origin("https://orders.example")
        .allow_origin_with("https://billing.example", asks("billing"))
        .build()
        .unwrap();
    let request = |uri| permit(&authorizer, uri).unwrap().unwrap().request().clone();
    assert!(request("https://orders.example").is_default());
    assert_eq!(request("https://billing.example"), asks("billing"));
    let wanted = asks("refunds");
    let billing = target("https://billing.example");
    let permit = authorizer.permit(head(Some(billing), &HeaderMap::new()), Some(&wanted));
    assert_eq!(*permit.unwrap().unwrap().request(), wanted);
}

fn by_tenant(call: RequestHead<'_>) -> Result<TokenRequest, TokenError> {
    let header = call.headers().get("x-tenant");
    let tenant = header.and_then(|tenant| tenant.to_str().ok());
    let tenant = tenant.or_else(|| call.path().strip_prefix("/tenants/"));
    let tenant = tenant.ok_or_else(|| TokenError::configuration("no known tenant"))?;
    Ok(TokenRequest::new().with_scopes(tenant.parse().unwrap()))
}

// covers: C-37
#[test]
fn the_request_chooses_its_token_but_no_other_origin() {
    let authorizer = builder()
        .allow_origin_by("https://api.example", by_tenant)
        .build()
        .unwrap();
    let mut headers = HeaderMap::new();
    let ask = |uri, path, headers: &HeaderMap, wanted: Option<&TokenRequest>| {
        let head = RequestHead::new(&Method::GET, Some(target(uri)), path, headers);
        let permit = authorizer.permit(head, wanted)?;
        Ok::<_, TokenError>(permit.unwrap().request().clone())
    };
    let scope = |scope: &str| TokenRequest::new().with_scopes(scope.parse().unwrap());
    let api = "https://api.example";
    let by_path = ask(api, "/tenants/green", &headers, None);
    assert_eq!(by_path.unwrap(), scope("green"));
    let error = ask(api, "/orders", &headers, None).unwrap_err();
    assert_eq!(error.to_string(), "no known tenant");
    // A request that names its token needs no tenant.
    let own = ask(api, "/orders", &headers, Some(&scope("own")));
    assert_eq!(own.unwrap(), scope("own"));

    headers.insert("x-tenant", HeaderValue::from_static("blue"));
    assert_eq!(ask(api, "/", &headers, None).unwrap(), scope("blue"));
    assert!(ask("https://other.example", "/", &headers, None).is_err());
    assert!(ask("http://api.example", "/", &headers, None).is_err());
}

#[test]
fn a_function_reads_method_path_and_headers_of_a_call() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    let authorizer = builder().allow_origin_by("https://api.example", move |call| {
        let line = format!(
            "{} {} {:?}",
            call.method(),
            call.path(),
            call.headers().get("x-tenant")
        );
        list.lock().unwrap().push(line);
        Ok(TokenRequest::new())
    });
    let authorizer = authorizer.build().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("blue"));
    let target = target("https://api.example");
    let head = RequestHead::new(&Method::DELETE, Some(target), "/orders/7", &headers);
    authorizer.permit(head, None).unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), ["DELETE /orders/7 Some(\"blue\")"]);
}

#[test]
fn only_its_own_origin_has_the_same_origin() {
    let permit = permit(&api(), "https://api.example").unwrap().unwrap();
    assert!(permit.is_same_origin(target("https://API.example")));
    assert!(permit.is_same_origin(Target::new("https", "api.example", Some(443))));
    for other in [
        "https://other.example",
        "http://api.example",
        "https://api.example.org",
    ] {
        assert!(!permit.is_same_origin(target(other)), "{other}");
    }
    let port = Target::new("https", "api.example", Some(8443));
    assert!(!permit.is_same_origin(port));
}

/// A cache whose token is ready.
struct Ready(AccessToken);

#[async_trait]
impl TokenSource for Ready {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Err(TokenError::unavailable("it was not asked"))
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        Some(self.0.clone())
    }
}

// covers: C-20
#[tokio::test]
async fn a_ready_token_is_used_unless_it_needs_a_proof() {
    let ready = |kind| {
        let minute = Duration::from_secs(60);
        let token = AccessToken::new(kind, "ready", SystemClock.moment(), minute).unwrap();
        let authorizer = Authorizer::builder(Ready(token)).allow_origin("https://api.example");
        permit(&authorizer.build().unwrap(), "https://api.example")
            .unwrap()
            .unwrap()
    };
    let bearer = ready(TokenType::Bearer);
    assert_eq!(bearer.ready_token().unwrap().expose(), "ready");
    assert_eq!(bearer.token().await.unwrap().expose(), "ready");
    assert!(ready(TokenType::Dpop).ready_token().is_none());
}

#[test]
fn a_function_needs_an_origin_of_its_own() {
    let origin = "https://api.example";
    let alone = builder()
        .pass_other_origins()
        .allow_origin_by("", by_tenant);
    assert!(alone.build().is_err());
    let twice = builder()
        .allow_origin_by(origin, by_tenant)
        .allow_origin_by(origin, by_tenant);
    assert!(twice.build().is_err());
    let both = builder()
        .allow_origin(origin)
        .allow_origin_by(origin, by_tenant);
    let error = both.build().unwrap_err().to_string();
    assert!(error.contains("with another token request"), "{error}");
    let plain = builder().allow_origin_by("http://api.example", by_tenant);
    assert!(plain.build().is_err());
}

fn unauthorized(permit: &mut Permit, token: &AccessToken) -> Decision {
    permit.evaluate_response(token, StatusCode::UNAUTHORIZED, &HeaderMap::new())
}

// covers: C-35
#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let mut permit = permit(&api(), "https://api.example").unwrap().unwrap();
    let first = permit.token().await.unwrap();
    assert_eq!(
        permit.evaluate_response(&first, StatusCode::OK, &HeaderMap::new()),
        Decision::Pass
    );
    assert!(matches!(
        unauthorized(&mut permit, &first),
        Decision::Retry(_)
    ));
    let second = permit.replacement(&first).await.unwrap().unwrap();
    assert_eq!(second.expose(), "CANARY-1");
    assert!(matches!(
        unauthorized(&mut permit, &second),
        Decision::Refused(_)
    ));
    // It was dropped nevertheless, for the next request.
    assert_eq!(permit.token().await.unwrap().expose(), "CANARY-2");
}

#[tokio::test]
async fn the_same_token_is_no_replacement() {
    let source = Numbered {
        stubborn: true,
        ..Numbered::default()
    };
    let authorizer = Authorizer::builder(Arc::new(source))
        .allow_origin("https://api.example")
        .build();
    let mut permit = permit(&authorizer.unwrap(), "https://api.example")
        .unwrap()
        .unwrap();
    let token = permit.token().await.unwrap();
    assert!(matches!(
        unauthorized(&mut permit, &token),
        Decision::Retry(_)
    ));
    assert!(permit.replacement(&token).await.unwrap().is_none());
}

// covers: C-20
#[tokio::test]
async fn a_token_that_takes_a_proof_is_not_used_without_one() {
    let source = Numbered {
        kind: Some(TokenType::Dpop),
        ..Numbered::default()
    };
    let authorizer = Authorizer::builder(Arc::new(source))
        .allow_origin("https://api.example")
        .build();
    let permit = permit(&authorizer.unwrap(), "https://api.example")
        .unwrap()
        .unwrap();
    let error = permit.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("DPoP") && !error.to_string().contains("CANARY"),
        "{error}"
    );
}

// covers: F-99
#[tokio::test]
async fn nothing_of_it_shows_a_token() {
    let builder = builder().allow_origin("https://api.example").name("orders");
    let text = format!("{builder:?}");
    let authorizer = builder.build().unwrap();
    let mut permit = permit(&authorizer, "https://api.example").unwrap().unwrap();
    let token = permit.token().await.unwrap();
    let decision = unauthorized(&mut permit, &token);
    let text = format!("{text} {authorizer:?} {permit:?} {decision:?}");
    assert!(
        text.contains("orders") && text.contains("https://api.example"),
        "{text}"
    );
    assert!(
        token.expose().contains("CANARY") && !text.contains("CANARY"),
        "{text}"
    );
}
