//! Checks a [`TokenSource`](hallpass_core::TokenSource) against the promises of its trait, one named test per rule.
//!
//! A provider's crate needs one macro call in its tests. The [`Subject`] adds the facts that the kit cannot know: the
//! secret to look for, scopes that the client may have, the same source with wrong credentials. A rule that cannot be
//! checked fails, unless it is listed as ignored with the reason.
//!
//! ```
//! use std::time::Duration;
//!
//! use hallpass_core::{
//!     AccessToken, Clock, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
//! };
//! use hallpass_testkit::conformance::{self, Rule, Subject};
//!
//! #[derive(Debug)]
//! struct OneToken;
//!
//! #[async_trait]
//! impl TokenSource for OneToken {
//!     async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
//!         if !request.is_default() {
//!             return Err(TokenError::request_refused("there is one token, for one purpose"));
//!         }
//!         let hour = Duration::from_secs(3_600);
//!         Ok(AccessToken::bearer("a-token-of-the-test", SystemClock.moment(), hour)?)
//!     }
//! }
//!
//! async fn subject() -> Subject {
//!     Subject::new(OneToken).secret("a-token-of-the-test")
//! }
//!
//! hallpass_testkit::conformance!(one_token, subject(), ignored: {
//!     serves_requests_independently: "there is one request",
//!     separates_requests: "there is one request",
//!     reports_wrong_credentials: "it has no credentials",
//!     reports_unavailable_server: "it contacts no server",
//!     reports_retry_after: "it contacts no server",
//!     redacts_errors: "it contacts no server",
//! });
//!
//! # fn main() {
//! // The same by hand, for one rule:
//! conformance::check(Rule::ReturnsToken, subject).unwrap();
//! # }
//! ```
//!
//! Every rule runs on its own thread and runtime with a timeout of ten seconds: a source that hangs, blocks or panics
//! is one failed test with a message, never an endless run.

mod checks;
mod rule;
mod run;
mod subject;

pub use rule::Rule;
pub use run::{Violation, check};
pub use subject::Subject;

/// Generates a module with one test per [`Rule`](crate::conformance::Rule).
///
/// The first argument names the module, the second is an expression that yields a future of a
/// [`Subject`](crate::conformance::Subject): a fresh one for each rule. Tests of rules that cannot be checked are listed
/// under `ignored` with the reason, and `cargo test` reports them as ignored. See
/// [the module](mod@crate::conformance).
#[macro_export]
macro_rules! conformance {
    ($name:ident, $subject:expr $(,)?) => {
        $crate::conformance!($name, $subject, ignored: {});
    };
    ($name:ident, $subject:expr, ignored: { $($ignored:ident: $reason:literal),* $(,)? } $(,)?) => {
        $crate::conformance!(@rules ($) $name, $subject, { $($ignored: $reason,)* },
            returns_token ReturnsToken,
            returns_valid_token ReturnsValidToken,
            supports_concurrent_calls SupportsConcurrentCalls,
            serves_requests_independently ServesRequestsIndependently,
            survives_cancellation SurvivesCancellation,
            honours_scopes HonoursScopes,
            separates_requests SeparatesRequests,
            honours_resources HonoursResources,
            honours_audiences HonoursAudiences,
            honours_parameters HonoursParameters,
            reports_wrong_credentials ReportsWrongCredentials,
            reports_unavailable_server ReportsUnavailableServer,
            reports_retry_after ReportsRetryAfter,
            redacts_errors RedactsErrors,
            redacts_debug RedactsDebug,
            redacts_traces RedactsTraces,
            returns_valid_ready_token ReturnsValidReadyToken,
            invalidates_only_refused_token InvalidatesOnlyRefusedToken,
            maintains_credential_epoch MaintainsCredentialEpoch,
        );
    };
    // `$d` is a dollar sign, for the inner macro.
    (@rules ($d:tt) $name:ident, $subject:expr, { $($ignored:ident: $reason:literal,)* },
        $($test:ident $rule:ident,)+) => {
        mod $name {
            #[allow(unused_imports, clippy::wildcard_imports)]
            use super::*;

            // One arm per ignored test, so that its name picks the attribute.
            macro_rules! rule {
                $(($ignored $d rule:ident) => {
                    rule!(@test [ignore = $reason] $ignored $d rule);
                };)*
                (@test $d attribute:tt $d test:ident $d rule:ident) => {
                    #[test]
                    #$d attribute
                    fn $d test() {
                        let rule = $crate::conformance::Rule::$d rule;
                        if let Err(violation) = $crate::conformance::check(rule, || $subject) {
                            panic!("{violation}");
                        }
                    }
                };
                ($d test:ident $d rule:ident) => {
                    rule!(@test [cfg(all())] $d test $d rule);
                };
            }

            $(rule!($test $rule);)+
        }
    };
}
