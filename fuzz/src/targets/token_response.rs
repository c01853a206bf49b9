//! Token responses (RFC 6749 section 5.1), as JSON and as a form, with each setting: a token is the one that
//! `serde_json` finds, within its limits, and no error shows a secret or a token.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use hallpass_core::{
    AccessToken, Clock as _, TokenError, TokenRequest, TokenSource as _, TokenType,
};
use hallpass_endpoint::{ClientCredentials, ExpiryFormat, Retry};
use hallpass_testkit::{ManualClock, leak};
use http::{HeaderValue, header};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::{
    seeds,
    support::{
        CANARY, CLIENT_ID, Response, TOKEN, TOKEN_ENDPOINT, assert_hidden, assert_unambiguous,
        authentication, check_token_error, serve, settings, transport, unambiguous_object,
        without_mark,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "\"access_token\"",
    "\"token_type\"",
    "\"Bearer\"",
    "\"DPoP\"",
    "\"N_A\"",
    "\"BearerToken\"",
    "\"expires_in\"",
    "\"refresh_in\"",
    "\"refresh_token\"",
    "\"id_token\"",
    "\"scope\"",
    "\"error\"",
    "\"error_description\"",
    "\"data\"",
    "\"until\"",
    "access_token=",
    "&token_type=bearer",
    "&expires_in=60",
    "error=invalid_client",
    "\\u0061ccess_token",
    "s3cr3t-CANARY",
    "t0k3n-CANARY",
    "2026-01-01T01:00:00Z",
    "18446744073709551615",
    "1e400",
    "-1",
    "null",
    "\u{feff}",
];

const LENIENT: u8 = 1;
const ELSEWHERE: u8 = 2;
const EXPIRY: u8 = 4;
const GZIP: u8 = 8;
const SCOPE: u8 = 16;
const NAMED_TYPE: u8 = 32;
const TEXT: u8 = 64;

const POINTERS: [&str; 4] = ["/data/jwt", "/id_token", "/0/t", "/data/list/0"];
const EXPIRIES: [(&str, ExpiryFormat); 5] = [
    ("/data/until", ExpiryFormat::Seconds),
    ("/until", ExpiryFormat::Milliseconds),
    ("/until", ExpiryFormat::UnixSeconds),
    ("/data/until", ExpiryFormat::UnixMilliseconds),
    ("/until", ExpiryFormat::Rfc3339),
];

/// The other members with a meaning; all that remain are extra members.
const DROPPED: [&str; 4] = [
    "error_description",
    "error_uri",
    "refresh_token",
    "id_token",
];

/// The members that decide about a token.
const MEMBERS: [&str; 6] = [
    "access_token",
    "token_type",
    "expires_in",
    "refresh_in",
    "scope",
    "error",
];

const MAX_TOKEN_BYTES: usize = 32 << 10;
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let cases = seeds::cases().responses.into_iter();
    let bodies = seeds::faults()
        .into_iter()
        .chain(cases)
        .map(|response| response.body);
    let literals = [
        "tests/stories/presets/scripts.rs",
        "crates/endpoint/src/response/layout.rs",
    ];
    let literals = seeds::of_literals(&literals, &[]);
    let twice = MEMBERS.map(|name| {
        let member = format!("\"{name}\":null");
        let body = r#"{"access_token":"t","token_type":"Bearer","expires_in":60,"scope":"a"}"#;
        body.replacen('{', &format!("{{{member},{member},"), 1)
            .into_bytes()
    });
    let lifetimes = [
        "4294967356",
        "18446744073709551615",
        "99999999999999999999",
        "\"4294967356\"",
        "\"99999999999999999999\"",
        "60.9",
        "60,\"refresh_in\":90",
    ];
    let lifetimes = lifetimes.map(|seconds| {
        let head = r#"{"access_token":"t","token_type":"Bearer","expires_in":"#;
        format!("{head}{seconds}}}").into_bytes()
    });
    let tokens = ["=", "a==", "a=b", "a b", "a,b", "\u{e4}"].map(|token| {
        let tail = r#","token_type":"Bearer","expires_in":60}"#;
        format!("{{\"access_token\":\"{token}\"{tail}").into_bytes()
    });
    let lengths = [MAX_TOKEN_BYTES, MAX_TOKEN_BYTES + 1].map(|length| {
        let tail = r#"","token_type":"Bearer","expires_in":60}"#;
        let token = "A".repeat(length);
        format!("{{\"access_token\":\"{token}{tail}").into_bytes()
    });
    let valid = [
        r#"{"access_token":"-._~+/09azAZ==","token_type":"bearer","refresh_in":30,"scope":"a","tenant":{"id":[1]}}"#,
        r#"{"access_token":"t","token_type":"BEARER","expires_in":60,"refresh_in":60,"a":null,"b":0}"#,
    ];
    let form = "access_token=t&token_type=bearer&expires_in=60&scope=a+b";
    let members = form.split('&').map(|member| member.split('=').next());
    let forms = members.map(|name| format!("{form}&{}=1", name.unwrap_or_default()).into_bytes());
    let bodies: Vec<_> = bodies
        .chain(literals)
        .chain(twice)
        .chain(lifetimes)
        .chain(tokens)
        .chain(lengths)
        .chain(valid.map(|body| body.as_bytes().to_vec()))
        .chain([form.as_bytes().to_vec()])
        .chain(forms)
        .collect();
    let with = |settings: [u8; 2]| {
        bodies
            .iter()
            .map(move |body| [&settings, body.as_slice()].concat())
    };
    with([SCOPE, 0])
        .chain(with([LENIENT | ELSEWHERE | EXPIRY, 0]))
        .chain(with([LENIENT | TEXT | GZIP, 0]))
        .chain(with([LENIENT, 0]))
        .chain(elsewhere())
        .collect()
}

