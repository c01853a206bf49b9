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
    seeds::of_literals(&files, &[])
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
    for challenge in &challenges {
        assert!(!challenge.scheme().is_empty() && challenge.scheme().is_ascii());
        assert!(challenge.is(&challenge.scheme().to_ascii_uppercase()));
    }
    canonical_form(&challenges);
    refusals(&headers);
}

/// Writes the known parameters in their canonical form, and reads them back: from one line, and from one line each.
fn canonical_form(challenges: &[Challenge]) {
    let parameters =
        |challenge: &Challenge| NAMES.map(|name| challenge.parameter(name).map(str::to_owned));
    let lines = challenges.iter().map(|challenge| {
        let mut line = challenge.scheme().to_owned();
        let mut separator = " ";
        for (name, value) in NAMES.iter().zip(parameters(challenge)) {
            let Some(value) = value else { continue };
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            write!(line, "{separator}{name}=\"{escaped}\"").unwrap();
            separator = ", ";
        }
        line
    });
    let lines: Vec<String> = lines.collect();
    if lines.iter().map(|line| line.len() + 2).sum::<usize>() > 8_000 {
        return;
    }
    for lines in [vec![lines.join(", ")], lines] {
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
