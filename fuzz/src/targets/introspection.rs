//! Introspection responses (RFC 7662): each member is the one that `serde_json` finds, and no name is shown.

use std::time::{Duration, UNIX_EPOCH};

use hallpass_endpoint::{Endpoint, Introspection, Retry, TokenManagement};
use hallpass_testkit::leak;
use serde_json::{Map, Value};

use crate::{
    seeds,
    support::{
        CLIENT_ID, Response, TOKEN, TOKEN_ENDPOINT, assert_hidden, assert_unambiguous,
        authentication, check_token_error, serve, token, transport, unambiguous_object,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "\"active\":true",
    "\"scope\"",
    "\"client_id\"",
    "\"username\"",
    "\"token_type\"",
    "\"exp\"",
    "\"iat\"",
    "\"nbf\"",
    "\"sub\"",
    "\"aud\"",
    "\"iss\"",
    "\"jti\"",
    "\"cnf\"",
    "\"authorization_details\":[{\"type\":\"a\"}]",
    "\"error\"",
    "\\u0061ctive",
    "s3cr3t-CANARY",
    "1e300",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = [
        "crates/endpoint/src/management/introspection.rs",
        "tests/stories/management_responses.rs",
    ];
    let mut seeds = seeds::of_literals(&files, &[]);
    for name in [
        "client_id",
        "username",
        "token_type",
        "sub",
        "iss",
        "jti",
        "aud",
        "scope",
    ] {
        seeds.extend(["", " ", "a b"].map(|text| {
            let json = serde_json::json!({ "active": true, name: text });
            json.to_string().into_bytes()
        }));
    }
    let complete = r#"{"active":true,"scope":"a","client_id":"c","username":"u","token_type":"t","exp":1,"iat":0,
        "nbf":1099511627775,"sub":"s","aud":"a","iss":"i","jti":"j","x_a":[{}]}"#;
    seeds.push(complete.as_bytes().to_vec());
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let endpoint = Endpoint::new(TOKEN_ENDPOINT)
        .with_introspection_endpoint("https://login.example/introspect");
    let tokens = TokenManagement::builder(endpoint, CLIENT_ID, authentication());
    let tokens = tokens.transport(transport(false)).retry(Retry::never());
    let tokens = tokens.build().unwrap();
    let response = Response::json(bytes);
    let token = token(TOKEN);
    let (result, _) = serve(move |_| response.clone(), tokens.introspect(&token));
    if unambiguous_object(bytes).is_some_and(|object| is_valid(&object)) {
        assert!(result.is_ok(), "{result:?}");
    }
    match result {
        Ok(known) => agrees(&known, bytes),
        Err(error) => {
            check_token_error(&error);
            assert_hidden(&leak::error_chain(&error), TOKEN);
        }
    }
}

/// Returns true if no reader could refuse this response (RFC 7662 section 2.2).
pub(super) fn is_valid(object: &Map<String, Value>) -> bool {
    object.iter().all(|(name, value)| match &**name {
        "active" => value.is_boolean(),
        "exp" | "iat" | "nbf" => value.as_u64().is_some_and(|seconds| seconds < 1 << 40),
        "scope" | "client_id" | "username" | "token_type" | "sub" | "aud" | "iss" | "jti" => {
            let text = value.as_str().unwrap_or_default();
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
        }
        name => name.starts_with("x_"),
    }) && object.contains_key("active")
}

/// Compares an introspection with the JSON that it was read from.
pub(super) fn agrees(known: &Introspection, json: &[u8]) {
    // Numbers beyond a double are valid in members that are not read.
    let Ok(value) = serde_json::from_slice::<Value>(json) else {
        return;
    };
    let names = [
        "active",
        "scope",
        "client_id",
        "exp",
        "nbf",
        "sub",
        "iss",
        "aud",
    ];
    assert_unambiguous(json, &names);
    assert_eq!(value["active"].as_bool(), Some(known.is_active()));
    let scope = value["scope"].as_str().unwrap_or_default();
    assert_eq!(scope.parse(), Ok(known.scopes().clone()));
    for (name, text) in [
        ("client_id", known.client_id()),
        ("username", known.username()),
        ("token_type", known.token_type()),
        ("sub", known.subject()),
        ("iss", known.issuer()),
        ("jti", known.token_id()),
    ] {
        assert_eq!(value[name].as_str(), text, "{name}");
    }
    for (name, time) in [
        ("exp", known.expires_at()),
        ("iat", known.issued_at()),
        ("nbf", known.not_before()),
    ] {
        let since = value[name].as_f64();
        let since = since.and_then(|since| Duration::try_from_secs_f64(since).ok());
        assert_eq!(
            since.and_then(|since| UNIX_EPOCH.checked_add(since)),
            time,
            "{name}"
        );
    }
    let audiences: Vec<&str> = match &value["aud"] {
        Value::Array(list) => list.iter().map(|one| one.as_str().unwrap()).collect(),
        one => one.as_str().into_iter().collect(),
    };
    assert!(known.audiences().eq(audiences));
    for (name, member) in value.as_object().unwrap() {
        let json = known.member(name).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(json).ok().as_ref(),
            Some(member)
        );
    }
    match known.authorization_details() {
        Ok(Some(details)) => assert!(details.as_str().parse() == Ok(details)),
        Ok(None) => {}
        Err(error) => check_token_error(&error),
    }
    // The name of a person is not shown, unless a shown member repeats it.
    let name = known.username().filter(|name| name.contains("CANARY"));
    let count = String::from_utf8_lossy(json).matches("CANARY").count();
    assert!(name.is_none() || count > 1 || !format!("{known:?}").contains("CANARY"));
}
