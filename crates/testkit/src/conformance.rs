//! Holds a [`TokenSource`](hallpass_core::TokenSource) to the promises of its trait, one named test a rule.
//!
//! A provider's crate needs one macro call in its tests. What the kit cannot know, the [`Subject`] tells: the secret to
//! look for, scopes that the client may have, how the source behaves with wrong credentials.
//!
//! ```
//! use hallpass_testkit::{
//!     AuthorizationServer, Client, StaticSource,
//!     conformance::{self, Rule, Subject},
//! };
//! use hallpass_core::{AccessToken, Clock, SystemClock};
//!
//! async fn subject() -> Subject {
//!     let hour = std::time::Duration::from_secs(3_600);
//!     let token = AccessToken::bearer("a-token-of-the-test", SystemClock.moment(), hour).unwrap();
//!     Subject::new(StaticSource::new(token))
//! }
//!
//! hallpass_testkit::conformance!(static_source, subject());
//!
//! # fn main() {
//! // The same by hand, for one rule:
//! conformance::check(Rule::YieldsAToken, subject).unwrap();
//! # }
//! ```
//!
//! Every rule runs on a thread and a runtime of its own and has ten seconds: a source that hangs, blocks or panics is
//! one failed test with a sentence, never a run without an end.

mod checks;
mod rule;
mod run;
mod subject;

pub use rule::Rule;
pub use run::{Violation, check};
pub use subject::Subject;

/// Generates a module with one test a [`Rule`](crate::conformance::Rule).
///
/// The first argument names the module, the second is an expression that yields a future of a
/// [`Subject`](crate::conformance::Subject): a fresh one for each rule. See [the module](mod@crate::conformance).
#[macro_export]
macro_rules! conformance {
    ($name:ident, $subject:expr) => {
        $crate::conformance!(@rules $name, $subject,
            yields_a_token YieldsAToken,
            lives_for_a_while LivesForAWhile,
            serves_many_at_once ServesManyAtOnce,
            survives_a_caller_that_leaves SurvivesACallerThatLeaves,
            grants_the_scopes_asked_for GrantsTheScopesAskedFor,
            tells_requests_apart TellsRequestsApart,
            honours_resources HonoursResources,
            names_wrong_credentials NamesWrongCredentials,
            names_a_server_that_is_down NamesAServerThatIsDown,
            leaks_nothing_in_errors LeaksNothingInErrors,
            leaks_nothing_in_debug LeaksNothingInDebug,
            leaks_nothing_in_traces LeaksNothingInTraces,
            has_only_live_tokens_ready HasOnlyLiveTokensReady,
            drops_only_the_refused_token DropsOnlyTheRefusedToken,
            keeps_its_credential_epoch KeepsItsCredentialEpoch,
        );
    };
    (@rules $name:ident, $subject:expr, $($test:ident $rule:ident,)+) => {
        mod $name {
            #[allow(unused_imports, clippy::wildcard_imports)]
            use super::*;

            $(
                #[test]
                fn $test() {
                    let rule = $crate::conformance::Rule::$rule;
                    if let Err(violation) = $crate::conformance::check(rule, || $subject) {
                        panic!("{violation}");
                    }
                }
            )+
        }
    };
}
