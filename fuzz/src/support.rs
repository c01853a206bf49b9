//! The parts that several targets need: a scripted server, a clock, and the search for leaked secrets.

#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, collections::BTreeMap, error::Error, fmt, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use hallpass_core::{AccessToken, Clock as _, Secret, TokenError};
use hallpass_endpoint::{ClientSecretPost, HttpTransport, internals};
use hallpass_testkit::{ManualClock, leak};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use url::Url;

/// The client's secret, which a server may echo. No error may show it.
pub(crate) const CANARY: &str = "s3cr3t-CANARY";
/// A token, which the server may show in the wrong place. No error may show it.
pub(crate) const TOKEN: &str = "t0k3n-CANARY";
/// The server, and the address of its token endpoint.
pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const TOKEN_ENDPOINT: &str = "https://login.example/token";
pub(crate) const CLIENT_ID: &str = "orders";

/// The maximum length of an error in bytes.
const MAX_ERROR_BYTES: usize = 16 << 10;

/// Splits off the first byte, for settings; zero if there is none.
pub(crate) fn settings(bytes: &[u8]) -> (u8, &[u8]) {
    match bytes.split_first() {
        Some((settings, rest)) => (*settings, rest),
        None => (0, bytes),
    }
}

/// Splits at the first line end.
pub(crate) fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    match end {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// Returns the text without a byte order mark.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// The number of times that an object has each of its members. `serde_json` takes the last one of a name.
struct Counts(BTreeMap<String, usize>);

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
                let mut counts = BTreeMap::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    *counts.entry(name).or_default() += 1;
                }
                Ok(Counts(counts))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Returns a JSON object that has each of its members once.
pub(crate) fn unambiguous_object(json: &[u8]) -> Option<Map<String, Value>> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let counts: Counts = serde_json::from_slice(json).ok()?;
    let is_once = |name| counts.0.get(name) == Some(&1);
    object.keys().all(is_once).then_some(object)
}

/// Returns true if the object has no other members with a meaning than these.
pub(crate) fn has_only(object: &Map<String, Value>, names: &[&str]) -> bool {
    let mut found = object.keys().map(String::as_str);
    found.all(|name| names.contains(&name) || name.starts_with("x_"))
}

/// Returns true for an `https` URL that every parser reads alike.
pub(crate) fn is_plain_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://");
    let place = rest.and_then(|rest| rest.split_once('/'));
    place.is_some_and(|(host, path)| {
        is_plain_host(host) && path.bytes().all(|byte| byte.is_ascii_lowercase())
    })
}

/// Returns true for the name of a host that every parser reads alike.
pub(crate) fn is_plain_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=20).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    text.len() < 100 && text.ends_with(".example") && text.split('.').all(is_label)
}

/// Asserts that a JSON object, from which something was read, has none of these members more than once: two parsers
/// would read two values.
#[track_caller]
pub(crate) fn assert_unambiguous(json: &[u8], names: &[&str]) {
    let counts = serde_json::from_slice::<Counts>(json);
    let counts = counts.map_or_else(|_| BTreeMap::new(), |counts| counts.0);
    for name in names {
        assert!(counts.get(*name).is_none_or(|count| *count == 1), "{name}");
    }
}

/// Asserts that a text does not show the secret: as it is, regardless of case, or decoded.
#[track_caller]
pub(crate) fn assert_hidden(shown: &str, secret: &str) {
    assert!(
        !shows(shown.as_bytes(), secret, 1),
        "{secret} leaked: {shown}"
    );
}

/// Returns true if the text holds the secret. A part of a secret does not count.
fn shows(shown: &[u8], secret: &str, depth: usize) -> bool {
    let mut windows = shown.windows(secret.len());
    if windows.any(|window| window.eq_ignore_ascii_case(secret.as_bytes())) {
        return true;
    }
    if depth == 0 {
        return false;
    }
    let percent: Vec<u8> = percent_encoding::percent_decode(shown).collect();
    let is_digit = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"+/-_".contains(byte);
    let runs = shown
        .split(is_digit)
        .filter(|run| run.len() >= secret.len());
    let decoded = runs.flat_map(|run| {
        let standard = run.iter().map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => *byte,
        });
        let standard: Vec<u8> = standard.collect();
        (0..4).filter_map(move |start| {
            let run = &standard[start..];
            BASE64_STANDARD_NO_PAD
                .decode(&run[..run.len() / 4 * 4])
                .ok()
        })
    });
    // Digits with others between them are not promised to be found.
    let digits = shown.split(|byte| !byte.is_ascii_hexdigit());
    let digits = digits.filter(|run| run.len() >= 2 * secret.len());
    let hex = digits.flat_map(|run| {
        (0..2).map(move |start| {
            let digits = run[start..].chunks_exact(2);
            let number = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            digits.filter_map(number).collect::<Vec<u8>>()
        })
    });
    [percent]
        .into_iter()
        .chain(hex)
        .chain(decoded)
        .any(|decoded| shows(&decoded, secret, 0))
}

