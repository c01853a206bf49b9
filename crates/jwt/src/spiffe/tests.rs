use std::time::Duration;

use hallpass_core::ErrorKind;
use hallpass_testkit::{ManualClock, RotatingSecret, leak};
use proptest::prelude::*;

use super::*;

const ID: &str = "spiffe://acme.example/orders";
const ISSUER: &str = "https://login.example";

/// Returns an SVID that expires at the `ManualClock`'s start.
fn svid(header: &str, claims: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(claims), part("CANARY"))
}

fn valid(signature: &str) -> String {
    let svid = svid(
        r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#,
        r#"{"sub":"spiffe://acme.example/orders","aud":["https://login.example"],"exp":1767225600,"iat":1767225300}"#,
    );
    let (rest, _) = svid.rsplit_once('.').unwrap();
    format!("{rest}.{signature}")
}

async fn credentials(authentication: &SpiffeJwt) -> Result<Credentials, TokenError> {
    let context = AuthenticationContext::new(ID, "https://login.example/token");
    authentication.credentials(&context).await
}

#[tokio::test]
async fn each_attempt_sends_the_files_current_svid() {
    let file = RotatingSecret::new(&valid("first"));
    let authentication = SpiffeJwt::new(file.clone()).audience(ISSUER);
    for signature in ["first", "second"] {
        // spiffe-helper ends the file without a line break, people with one.
        file.rotate(&format!("{}\n", valid(signature)));
        let credentials = credentials(&authentication).await.unwrap();
        let sent: Vec<_> = credentials.expose_parameters().collect();
        let expected = valid(signature);
        assert_eq!(
            sent,
            [
                ("client_id", ID),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
                ),
                ("client_assertion", expected.as_str()),
            ]
        );
        authentication.refused(&credentials);
    }
    assert_eq!(
        (file.reads(), file.refusals(), authentication.epoch()),
        (2, 2, 2)
    );
    assert_eq!(authentication.method(), Some("spiffe_jwt"));
}

#[tokio::test]
async fn the_client_id_of_an_svid_can_be_omitted() {
    let source = RotatingSecret::new(&valid("s"));
    let authentication = SpiffeJwt::new(source).without_client_id();
    let credentials = credentials(&authentication).await.unwrap();
    let names = credentials.expose_parameters().map(|(name, _)| name);
    assert!(names.eq(["client_assertion_type", "client_assertion"]));
}

