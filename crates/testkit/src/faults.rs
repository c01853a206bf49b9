//! Responses of real servers, as data: each with the result that a client must return.
//!
//! ```
//! use hallpass_testkit::{faults::{self, Expected}, raw::RawServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! for fault in faults::all() {
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
mod response;
mod wire;

pub use bodies::BODIES;
pub use members::MEMBERS;
pub use refusals::REFUSALS;
pub use response::{Answer, Body, Ending, Expected, FaultyResponse};
pub use wire::WIRE;

/// Returns all responses.
pub fn all() -> impl Iterator<Item = &'static FaultyResponse> {
    BODIES.iter().chain(MEMBERS).chain(REFUSALS).chain(WIRE)
}

/// Returns the response with this name.
pub fn named(name: &str) -> Option<&'static FaultyResponse> {
    all().find(|fault| fault.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_in_snake_case() {
        let mut names = BTreeSet::new();
        for fault in all() {
            assert!(names.insert(fault.name), "{} is there twice", fault.name);
            let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(fault.name.chars().all(fit), "{}", fault.name);
        }
        assert!(named("status_503").is_some());
        assert!(named("no such fault").is_none());
    }

    #[tokio::test]
    async fn both_servers_send_the_same_response() {
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
            server.inject_faults([fault]);
            let sent = ask(server.token_endpoint()).await;
            assert_eq!(sent, ask(raw.url("/")).await, "{}", fault.name);
        }
    }

    #[tokio::test]
    #[should_panic(expected = "HTTP cannot express `reset_in_the_body`")]
    async fn responses_outside_of_http_are_refused() {
        let server = crate::AuthorizationServer::builder().start().await;
        server.start_outage(named("reset_in_the_body").unwrap());
    }
}
