use std::time::Duration;

use http::HeaderValue;

use super::*;
use crate::{Clock as _, SystemClock};

const TOKEN: &str = "CANARY-0123456789";

#[derive(Debug, PartialEq)]
enum Is {
    Nothing,
    TokenRefused,
    CallRefused,
}

fn read(status: u16, headers: &[(&'static str, &str)]) -> (Is, Option<ApiRefusal>) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let token = AccessToken::bearer(TOKEN, SystemClock.moment(), Duration::from_secs(60)).unwrap();
    let status = StatusCode::from_u16(status).unwrap();
    match ApiRefusal::read(&token, status, &map) {
        Reading::Nothing => (Is::Nothing, None),
        Reading::TokenRefused(refusal) | Reading::TokenReplaced(refusal) => {
            (Is::TokenRefused, Some(refusal))
        }
        Reading::CallRefused(refusal) => (Is::CallRefused, Some(refusal)),
    }
}

fn challenged(status: u16, challenges: &[&str]) -> (Is, Option<ApiRefusal>) {
    let headers: Vec<_> = challenges
        .iter()
        .map(|line| ("www-authenticate", *line))
        .collect();
    read(status, &headers)
}

// covers: C-35, C-36
#[test]
fn the_challenge_decides_whether_another_token_may_help() {
    for (status, challenges, expect) in [
        (401, &[][..], Is::TokenRefused),
        (401, &["Bearer"], Is::TokenRefused),
        (401, &[r#"Bearer realm="api""#], Is::TokenRefused),
        (401, &[r#"BEARER error="invalid_token""#], Is::TokenRefused),
        (401, &["Basic realm=x", "Bearer realm=x"], Is::TokenRefused),
        (
            401,
            &["Bearer realm=x", "Bearer error=invalid_token"],
            Is::TokenRefused,
        ),
        (
            401,
            &["Bearer realm=x, Bearer error=invalid_request"],
            Is::CallRefused,
        ),
        (401, &[r#"Bearer error="invalid_request""#], Is::CallRefused),
        (
            401,
            &[r#"Bearer error="insufficient_scope""#],
            Is::CallRefused,
        ),
        (401, &["Basic realm=x"], Is::CallRefused),
        (401, &["\"unreadable"], Is::TokenRefused),
        (403, &[], Is::Nothing),
        (403, &["Basic realm=x"], Is::Nothing),
        (
            403,
            &[r#"Bearer error="insufficient_scope""#],
            Is::CallRefused,
        ),
        (403, &[r#"Bearer error="invalid_token""#], Is::CallRefused),
        (400, &[r#"Bearer error="invalid_token""#], Is::Nothing),
        (407, &[r#"Bearer error="invalid_token""#], Is::Nothing),
        (200, &[r#"Bearer error="invalid_token""#], Is::Nothing),
        (302, &[], Is::Nothing),
        (500, &[], Is::Nothing),
    ] {
        assert_eq!(
            challenged(status, challenges).0,
            expect,
            "{status} {challenges:?}"
        );
    }
}

// covers: C-35
#[test]
fn only_a_refused_bearer_token_calls_for_another_one() {
    for (challenges, expect) in [
        (&[][..], true),
        (&["Bearer realm=x"], true),
        (&["Bearer error=invalid_token"], true),
        (&["Basic realm=x", "Bearer error=invalid_token"], true),
        (&["Bearer error=invalid_request"], false),
        (&["Basic realm=x"], false),
        (&["DPoP error=invalid_token"], false),
    ] {
        let lines = challenges.iter().map(|line| HeaderValue::from_static(line));
        let headers = lines.map(|line| (http::header::WWW_AUTHENTICATE, line));
        let refuses = ApiRefusal::refuses_bearer_token(&headers.collect::<HeaderMap>());
        assert_eq!(refuses, expect, "{challenges:?}");
    }
}

// covers: C-35
#[test]
fn grpc_says_it_in_a_header_of_its_own() {
    let grpc = ("content-type", "application/grpc+proto");
    assert_eq!(
        read(200, &[grpc, ("grpc-status", "16")]).0,
        Is::TokenRefused
    );
    assert_eq!(read(200, &[grpc, ("grpc-status", "7")]).0, Is::Nothing);
    assert_eq!(read(200, &[grpc]).0, Is::Nothing);
    let json = ("content-type", "application/json");
    assert_eq!(read(200, &[json, ("grpc-status", "16")]).0, Is::Nothing);
}

// covers: C-36
#[test]
fn required_scopes_are_reported() {
    let line =
        r#"Bearer error="insufficient_scope", scope="b a", error_description="ask for \"b\"""#;
    let refusal = challenged(403, &[line]).1.unwrap();
    assert!(refusal.is_insufficient_scope());
    assert_eq!(refusal.scope().unwrap().as_str(), "a b");
    assert_eq!(
        refusal.to_string(),
        "the API refused the token: `insufficient_scope`, \"ask for \\u{22}b\\u{22}\", it requires the scopes `a b` (HTTP 403)"
            .replace("\\u{22}", "\"")
    );
    let odd = challenged(403, &[r#"Bearer error="insufficient_scope", scope="a\\b""#])
        .1
        .unwrap();
    assert_eq!(odd.scope(), None);
}

// covers: F-33, F-99, F-100
#[test]
fn what_the_api_wrote_is_escaped_cut_and_without_the_token() {
    let echo = format!(
        r#"Bearer error="{TOKEN}", error_description="the token {TOKEN} is unknown", scope="{TOKEN}""#
    );
    let refusal = challenged(403, &[&echo]).1.unwrap();
    let shown = format!("{refusal} {refusal:?} {refusal:#?}");
    assert!(
        echo.contains("CANARY") && !shown.contains("CANARY"),
        "{shown}"
    );

    let long = format!(
        "Bearer error=x, error_description=\"{}\"",
        "y".repeat(4_000)
    );
    assert_eq!(
        challenged(401, &[&long])
            .1
            .unwrap()
            .description()
            .unwrap()
            .len(),
        256 + 3
    );
    let steered = challenged(401, &["Bearer error=x, error_description=\"a\tb\""])
        .1
        .unwrap();
    assert_eq!(steered.description(), Some("a\\u{9}b"));
}