#[tokio::test]
async fn an_svid_is_sent_to_its_only_audience() {
    let claims = |aud: &str| format!(r#"{{"sub":"{ID}","exp":1767225600,"aud":{aud}}}"#);
    let sent = |aud: &str, audience| check(&svid(r#"{"alg":"ES256"}"#, &claims(aud)), audience);
    let other = Some("https://other.example");
    for (aud, audience, fits) in [
        (r#""https://login.example""#, Some(ISSUER), true),
        (r#"["https://login.example"]"#, Some(ISSUER), true),
        (r#"["https://login.example"]"#, None, true),
        (r#"["https://login.example"]"#, other, false),
        (r#""https://login.example/""#, Some(ISSUER), false),
        (
            r#"["https://login.example","https://login.example"]"#,
            Some(ISSUER),
            false,
        ),
        (
            r#"["https://login.example","https://b.example"]"#,
            None,
            false,
        ),
        ("[]", Some(ISSUER), false),
        ("[]", None, false),
        ("null", None, false),
        ("7", None, false),
        (r#"[["https://login.example"]]"#, Some(ISSUER), false),
    ] {
        assert_eq!(sent(aud, audience).is_ok(), fits, "{aud} {audience:?}");
    }
}

#[tokio::test]
async fn the_audience_is_the_discovered_issuer() {
    for (issuer, fits) in [(ISSUER, true), ("https://other.example", false)] {
        let metadata = format!(r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/token"}}"#);
        let metadata = Metadata::from_json(&metadata).unwrap();
        let context = AuthenticationContext::new(ID, "https://login.example/token");
        let context = context.with_metadata(&metadata);
        let authentication = SpiffeJwt::new(RotatingSecret::new(&valid("s")));
        let result = authentication.credentials(&context).await;
        assert_eq!(result.is_ok(), fits, "{issuer}");
    }
}

#[tokio::test]
async fn a_hostile_svid_is_refused_and_not_quoted() {
    const CLAIMS: &str =
        r#"{"sub":"spiffe://acme.example/orders","aud":"https://login.example","exp":1767225600}"#;
    const HEADER: &str = r#"{"alg":"ES256"}"#;
    let deep = format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(5_000));
    let mut cases = vec![
        format!("{}\n{}", valid("a"), valid("CANARY")),
        format!("{},{}", valid("a"), valid("CANARY")),
        valid(&"A".repeat(MAX_LEN)),
        svid(&deep, CLAIMS),
    ];
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":["ES256"]}"#,
        r#"{"alg":"ES256","alg":"none"}"#,
        r#"{"alg":"ES256","typ":"CANARY+jwt"}"#,
        r#"{"typ":"JWT"}"#,
        "[]",
        "CANARY",
    ] {
        cases.push(svid(header, CLAIMS));
    }
    for claims in [
        r#"{"aud":"https://login.example","exp":1767225600}"#,
        r#"{"sub":"CANARY","aud":"https://login.example","exp":1767225600}"#,
        r#"{"sub":{"CANARY":1},"aud":"https://login.example","exp":1767225600}"#,
        r#"{"sub":"spiffe://acme.example/orders","aud":"https://login.example"}"#,
        r#"{"sub":"spiffe://acme.example/orders","aud":"https://login.example","exp":"CANARY"}"#,
        r#"{"sub":"spiffe://acme.example/orders","sub":"spiffe://acme.example/CANARY","aud":"https://login.example","exp":1767225600}"#,
        "[]",
        "CANARY",
    ] {
        cases.push(svid(HEADER, claims));
    }
    for case in &cases {
        let authentication = SpiffeJwt::new(RotatingSecret::new(case)).audience(ISSUER);
        let error = credentials(&authentication).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{case:.100}");
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
    }
    // The longest that is sent.
    let signature = "A".repeat(16_384 - valid("").len());
    assert!(check(&valid(&signature), None).is_ok());
    assert!(check(&valid(&format!("{signature}A")), None).is_err());
    // The positive control: the canary is in what is sent, and nowhere else.
    let authentication = SpiffeJwt::new(RotatingSecret::new(&svid(HEADER, CLAIMS)));
    let credentials = credentials(&authentication).await.unwrap();
    let sent = credentials.expose_parameters().last().unwrap().1.to_owned();
    assert!(leak::find(&sent, "CANARY").is_some());
    leak::assert_clean(&format!("{authentication:?} {credentials:?}"), "CANARY");
}

#[tokio::test]
async fn an_expired_svid_is_sent_with_a_hint() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(90));
    let authentication = SpiffeJwt::new(RotatingSecret::new(&valid("s"))).clock(clock);
    let shown = format!("{:?}", credentials(&authentication).await.unwrap());
    assert!(shown.contains("expired 90s ago"), "{shown}");
}

#[tokio::test]
async fn a_digest_follows_the_svid_and_the_method() {
    let digest = async |text: &str| {
        let one = SpiffeJwt::new(RotatingSecret::new(text));
        one.digest(ID).await.unwrap()
    };
    assert_eq!(digest("a.b.c").await, digest("a.b.c").await);
    assert_ne!(digest("a.b.c").await, digest("a.b.d").await);
    let plain = WorkloadIdentity::new(RotatingSecret::new("a.b.c"));
    assert_ne!(digest("a.b.c").await, plain.digest(ID).await.unwrap());
}

#[test]
fn a_spiffe_id_has_a_trust_domain_and_a_path() {
    for id in ["spiffe://a/b", "spiffe://acme.example/ns/Orders_1/x-y.z"] {
        assert!(is_spiffe_id(id), "{id}");
    }
    let long = format!("spiffe://a/{}", "b".repeat(MAX_ID_LEN));
    for other in [
        "",
        "spiffe://",
        "spiffe:///a",
        "spiffe://a",
        "spiffe://a/",
        "spiffe://A/b",
        "spiffe://a//b",
        "spiffe://a/b/",
        "spiffe://a/../b",
        "spiffe://a/b?c",
        "spiffe://a:1/b",
        "https://a/b",
        "spiffe://u@a/b",
        "spiffe://a/%41",
        "SPIFFE://a/b",
        &long,
    ] {
        assert!(!is_spiffe_id(other), "{other}");
    }
}

proptest! {
    #[test]
    fn the_check_does_not_panic(text in any::<String>(), header in any::<Vec<u8>>()) {
        let _ = check(&text, None);
        let _ = check(&format!("{}.e30.c", BASE64_URL_SAFE_NO_PAD.encode(header)), None);
    }
}
