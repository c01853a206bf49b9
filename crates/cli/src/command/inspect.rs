//! `hallpass inspect`: shows the claims of a JWT. They are not verified.

use std::{
    io::{self, IsTerminal as _, Read as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::time::rfc3339;
use crate::{args::Inspect, failure::Failure, jwt, out};

/// The longest accepted input: longer than any header that a server accepts.
const MAX_BYTES: u64 = 256 << 10;
/// The claims that are times (RFC 7519 section 4.1, OpenID Connect), in seconds since 1970.
const TIME_CLAIMS: [&str; 4] = ["exp", "nbf", "iat", "auth_time"];

pub(crate) fn run(args: &Inspect) -> Result<(), Failure> {
    if !args.arguments.is_empty() {
        return Err(Failure::usage(
            "a token on the command line is visible in the process list and the shell history",
        )
        .with_remedy("pipe it: `hallpass token | hallpass inspect`"));
    }
    let input = io::stdin();
    if input.is_terminal() {
        return Err(Failure::usage("no token on standard input")
            .with_remedy("pipe it: `hallpass token | hallpass inspect`"));
    }
    let mut text = Zeroizing::new(Vec::new());
    let read = input.lock().take(MAX_BYTES + 1).read_to_end(&mut text);
    read.map_err(|error| {
        Failure::usage(format!("standard input cannot be read: {}", error.kind()))
    })?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Failure::usage(
            "the input is longer than 256 KiB, and so not a token",
        ));
    }
    let Ok(text) = str::from_utf8(&text) else {
        return Err(Failure::usage("the input is not UTF-8, and so not a token"));
    };
    let token = extract_token(text);
    if token.is_empty() {
        return Err(Failure::usage("no token on standard input"));
    }
    out::json(&describe_token(token, SystemTime::now()))
}

/// Extracts the token from a header line, or from the output of `hallpass token`.
fn extract_token(text: &str) -> &str {
    let text = text.trim();
    let without = |text: &'_ str, prefix: &str| -> Option<usize> {
        let head = text.get(..prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some(prefix.len())
    };
    let text = without(text, "authorization:").map_or(text, |at| text[at..].trim_start());
    without(text, "bearer ").map_or(text, |at| text[at..].trim_start())
}

/// Returns the token's contents as JSON; `verified` is false because nothing checked the signature.
fn describe_token(token: &str, now: SystemTime) -> Value {
    match jwt::decode(token) {
        Some((header, claims)) => {
            let times = readable_times(&claims, now);
            json!({
                "format": "jwt",
                "verified": false,
                "note": "neither signature nor claims were verified",
                "header": header,
                "claims": claims,
                "times": times,
            })
        }
        None => json!({
            "format": "opaque",
            "verified": false,
            "note": "not a readable JWT: only the server that issued it can interpret it",
            "characters": token.chars().count(),
        }),
    }
}

fn readable_times(claims: &Map<String, Value>, now: SystemTime) -> Map<String, Value> {
    let mut readable = Map::new();
    for name in TIME_CLAIMS {
        let seconds = claims.get(name).and_then(Value::as_f64);
        let since = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let Some(at) = since.and_then(|since| UNIX_EPOCH.checked_add(since)) else {
            continue;
        };
        readable.insert(name.to_owned(), format_time(at, now).into());
    }
    readable
}

/// Formats a time as `2026-11-25T12:00:00Z, in 59m 58s`.
fn format_time(at: SystemTime, now: SystemTime) -> String {
    let whole = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs()));
    let distance = match at.duration_since(now) {
        Ok(ahead) => format!("in {}", whole(ahead)),
        Err(behind) => format!("{} ago", whole(behind.duration())),
    };
    match rfc3339(at) {
        Some(time) => format!("{time}, {distance}"),
        None => distance,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;

    fn encode(header: &str, claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn a_jwt_is_decoded_and_not_verified() {
        let token = encode(
            r#"{"alg":"RS256"}"#,
            r#"{"iss":"https://login.example","iat":1799999990,"exp":1800003600,"nbf":1e300,"auth_time":"x"}"#,
        );
        let shown = describe_token(&token, noon());
        assert_eq!(shown["verified"], false);
        assert_eq!(shown["header"]["alg"], "RS256");
        assert_eq!(shown["claims"]["iss"], "https://login.example");
        assert_eq!(shown["times"]["exp"], "2027-01-15T09:00:00Z, in 1h");
        assert_eq!(shown["times"]["iat"], "2027-01-15T07:59:50Z, 10s ago");
        assert!(shown["times"].get("nbf").is_none() && shown["times"].get("auth_time").is_none());
        // The signature is not shown.
        assert!(!shown.to_string().contains("c2ln"));
    }

    #[test]
    fn an_opaque_token_is_not_printed() {
        for token in [
            "CANARY",
            "a.b.c",
            "CANARY.CANARY.CANARY",
            &encode("[]", "{}"),
            &encode("{}", "7"),
            &format!("{}.x", encode("{}", "{}")),
        ] {
            let shown = describe_token(token, noon());
            assert_eq!(shown["format"], "opaque", "{token}");
            assert!(!shown.to_string().contains("CANARY"));
        }
    }

    #[test]
    fn a_header_line_is_accepted_as_a_token() {
        for text in [
            "abc\n",
            "Bearer abc",
            "authorization: bearer  abc\r\n",
            "Authorization:Bearer abc",
        ] {
            assert_eq!(extract_token(text), "abc", "{text:?}");
        }
    }

    #[test]
    fn distant_times_are_shown_relative_to_now() {
        let far = noon() + Duration::from_secs(400_000_000_000);
        assert!(format_time(far, noon()).starts_with("in "));
    }
}