/// Returns responses with the token or its expiry in another place, in each format.
fn elsewhere() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let now = 1_767_225_600_u64;
    let untils = [
        json!(60),
        json!("60"),
        json!(60_500),
        json!(now + 60),
        json!(now - 60),
        json!((now + 60) * 1_000 + 500),
        json!("2026-01-01T00:01:00Z"),
        json!("2025-12-31T23:59:00Z"),
    ];
    for choice in 0..u8::try_from(EXPIRIES.len()).unwrap() {
        for until in &untils {
            let body = json!({
                "access_token": "t", "token_type": "Bearer", "until": until, "data": { "until": until },
            });
            seeds.push([&[EXPIRY, choice << 3], body.to_string().as_bytes()].concat());
        }
    }
    let token = json!({ "t": "t", "jwt": "t", "list": ["t"], "token_type": "Bearer" });
    let mut body =
        json!({ "data": token, "id_token": "t", "access_token": "x", "token_type": "Bearer" });
    for choice in 0..u8::try_from(POINTERS.len()).unwrap() {
        for error in [json!(null), json!("invalid_client")] {
            body["error"] = error;
            seeds.push([&[ELSEWHERE, choice], body.to_string().as_bytes()].concat());
        }
        let list = json!([token]).to_string();
        seeds.push([&[ELSEWHERE, choice], list.as_bytes()].concat());
    }
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (flags, bytes) = settings(bytes);
    let (choice, body) = settings(bytes);
    let has = |flag: u8| flags & flag != 0;
    let pointer = has(ELSEWHERE).then(|| POINTERS[usize::from(choice) % POINTERS.len()]);
    let expiry = has(EXPIRY).then(|| EXPIRIES[usize::from(choice >> 3) % EXPIRIES.len()]);

    let clock = ManualClock::new();
    let mut source = ClientCredentials::builder(TOKEN_ENDPOINT, CLIENT_ID, authentication())
        .transport(transport(has(GZIP)))
        .retry(Retry::never())
        .clock(clock.clone());
    if has(LENIENT) {
        source = source.lenient_responses();
    }
    if let Some(pointer) = pointer {
        source = source.token_member(pointer);
    }
    if let Some((pointer, format)) = expiry {
        source = source.expiry_member(pointer, format);
    }
    if has(SCOPE) {
        source = source.scope("a b");
    }
    if has(NAMED_TYPE) {
        source = source.token_type_name("jwt");
    }
    let source = source.build().unwrap();

    let mut response = Response::json(body);
    if has(TEXT) {
        let text = HeaderValue::from_static("text/plain");
        response.headers.insert(header::CONTENT_TYPE, text);
    }
    if has(GZIP) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(body).unwrap();
        response.body = gzip.finish().unwrap();
    }
    let request = TokenRequest::default();
    let (result, requests) = serve(move |_| response.clone(), source.token(&request));
    assert_eq!(requests.len(), 1);
    let value = serde_json::from_slice::<Value>(without_mark(body)).ok();
    let is_default = pointer.is_none() && expiry.is_none() && (has(LENIENT) || !has(TEXT));
    let object = unambiguous_object(without_mark(body));
    if let Some(object) = object.filter(|object| is_default && is_valid(object)) {
        assert_complete(result.as_ref().unwrap(), &object);
    }
    match &result {
        Ok(token) => {
            accepted(token, value.as_ref(), flags, pointer, expiry);
            if pointer.is_none() {
                assert_unambiguous(without_mark(body), &MEMBERS);
            }
            if serde_json::from_slice::<IgnoredAny>(without_mark(body)).is_err() {
                assert!(has(LENIENT) && pointer.is_none());
                of_form(token, body, has(SCOPE), expiry.is_some());
            }
            assert!(!token.is_expired(clock.now()) || token.lifetime().is_zero());
        }
        Err(error) => refused(error, body, value.as_ref()),
    }
}

