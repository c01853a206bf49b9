//! Responses of real servers, as data: each with its requirement number, and the result that a client must return.
//!
//! ```
//! use hallpass_testkit::{faults::{self, Expected}, raw::RawServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! for fault in faults::all().filter(|fault| fault.number == "F-16") {
//!     let server = RawServer::always(fault.reply()).await;
//!     // Ask it for a token with your client, and compare.
//!     match fault.expected {
//!         Expected::Token { .. } => {}
//!         Expected::Error { kind, transient, .. } => println!("{}: {kind:?}, {transient}", fault.name),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! An [`AuthorizationServer`](crate::AuthorizationServer) also serves those that HTTP can express.

mod bodies;
mod members;
mod refusals;
mod wire;

use std::time::Duration;

use hallpass_core::ErrorKind;
use wiremock::ResponseTemplate;

use crate::raw::{self, Reply};

pub use bodies::BODIES;
pub use members::MEMBERS;
pub use refusals::REFUSALS;
pub use wire::WIRE;

/// A response of a token endpoint, with the expected result.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The requirement number: `F-01` and so on. Several variants may share one.
    pub number: &'static str,
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
        then: After,
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
pub enum After {
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

/// Returns every fault, by number and then by name.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    BODIES.iter().chain(MEMBERS).chain(REFUSALS).chain(WIRE)
}

/// Returns the fault with this name.
pub fn named(name: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.name == name)
}

impl Fault {
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
                    After::Close => reply.then_close(),
                    After::Reset => reply.then_reset(),
                    After::Stall => reply.then_stall(),
                    After::Flood(filler) => reply.then_flood(filler.repeat(64)),
                    After::Drip(filler) => reply.then_drip(filler, Duration::from_millis(10)),
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

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Creates a JSON response with status 200.
const fn ok(
    number: &'static str,
    name: &'static str,
    body: &'static str,
    expected: Expected,
) -> Fault {
    http(number, name, 200, JSON, Body::Text(body), expected)
}

const fn http(
    number: &'static str,
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: Body,
    expected: Expected,
) -> Fault {
    Fault {
        number,
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
const fn token(seconds: u64) -> Expected {
    Expected::Token {
        seconds: Some(seconds),
        scopes: None,
    }
}

const fn error(kind: ErrorKind, transient: bool) -> Expected {
    Expected::Error { kind, transient }
}

/// A token with the client's assumed lifetime.
const OF_SOME_LIFETIME: Expected = Expected::Token {
    seconds: None,
    scopes: None,
};
/// A response that is unusable, now and later.
const UNUSABLE: Expected = error(ErrorKind::UnusableResponse, false);
/// A response that was unusable this time.
const GARBLED: Expected = error(ErrorKind::UnusableResponse, true);
const DOWN: Expected = error(ErrorKind::Unavailable, true);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_numbers_are_of_the_list() {
        let mut names = BTreeSet::new();
        for fault in all() {
            assert!(names.insert(fault.name), "{} is there twice", fault.name);
            let number = fault.number.strip_prefix("F-").map(str::parse::<u32>);
            assert!(
                matches!(number, Some(Ok(1..=62))),
                "{}: {}",
                fault.name,
                fault.number
            );
            let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(fault.name.chars().all(fit), "{}", fault.name);
        }
        assert!(named("status_503").is_some());
        assert!(named("no such fault").is_none());
    }

    #[tokio::test]
    async fn both_servers_send_the_same() {
        use crate::{AuthorizationServer, raw::RawServer};

        let server = AuthorizationServer::builder().start().await;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let ask = async |url: String| {
            let answer = client.post(url).send().await.unwrap();
            let status = answer.status();
            (status, answer.bytes().await.unwrap())
        };
        for fault in all().filter(|fault| fault.template().is_some()) {
            let raw = RawServer::always(fault.reply()).await;
            server.answer_next([fault]);
            let sent = ask(server.token_endpoint()).await;
            assert_eq!(sent, ask(raw.url("/")).await, "{}", fault.name);
        }
    }

    #[tokio::test]
    #[should_panic(expected = "HTTP cannot express `reset_in_the_body`")]
    async fn what_http_cannot_express_is_refused() {
        let server = crate::AuthorizationServer::builder().start().await;
        server.start_outage(named("reset_in_the_body").unwrap());
    }
}