/// Asserts that an error is short, has no control characters, and does not show the secret.
#[track_caller]
pub(crate) fn check_error(error: &(dyn Error + 'static), secret: &str) {
    let shown = error.to_string();
    assert!(shown.len() < MAX_ERROR_BYTES, "{} bytes", shown.len());
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert_hidden(&leak::error_chain(error), secret);
}

/// Asserts the same of a [`TokenError`], and of its parts.
#[track_caller]
pub(crate) fn check_token_error(error: &TokenError) {
    check_error(error, CANARY);
    let oauth = error.oauth_error();
    let parts = [
        error.hint(),
        error.host(),
        error.server_message(),
        oauth.map(hallpass_core::OAuthError::code),
        oauth.and_then(hallpass_core::OAuthError::description),
        oauth.and_then(hallpass_core::OAuthError::uri),
    ];
    for part in parts.into_iter().flatten() {
        assert!(!part.contains(char::is_control), "{part:?}");
        assert_hidden(part, CANARY);
    }
}

/// Asserts that an error about a text that is secret repeats none of its lines in base64.
#[track_caller]
pub(crate) fn check_key_error(error: &(dyn Error + 'static), text: &str) {
    check_error(error, CANARY);
    let shown = leak::error_chain(error);
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    let words = text.split(|char: char| !char.is_ascii() || !fit(char as u8));
    for word in words.filter(|word| word.len() >= 24 && !word.starts_with("--")) {
        assert!(!shown.contains(word), "{word}: {shown}");
    }
}

/// Runs a future to its end, with paused time: a wait takes none.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

type Respond = Box<dyn Fn(&Url) -> Response>;

struct Server {
    respond: Respond,
    requests: Vec<Url>,
}

static TRANSPORT: LazyLock<[HttpTransport; 2]> = LazyLock::new(|| {
    let builder = HttpTransport::builder;
    [builder(), builder().compressed_responses()].map(|builder| {
        internals::scripted(builder.build().unwrap(), |request| {
            SERVER.with_borrow_mut(|server| {
                let server = server.as_mut().unwrap();
                server.requests.push(request.url().clone());
                (server.respond)(request.url()).into_reqwest(request.url())
            })
        })
    })
});

/// Returns a transport to the server of [`serve`].
pub(crate) fn transport(decompress: bool) -> HttpTransport {
    TRANSPORT[usize::from(decompress)].clone()
}

/// Runs a future while the server responds to its requests. Also returns their URLs.
pub(crate) fn serve<T>(
    respond: impl Fn(&Url) -> Response + 'static,
    future: impl Future<Output = T>,
) -> (T, Vec<Url>) {
    let server = Server {
        respond: Box::new(respond),
        requests: Vec::new(),
    };
    SERVER.set(Some(server));
    let output = block_on(future);
    let server = SERVER.take().unwrap();
    (output, server.requests)
}

/// A server's response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns a 200 with this media type.
    pub(crate) fn ok(media: &'static str, body: &[u8]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        Self {
            status: StatusCode::OK,
            headers,
            body: body.to_vec(),
        }
    }

    pub(crate) fn json(body: &[u8]) -> Self {
        Self::ok("application/json", body)
    }

    /// Reads a status, lines of headers, an empty line and a body. Invalid headers are skipped.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (status, mut rest) = line(bytes);
        let mut headers = HeaderMap::new();
        loop {
            let (head, next) = line(rest);
            rest = next;
            let Some(colon) = head.iter().position(|byte| *byte == b':') else {
                break;
            };
            let name = HeaderName::from_bytes(&head[..colon]);
            let value = HeaderValue::from_bytes(head[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value)
                && headers.len() < 64
            {
                headers.append(name, value);
            }
        }
        Self {
            status: StatusCode::from_bytes(status.trim_ascii()).unwrap_or(StatusCode::BAD_REQUEST),
            headers,
            body: rest.to_vec(),
        }
    }

    /// Writes what [`parse`](Self::parse) reads.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\n", self.status.as_u16()).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn into_reqwest(self, url: &Url) -> reqwest::Response {
        use reqwest::ResponseBuilderExt as _;

        let mut response = http::Response::builder()
            .status(self.status)
            .url(url.clone());
        *response.headers_mut().unwrap() = self.headers;
        reqwest::Response::from(response.body(self.body).unwrap())
    }
}

/// Returns the client's authentication.
pub(crate) fn authentication() -> ClientSecretPost {
    ClientSecretPost::new(Secret::new(CANARY).unwrap())
}

/// Returns a token that is valid for a minute.
pub(crate) fn token(text: &str) -> AccessToken {
    let lifetime = std::time::Duration::from_secs(60);
    AccessToken::bearer(text, ManualClock::new().moment(), lifetime).unwrap()
}