fn accepted(
    token: &AccessToken,
    value: Option<&Value>,
    flags: u8,
    pointer: Option<&str>,
    expiry: Option<(&str, ExpiryFormat)>,
) {
    let has = |flag: u8| flags & flag != 0;
    assert!(has(LENIENT) || is_b64token(token.expose()));
    assert_eq!(token.token_type(), TokenType::Bearer);
    assert!(token.lifetime() <= DAY && token.expose().len() <= MAX_TOKEN_BYTES);
    assert!(
        token
            .refresh_in()
            .is_none_or(|advice| advice <= token.lifetime())
    );
    if token.expose().contains("CANARY") {
        // The scopes and the names of members are shown.
        let named = token.scopes().as_str().contains("CANARY")
            || token
                .extra_members()
                .any(|(name, _)| name.contains("CANARY"));
        assert!(named || !format!("{token:?}").contains("CANARY"));
    }
    let requested = if has(SCOPE) { "a b" } else { "" };
    let Some(value) = value else {
        // A form, or a number that no double holds.
        return assert!(has(LENIENT) || token.extra_members().next().is_some());
    };
    if !value.is_object() && pointer.is_none() {
        return assert!(has(LENIENT));
    }
    let found = value.pointer(pointer.unwrap_or("/access_token"));
    assert_eq!(found.and_then(Value::as_str), Some(token.expose()));
    let object = match pointer.and_then(|pointer| pointer.rsplit_once('/')) {
        Some((parent, _)) => value.pointer(parent).unwrap(),
        None => value,
    };
    assert!(object["error"].is_null() && value["error"].is_null());
    match object["scope"].as_str() {
        Some(scope) => assert_eq!(scope.parse(), Ok(token.scopes().clone())),
        None => assert_eq!(token.scopes().as_str(), requested),
    }
    match object["token_type"].as_str() {
        Some(name) => {
            let fit = name.eq_ignore_ascii_case("bearer")
                || has(NAMED_TYPE) && name.eq_ignore_ascii_case("jwt")
                || has(LENIENT) && name.eq_ignore_ascii_case("bearertoken");
            assert!(fit, "{name}");
        }
        None => assert!(has(LENIENT)),
    }
    if let Some((pointer, format)) = expiry {
        let lifetime = lifetime(value.pointer(pointer).unwrap(), format);
        assert!(lifetime.is_none_or(|lifetime| lifetime.min(DAY) == token.lifetime()));
    } else {
        let lifetime = match &object["expires_in"] {
            Value::Null => Some(Duration::from_secs(300)),
            other => number(other).map(Duration::from_secs),
        };
        assert_eq!(
            lifetime.map(|lifetime| lifetime.min(DAY)),
            Some(token.lifetime())
        );
    }
    for (name, json) in token.extra_members() {
        assert_eq!(
            serde_json::from_str::<Value>(json).ok().as_ref(),
            object.get(name)
        );
    }
}

