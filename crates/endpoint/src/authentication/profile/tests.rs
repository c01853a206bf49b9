use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::ErrorKind;
use http::HeaderValue;
use serde_json::json;

use super::*;
use crate::Metadata;

const ISSUER: &str = "https://bank.example";
const ID: &str = "orders-service";
const NOW: u64 = 1_800_000_000;

fn jws(header: &Value, claims: &Value, signature_len: usize) -> String {
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let (header, claims) = (header.to_string(), claims.to_string());
    let signature = encode(&vec![7; signature_len]);
    format!(
        "{}.{}.{signature}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    )
}

fn claims() -> Value {
    json!({ "iss": ID, "sub": ID, "aud": ISSUER, "jti": "CANARY", "exp": NOW + 60, "iat": NOW - 5 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn signed(claims: &Value) -> Credentials {
    assertion(jws(&json!({ "alg": "ES256" }), claims, 64))
}

fn assertion(text: String) -> Credentials {
    Credentials::parameters([("client_id", ID.to_owned()), ("client_assertion", text)])
}

/// Checks credentials of a request whose tokens are bound by a proof.
fn check_bound(credentials: &Credentials) -> Result<(), TokenError> {
    let metadata = Metadata::from_json(&json!({ "issuer": ISSUER }).to_string()).unwrap();
    let context = AuthenticationContext::new(ID, "https://bank.example/token");
    let context = context.with_metadata(&metadata);
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    check(SecurityProfile::Fapi2, credentials, &context, false, now)
}

fn assert_violated(result: Result<(), TokenError>, section: &str, name: &str) {
    let error = result.expect_err(name);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{name}");
    let text = format!("{error} {error:?}");
    let named = format!("FAPI 2.0 Security Profile, section {section}: ");
    assert!(text.contains(&named), "{name}: {text}");
    assert!(text.contains("nothing was sent"), "{name}: {text}");
    assert!(!text.contains("CANARY"), "{text}");
}

#[test]
fn fapi_checks_the_algorithm_of_any_assertion() {
    for (algorithm, len, fits) in [
        ("ES256", 64, true),
        ("PS256", 256, true),
        ("PS256", 512, true),
        ("EdDSA", 64, true),
        ("Ed25519", 64, true),
        ("RS256", 256, false),
        ("PS384", 256, false),
        ("ES384", 96, false),
        ("HS256", 32, false),
        ("none", 0, false),
        ("es256", 64, false),
        // Ed448.
        ("EdDSA", 114, false),
        ("ES256", 71, false),
    ] {
        let text = jws(&json!({ "alg": algorithm }), &claims(), len);
        let result = check_bound(&assertion(text));
        if fits {
            result.expect(algorithm);
        } else {
            assert_violated(result, "5.4.1", algorithm);
        }
    }
}

#[test]
fn fapi_checks_the_length_of_an_rsa_key() {
    let text = jws(&json!({ "alg": "PS256" }), &claims(), 128);
    let error = check_bound(&assertion(text)).unwrap_err();
    assert!(error.to_string().contains("at least 2048"), "{error}");
}

#[test]
fn fapi_checks_the_audience_of_any_assertion() {
    check_bound(&signed(&claims())).unwrap();
    for audience in [
        json!([ISSUER]),
        json!([ISSUER, "https://bank.example/token"]),
        json!("https://bank.example/token"),
        json!("https://bank.example/"),
        json!("https://other.example"),
        json!(7),
        json!(null),
    ] {
        let result = check_bound(&signed(&with("aud", audience.clone())));
        assert_violated(result, "5.3.3.1", &audience.to_string());
    }
}

#[test]
fn fapi_checks_the_claims_of_any_assertion() {
    let late = json!(NOW + 301);
    for (name, value) in [
        ("iss", json!("other")),
        ("sub", json!("other")),
        ("iss", json!(null)),
        ("jti", json!("")),
        ("jti", json!(null)),
        ("exp", json!(null)),
        ("exp", json!("1800000060")),
        ("exp", json!(NOW)),
        ("exp", late),
        ("exp", json!(u64::MAX)),
        ("iat", json!(NOW + 11)),
        ("nbf", json!(NOW + 11)),
    ] {
        let result = check_bound(&signed(&with(name, value.clone())));
        assert_violated(result, "5.3.3.1", &format!("{name}: {value}"));
    }
    for (name, value) in [
        ("exp", json!(NOW + 300)),
        ("iat", json!(NOW + 10)),
        ("iat", json!(null)),
        ("nbf", json!(NOW)),
        ("more", json!({ "is": "ignored" })),
    ] {
        check_bound(&signed(&with(name, value))).expect(name);
    }
    for text in ["", "a.b", "e30.e30.", "a.b.c.d", "CANARY"] {
        let result = check_bound(&assertion(text.to_owned()));
        assert_violated(result, "5.3.3.1", text);
    }
}

#[test]
fn fapi_refuses_credentials_of_other_methods() {
    for (name, credentials) in [
        (
            "header",
            Credentials::authorization(HeaderValue::from_static("Basic CANARY")),
        ),
        (
            "secret",
            Credentials::parameters([("client_id", ID), ("client_secret", "CANARY")]),
        ),
        ("none", Credentials::parameters([("client_id", ID)])),
        ("sent again", signed(&claims()).repeatable()),
        (
            "two assertions",
            Credentials::parameters(
                ["CANARY", &jws(&json!({ "alg": "ES256" }), &claims(), 64)]
                    .map(|text| ("client_assertion", text.to_owned())),
            ),
        ),
    ] {
        assert_violated(check_bound(&credentials), "5.3.3.1", name);
    }
}

#[test]
fn fapi_refuses_an_assertion_without_discovery() {
    let context = AuthenticationContext::new(ID, "https://bank.example/token");
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let credentials = signed(&claims());
    let result = check(SecurityProfile::Fapi2, &credentials, &context, false, now);
    assert_violated(result, "5.3.3.1", "no metadata");
}

#[test]
fn fapi_refuses_tokens_that_nothing_binds() {
    let metadata = |binds: Value| {
        let metadata =
            json!({ "issuer": ISSUER, "tls_client_certificate_bound_access_tokens": binds });
        Metadata::from_json(&metadata.to_string()).unwrap()
    };
    let identity = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([ID.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        crate::ClientIdentity::from_pem(&(certificate + &key.serialize_pem())).unwrap()
    };
    let certified = || Credentials::parameters([("client_id", ID)]).with_identity(identity());
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let bind = |credentials: Credentials, metadata: &Metadata| {
        let context = AuthenticationContext::new(ID, "https://bank.example/token");
        let context = context.with_metadata(metadata);
        check(SecurityProfile::Fapi2, &credentials, &context, true, now)
    };
    let binds = metadata(json!(true));
    bind(certified(), &binds).unwrap();
    bind(signed(&claims()).with_identity(identity()), &binds).unwrap();
    assert_violated(bind(signed(&claims()), &binds), "5.3.3.1", "no certificate");
    let unbound = bind(certified().unbound_tokens(), &binds);
    assert_violated(unbound, "5.3.3.1", "unbound");
    for said in [json!(false), json!(null), json!("true")] {
        let result = bind(certified(), &metadata(said.clone()));
        assert_violated(result, "5.3.3.1", &said.to_string());
    }
}
