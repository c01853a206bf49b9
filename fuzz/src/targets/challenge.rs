//! The `WWW-Authenticate` header (RFC 9110 section 11.6.1), in one line or in several: bounded, read back from its
//! canonical form, and no refusal shows the token that it repeats.

use std::{fmt::Write as _, sync::Arc};

use hallpass_core::{
    AccessToken, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::{Authorizer, Challenge, Decision, RequestHead, Target},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::WWW_AUTHENTICATE};

use crate::{
    seeds,
    support::{TOKEN, assert_hidden, token},
};

pub(crate) const WORDS: &[&str] = &[
    "Bearer",
    "DPoP",
    "Basic",
    "Negotiate",
    "error=\"",
    "error_description=\"",
    "scope=\"",
    "resource_metadata=\"",
    "algs=\"ES256\"",
    "realm=",
    "invalid_token",
    "insufficient_scope",
    "use_dpop_nonce",
    "t0k3n-CANARY",
    "\\\"",
    "==",
    ", ",
    "\n",
];

const NAMES: [&str; 8] = [
    "algs",
    "charset",
    "error",
    "error_description",
    "error_uri",
    "realm",
    "resource_metadata",
    "scope",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = [
        "crates/core/src/challenge/tests.rs",
        "crates/core/src/refusal/tests.rs",
    ];
    let mut seeds = seeds::of_literals(&files, &[]);
    // One challenge more than is read.
    seeds.extend([", ", "\n"].map(|separator| ["Basic"; 17].join(separator).into_bytes()));
    // More bytes than are read.
    let long = format!("Bearer realm={}", "x".repeat(7_000));
    seeds.push([&*long; 5].join("\n").into_bytes());
    seeds.push(b"Bearer resource_metadata=https://a.example/?b=c, scope=a=b, error=e==".to_vec());
    seeds
}

#[derive(Debug)]
struct NoTokens;

#[async_trait]
impl TokenSource for NoTokens {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Err(TokenError::configuration("no tokens"))
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let challenges = Challenge::all(&headers);
    assert!(challenges.len() <= 16);
    let values = challenges
        .iter()
        .flat_map(|challenge| NAMES.map(|name| challenge.parameter(name)));
    // 8 KiB are read, and a byte that is not UTF-8 becomes three.
    let length: usize = values.flatten().map(str::len).sum();
    assert!(length <= 3 * (8 << 10), "{length}");
    for challenge in &challenges {
        assert!(!challenge.scheme().is_empty() && challenge.scheme().is_ascii());
        assert!(challenge.is(&challenge.scheme().to_ascii_uppercase()));
    }
    canonical_form(&challenges);
    refusals(&headers);
}

/// Writes the known parameters in their canonical form, and reads them back: from one line, and from one line each.
/// Of two parameters with one name, the first counts. A value may be without quotes.
fn canonical_form(challenges: &[Challenge]) {
    let parameters =
        |challenge: &Challenge| NAMES.map(|name| challenge.parameter(name).map(str::to_owned));
    let write_line = |challenge: &Challenge, quotes: bool| {
        let mut line = challenge.scheme().to_owned();
        let mut separator = " ";
        for (name, value) in NAMES.iter().zip(parameters(challenge)) {
            let Some(value) = value else { continue };
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let again = name.to_ascii_uppercase();
            let is_plain = |char: char| char.is_ascii_graphic() && !matches!(char, ',' | '"');
            // Only signs of equality would be a part of other credentials, such as `YII==`.
            let is_part = value.bytes().all(|byte| byte == b'=');
            if quotes || is_part || !value.chars().all(is_plain) {
                write!(line, "{separator}{name}=\"{escaped}\", {again}=x").unwrap();
            } else {
                write!(line, "{separator}{name}={value}, {again}=x").unwrap();
            }
            separator = ", ";
        }
        line
    };
    let [quoted, plain] = [true, false].map(|quotes| -> Vec<String> {
        let lines = challenges.iter();
        lines
            .map(|challenge| write_line(challenge, quotes))
            .collect()
    });
    if quoted.iter().map(|line| line.len() + 2).sum::<usize>() > 8_000 {
        return;
    }
    for lines in [vec![quoted.join(", ")], quoted, plain] {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        let again = Challenge::all(&headers);
        assert_eq!(again.len(), challenges.len(), "{lines:?}");
        for (again, challenge) in again.iter().zip(challenges) {
            assert_eq!(again.scheme(), challenge.scheme(), "{lines:?}");
            assert_eq!(parameters(again), parameters(challenge), "{lines:?}");
        }
    }
}

/// A refusal does not show the token, even if the header repeats it.
fn refusals(headers: &HeaderMap) {
    let token = token(TOKEN);
    let authorizer = Authorizer::builder(Arc::new(NoTokens)).allow_origin("https://api.example");
    let authorizer = authorizer.build().unwrap();
    let target = Target::new("https", "api.example", None);
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let none = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, Some(target), "/", &none);
        let mut permit = authorizer.permit(head, None).unwrap().unwrap();
        match permit.evaluate_response(&token, status, headers) {
            Decision::Retry(refusal) | Decision::Refused(refusal) => {
                assert!(!refusal.to_string().contains(char::is_control));
                assert_hidden(&format!("{refusal} {refusal:?}"), TOKEN);
            }
            _ => assert_eq!(status, StatusCode::FORBIDDEN),
        }
    }
}
