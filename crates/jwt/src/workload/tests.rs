use hallpass_core::ErrorKind;
use hallpass_testkit::{ManualClock, RotatingSecret, leak};
use proptest::prelude::*;

use super::*;
use crate::verify::{ID, prove};

/// Returns a JWT that expires at the `ManualClock`'s start.
fn jwt() -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = part(r#"{"sub":"system:serviceaccount:a:b","exp":1767225600}"#);
    format!(
        "{}.{claims}.{}",
        part(r#"{"alg":"RS256"}"#),
        part("CANARY-signature")
    )
}

// covers: C-44
#[tokio::test]
async fn each_platforms_form_is_read_for_each_attempt() {
    let file = RotatingSecret::new("first.as.kubernetes");
    let authentication = WorkloadIdentity::new(file.clone());
    assert_eq!(authentication.method(), Some("private_key_jwt"));
    for (written, sent) in [
        ("first.as.kubernetes", "first.as.kubernetes"),
        ("again.as.spiffe\n", "again.as.spiffe"),
        (r#"{"count":1,"value":"then.as.github"}"#, "then.as.github"),
    ] {
        file.rotate(written);
        let credentials = prove(&authentication).await.unwrap();
        let parameters: Vec<_> = credentials.expose_parameters().collect();
        assert_eq!(
            parameters,
            [
                ("client_id", ID),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                ),
                ("client_assertion", sent),
            ]
        );
        authentication.refused(&credentials);
    }
    assert_eq!(
        (file.reads(), file.refusals(), authentication.epoch()),
        (3, 3, 3)
    );
}

// covers: C-46
#[tokio::test]
async fn the_client_id_can_be_omitted() {
    let authentication = WorkloadIdentity::new(RotatingSecret::new("a.b.c")).without_client_id();
    let credentials = prove(&authentication).await.unwrap();
    let names: Vec<_> = credentials
        .expose_parameters()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["client_assertion_type", "client_assertion"]);
}

// covers: F-99, F-100
#[tokio::test]
async fn an_invalid_jwt_is_refused_and_not_shown() {
    for wrong in [
        "CANARY",
        "CANARY.b",
        "CANARY..c",
        "a.b.c.CANARY",
        "a.b.CANARY=",
        "a.b c.CANARY",
        "a.b.c\na.b.CANARY",
        r#"{"value":"CANARY"}"#,
        r#"{"value":17,"CANARY":1}"#,
        r#"{"token":"a.b.CANARY"}"#,
        "{CANARY",
    ] {
        let authentication = WorkloadIdentity::new(RotatingSecret::new(wrong));
        let error = prove(&authentication).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{wrong}");
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
    }
    let authentication = WorkloadIdentity::new(RotatingSecret::new(&jwt()));
    let credentials = prove(&authentication).await.unwrap();
    leak::assert_clean(
        &format!("{authentication:?} {credentials:?}"),
        "CANARY-signature",
    );
}

#[test]
fn an_expired_assertion_is_reported_as_expired() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(90));
    assert_eq!(expired(&jwt(), clock.wall()), Some(Duration::from_secs(90)));
    clock.set_wall(clock.wall() - Duration::from_secs(91));
    assert_eq!(expired(&jwt(), clock.wall()), None);
    for unreadable in ["a.b.c", "a.e30.c", "a.eyJleHAiOi0xfQ.c"] {
        assert_eq!(expired(unreadable, clock.wall()), None);
    }
}

proptest! {
    #[test]
    fn the_reader_does_not_panic(text in any::<String>(), claims in any::<Vec<u8>>()) {
        let _ = extract(&text);
        let jwt = format!("a.{}.c", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let _ = expired(&jwt, UNIX_EPOCH);
    }
}

#[tokio::test]
async fn a_digest_follows_the_assertion() {
    let text = hallpass_testkit::RotatingSecret::new("e30.e30.b25l");
    let authentication = WorkloadIdentity::new(text.clone());
    let digest = authentication.digest("orders").await;
    assert!(digest.is_some());
    assert_ne!(authentication.digest("billing").await, digest);
    assert_ne!(
        authentication
            .clone()
            .without_client_id()
            .digest("orders")
            .await,
        digest
    );
    text.rotate("e30.e30.b3RoZXI");
    assert_ne!(authentication.digest("orders").await, digest);
}