/// Returns true if no reader could refuse this response (RFC 6749 section 5.1).
fn is_valid(object: &Map<String, Value>) -> bool {
    let text = |name| object.get(name).and_then(Value::as_str);
    let is_absent = |name| object.get(name).is_none_or(Value::is_null);
    let is_whole = |name| is_absent(name) || object[name].is_u64();
    let is_simple = |scope: &str| scope.bytes().all(|byte| byte.is_ascii_lowercase());
    text("access_token").is_some_and(|token| token.len() <= MAX_TOKEN_BYTES && is_b64token(token))
        && text("token_type").is_some_and(|name| name.eq_ignore_ascii_case("bearer"))
        && is_whole("expires_in")
        && is_whole("refresh_in")
        && (is_absent("scope")
            || text("scope").is_some_and(|scope| !scope.is_empty() && is_simple(scope)))
        && is_absent("error")
}

/// Returns true for the text of a bearer token (RFC 6750 section 2.1).
fn is_b64token(token: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(is_legal)
}

/// Compares a token with all of its response, which is valid.
fn assert_complete(token: &AccessToken, object: &Map<String, Value>) {
    let advice = object.get("refresh_in").and_then(Value::as_u64);
    let advice = advice.map(|seconds| Duration::from_secs(seconds).min(token.lifetime()));
    assert_eq!(token.refresh_in(), advice);
    let names = object.keys().map(String::as_str);
    let names = names.filter(|name| !MEMBERS.contains(name) && !DROPPED.contains(name));
    let found = token.extra_members().map(|(name, _)| name);
    assert_eq!(found.collect::<BTreeSet<_>>(), names.collect());
}

/// Returns a number without its fraction, or the digits of a text.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(text.parse().unwrap_or(u64::MAX))
        }
        // The cast truncates and saturates.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        value => value
            .as_u64()
            .or_else(|| Some(value.as_f64().filter(|number| *number >= 0.0)? as u64)),
    }
}

/// Returns the lifetime of a token with this expiry; `None` for a date.
fn lifetime(value: &Value, format: ExpiryFormat) -> Option<Duration> {
    let now = ManualClock::new().wall();
    let since = |length: Duration| (UNIX_EPOCH + length).duration_since(now).unwrap();
    Some(match format {
        ExpiryFormat::Seconds => Duration::from_secs(number(value).unwrap()),
        ExpiryFormat::Milliseconds => Duration::from_millis(number(value).unwrap()),
        ExpiryFormat::UnixSeconds => since(Duration::from_secs(number(value).unwrap())),
        ExpiryFormat::UnixMilliseconds => since(Duration::from_millis(number(value).unwrap())),
        _ => return None,
    })
}

/// Compares a token with the form that it was read from, in which each of its members is there once.
fn of_form(token: &AccessToken, body: &[u8], has_scope: bool, has_expiry: bool) {
    let decode = |part: &[u8]| {
        let spaces: Vec<u8> = part
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        let decoded: Vec<u8> = percent_encoding::percent_decode(&spaces).collect();
        String::from_utf8_lossy(&decoded).into_owned()
    };
    let mut found = BTreeMap::new();
    for member in body.trim_ascii().split(|byte| *byte == b'&') {
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        let mut next = || decode(parts.next().unwrap_or_default());
        let (name, value) = (next(), next());
        if MEMBERS.contains(&&*name) {
            assert!(found.insert(name.clone(), value).is_none(), "{name}");
        }
    }
    let text = |name: &str| found.get(name).map(String::as_str);
    assert_eq!(text("access_token"), Some(token.expose()));
    assert!(text("error").is_none_or(str::is_empty));
    match text("scope") {
        Some(scope) => assert_eq!(scope.parse(), Ok(token.scopes().clone())),
        None => assert_eq!(token.scopes().as_str(), if has_scope { "a b" } else { "" }),
    }
    if let (Some(seconds), false) = (text("expires_in"), has_expiry) {
        let seconds = seconds.parse().unwrap_or(u64::MAX);
        assert_eq!(token.lifetime(), Duration::from_secs(seconds).min(DAY));
    }
}

fn refused(error: &TokenError, body: &[u8], value: Option<&Value>) {
    check_token_error(error);
    // A token of the response is a secret too, wherever it appears in it.
    let is_token = |name: &str| value.is_some_and(|value| value[name] == TOKEN);
    let once = |name: &str| {
        let text = String::from_utf8_lossy(body);
        text.matches(name).count() == 1
    };
    let names = ["access_token", "refresh_token", "id_token"];
    if names.into_iter().any(|name| is_token(name) && once(name)) {
        assert_hidden(&leak::error_chain(error), TOKEN);
    }
    assert_ne!(CANARY, TOKEN);
}
