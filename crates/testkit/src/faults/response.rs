use std::time::Duration;

use hallpass_core::ErrorKind;
use wiremock::ResponseTemplate;

use crate::raw::{self, Reply};

/// A faulty or unusual response of a token endpoint, with the expected result.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FaultyResponse {
    /// A unique name in snake case, usable as a test name.
    pub name: &'static str,
    /// The response on the wire.
    pub answer: Answer,
    /// The result for a client with the defaults.
    pub expected: Expected,
}

/// A response on the wire.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// A whole HTTP response.
    #[non_exhaustive]
    Http {
        /// The status code.
        status: u16,
        /// Names and values.
        headers: &'static [(&'static str, &'static str)],
        /// The body.
        body: Body,
    },
    /// Bytes that are no complete HTTP response, and the event that follows them.
    #[non_exhaustive]
    Wire {
        /// The bytes.
        bytes: &'static str,
        /// The end of the connection.
        then: Ending,
    },
}

/// The body of a response.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Body {
    /// A text.
    Text(&'static str),
    /// Raw bytes.
    Bytes(&'static [u8]),
    /// A text, a repeated text, and a final text.
    #[non_exhaustive]
    Repeated {
        /// The bytes before it.
        before: &'static str,
        /// The bytes that repeat.
        filler: &'static str,
        /// The number of repetitions.
        times: usize,
        /// The bytes after it.
        after: &'static str,
    },
    /// A text, nested arrays, and a final text.
    #[non_exhaustive]
    Nested {
        /// The bytes before it.
        before: &'static str,
        /// The depth of nesting.
        depth: usize,
        /// The bytes after it.
        after: &'static str,
    },
}

/// The end of a connection after bytes that are no complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The orderly end of the connection.
    Close,
    /// A reset.
    Reset,
    /// Silence, for as long as the client waits.
    Stall,
    /// A text, repeated as fast as the client reads, a few dozen at a time.
    Flood(&'static str),
    /// A text, repeated every ten milliseconds.
    Drip(&'static str),
}

/// The result that a client with the defaults must return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// A token with this lifetime.
    #[non_exhaustive]
    Token {
        /// The lifetime in seconds; `None` if the server sends none, and the client assumes one.
        seconds: Option<u64>,
        /// The scopes, space-separated; `None` if they are the requested ones.
        scopes: Option<&'static str>,
    },
    /// An error.
    #[non_exhaustive]
    Error {
        /// The kind of the error.
        kind: ErrorKind,
        /// True if a later retry can help.
        transient: bool,
    },
}

impl FaultyResponse {
    /// Returns the reply for a [`RawServer`](crate::raw::RawServer).
    pub fn reply(&self) -> Reply {
        match self.answer {
            Answer::Http {
                status,
                headers,
                body,
            } => raw::http(status, headers, body.bytes()),
            Answer::Wire { bytes, then } => {
                let reply = Reply::bytes(bytes);
                match then {
                    Ending::Close => reply.then_close(),
                    Ending::Reset => reply.then_reset(),
                    Ending::Stall => reply.then_stall(),
                    Ending::Flood(filler) => reply.then_flood(filler.repeat(64)),
                    Ending::Drip(filler) => reply.then_drip(filler, Duration::from_millis(10)),
                }
            }
        }
    }

    /// Returns status and response for an HTTP server; `None` if HTTP cannot express the fault.
    pub(crate) fn template(&self) -> Option<(u16, ResponseTemplate)> {
        let Answer::Http {
            status,
            headers,
            body,
        } = self.answer
        else {
            return None;
        };
        let template = ResponseTemplate::new(status).set_body_bytes(body.bytes());
        let with_headers = headers.iter().fold(template, |template, (name, value)| {
            template.append_header(*name, *value)
        });
        Some((status, with_headers))
    }
}

impl Body {
    /// Returns the bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => bytes.into(),
            Self::Repeated {
                before,
                filler,
                times,
                after,
            } => [before, &filler.repeat(times), after].concat().into(),
            Self::Nested {
                before,
                depth,
                after,
            } => [before, &"[".repeat(depth), &"]".repeat(depth), after]
                .concat()
                .into(),
        }
    }
}

pub(super) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Creates a JSON response with status 200.
pub(super) const fn ok(
    name: &'static str,
    body: &'static str,
    expected: Expected,
) -> FaultyResponse {
    http(name, 200, JSON, Body::Text(body), expected)
}

pub(super) const fn http(
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: Body,
    expected: Expected,
) -> FaultyResponse {
    FaultyResponse {
        name,
        answer: Answer::Http {
            status,
            headers,
            body,
        },
        expected,
    }
}

/// Creates the expected token, with the requested scopes.
pub(super) const fn token(seconds: u64) -> Expected {
    Expected::Token {
        seconds: Some(seconds),
        scopes: None,
    }
}

pub(super) const fn error(kind: ErrorKind, transient: bool) -> Expected {
    Expected::Error { kind, transient }
}

/// A token with the client's assumed lifetime.
pub(super) const UNKNOWN_LIFETIME: Expected = Expected::Token {
    seconds: None,
    scopes: None,
};
/// A response that is unusable, now and later.
pub(super) const UNUSABLE: Expected = error(ErrorKind::UnusableResponse, false);
/// A response that was unusable this time.
pub(super) const GARBLED: Expected = error(ErrorKind::UnusableResponse, true);
pub(super) const DOWN: Expected = error(ErrorKind::Unavailable, true);
