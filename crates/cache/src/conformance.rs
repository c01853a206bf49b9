//! Checks a [`TokenStore`](crate::TokenStore) against the promises of its trait, one named test per rule.
//!
//! A store's crate needs one macro call in its tests. The [`Subject`] names two handles of one store, as two processes
//! have them, and a secret to look for in debug output.
//!
//! ```
//! use hallpass_cache::{MemoryTokenStore, conformance::{self, Rule, Subject}};
//!
//! async fn subject() -> Subject {
//!     let store = MemoryTokenStore::default();
//!     Subject::new(store.clone(), store)
//! }
//!
//! hallpass_cache::store_conformance!(memory, subject());
//!
//! # fn main() {
//! // The same by hand, for one rule:
//! conformance::check(Rule::SeparatesKeys, subject).unwrap();
//! # }
//! ```
//!
//! Every rule runs on its own thread and runtime with a timeout of a minute: a store that hangs or panics is one
//! failed test with a message. Times to live of a fifth of a second and more are waited for; see
//! [`Subject::wait_with`] for a store whose clock a test sets.

mod checks;
mod leases;
mod rule;
mod subject;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

pub use rule::Rule;
pub use subject::Subject;

/// The timeout of a rule: long enough for a busy machine, since it only ends the test of a store that blocks.
const DEADLINE: Duration = Duration::from_secs(60);

/// A rule that a store breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The observation.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, seen } = self;
        write!(
            f,
            "the store breaks the rule {rule:?}\n  promise: {}\n  seen:    {seen}",
            rule.promise()
        )
    }
}

impl std::error::Error for Violation {}

/// Checks a new subject against one rule. Blocks until the result is known, for at most a minute; call it outside of
/// an asynchronous context. A subject of `None` counts as checked: what it needs is not installed.
///
/// # Errors
///
/// The [`Violation`], with the observation.
pub fn check<F>(rule: Rule, subject: impl FnOnce() -> F + Send + 'static) -> Result<(), Violation>
where
    F: Future<Output: Into<Option<Subject>>>,
{
    let (report, result) = mpsc::channel();
    // Not joined: a thread that blocks forever must not hang the test.
    thread::spawn(move || {
        let end = catch_unwind(AssertUnwindSafe(|| run(rule, subject)));
        // The panic hook has printed its text.
        let end = end.unwrap_or_else(|_| Err("it panicked".to_owned()));
        let _ = report.send(end);
    });
    let end = result.recv_timeout(DEADLINE);
    let end = end.unwrap_or_else(|_| Err(format!("it did not end within {DEADLINE:?}")));
    end.map_err(|seen| Violation { rule, seen })
}

fn run<F>(rule: Rule, subject: impl FnOnce() -> F) -> Result<(), String>
where
    F: Future<Output: Into<Option<Subject>>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("there is no runtime: {error}"))?;
    let end = runtime.block_on(async {
        match subject().await.into() {
            Some(subject) => rule::check(rule, &subject).await,
            None => Ok(()),
        }
    });
    // A stuck task must not block the thread.
    runtime.shutdown_background();
    end
}

/// Generates a module with one test per [`Rule`](crate::conformance::Rule).
///
/// The first argument names the module, the second is an expression that yields a future of a
/// [`Subject`](crate::conformance::Subject), or of an `Option` of it: a new one for each rule. Tests of rules that the
/// store cannot keep are listed under `ignored` with the reason, and `cargo test` reports them as ignored. See
/// [the module](mod@crate::conformance).
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $subject:expr $(,)?) => {
        $crate::store_conformance!($name, $subject, ignored: {});
    };
    ($name:ident, $subject:expr, ignored: { $($ignored:ident: $reason:literal),* $(,)? } $(,)?) => {
        $crate::store_conformance!(@rules ($) $name, $subject, { $($ignored: $reason,)* },
            returns_stored_entries ReturnsStoredEntries,
            separates_keys SeparatesKeys,
            expires_entries ExpiresEntries,
            replaces_entries_atomically ReplacesEntriesAtomically,
            supports_concurrent_calls SupportsConcurrentCalls,
            removes_by_fence RemovesByFence,
            accepts_puts_without_lease AcceptsPutsWithoutLease,
            grants_one_lease GrantsOneLease,
            expires_leases ExpiresLeases,
            extends_leases ExtendsLeases,
            releases_own_leases ReleasesOwnLeases,
            increases_fences IncreasesFences,
            ignores_stale_puts IgnoresStalePuts,
            expires_abandoned_leases ExpiresAbandonedLeases,
            looks_up_or_leases LooksUpOrLeases,
            notifies_of_changes NotifiesOfChanges,
            redacts_debug RedactsDebug,
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
