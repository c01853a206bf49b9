//! Checks an adapter that gives tokens to another crate's credential trait (a bridge).
//!
//! An adapter's test implements [`Adapter`] with the neighbour's own calls, and calls [`check`] once. A rule that the
//! neighbour's trait cannot express is an exception, with its reason; an exception whose rule holds is a violation too.
//!
//! ```
//! use std::sync::Arc;
//!
//! use hallpass_core::{TokenError, TokenRequest, TokenSource, TokenSourceExt as _, TokenType, async_trait};
//! use hallpass_testkit::bridge::{self, Adapter, BoxError, Credential, Rule};
//!
//! /// The adapter: a neighbour gets the text of a bearer token.
//! struct Texts(Arc<dyn TokenSource>);
//!
//! impl std::fmt::Debug for Texts {
//!     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
//!         f.write_str("Texts(..)")
//!     }
//! }
//!
//! #[async_trait]
//! impl Adapter for Texts {
//!     async fn credential(&self) -> Result<Credential, BoxError> {
//!         let token = self.0.access_token(&TokenRequest::new()).await?;
//!         if token.token_type() != TokenType::Bearer {
//!             return Err(TokenError::configuration("the token is bound to a key").into());
//!         }
//!         Ok(Credential::new(token.expose()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let exceptions = [
//!     (Rule::ReportsExpiry, "a text has no expiry"),
//!     (Rule::ReportsRefusals, "the neighbour reports none"),
//! ];
//! assert_eq!(bridge::check(Texts, &exceptions).await, []);
//! # }
//! ```

mod check;
mod script;

use std::{error::Error, fmt, time::SystemTime};

use async_trait::async_trait;
pub use check::check;

/// The error of an adapter or its neighbour.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An adapter under test, used as its neighbour uses it. Its `Debug` is the adapter's own.
#[async_trait]
pub trait Adapter: fmt::Debug + Send + Sync {
    /// Returns the credential that the neighbour receives for one call.
    ///
    /// # Errors
    ///
    /// The error that the neighbour receives, or that its user does.
    async fn credential(&self) -> Result<Credential, BoxError>;

    /// Reports that the neighbour's service refused this token, as the neighbour does. Without a way to report it, keep
    /// the default and list [`Rule::ReportsRefusals`] as an exception.
    async fn refuse(&self, token: &str) {
        let _ = token;
    }
}

/// A credential that a neighbour receives.
#[derive(Clone)]
pub struct Credential {
    token: String,
    expires_at: Option<SystemTime>,
    shown: String,
}

impl Credential {
    /// Creates one with this token's text.
    pub fn new(token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            expires_at: None,
            shown: String::new(),
        }
    }

    /// Sets the expiry that the neighbour was given.
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// Sets the `Debug` output of the type that the neighbour received, which should not show the token.
    #[must_use]
    pub fn shown(mut self, shown: impl fmt::Debug) -> Self {
        self.shown = format!("{shown:?}\n{shown:#?}");
        self
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

macro_rules! rules {
    ($($rule:ident: $promise:literal;)+) => {
        /// A rule for adapters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $promise] $rule,)+
        }

        impl Rule {
            /// All rules, in the order in which they are checked.
            pub const ALL: &[Self] = &[$(Self::$rule,)+];

            /// Returns the rule, as a sentence.
            pub fn promise(self) -> &'static str {
                match self {
                    $(Self::$rule => $promise,)+
                }
            }
        }
    };
}

rules! {
    UsesReadyTokens: "A token that the source has ready is used without a call of `token`.";
    FetchesTokens: "Without a ready token, one call of `token` yields the credential.";
    UsesNewTokens: "A credential has the source's newest token: the adapter keeps none of its own.";
    ServesCallsIndependently: "A call that waits for a token delays no call for which a token is ready.";
    ReportsExpiry: "The neighbour receives the token's expiry, or an earlier one.";
    ReportsRefusals: "A refusal by the neighbour's service invalidates exactly the refused token.";
    KeepsErrors: "The neighbour's error contains the `TokenError` in its source chain, or its message and hint.";
    RefusesBoundTokens: "A token that is bound to a key is not given to a neighbour that cannot send proofs.";
    SurvivesCancellation: "A cancelled call leaves no call of `token` behind, and the next call gets a credential.";
    HidesTokens: "No `Debug` of the adapter, of the credential or of an error shows a token.";
}

/// A rule that an adapter breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The observation, without any token.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, seen } = self;
        write!(f, "{rule:?}: {} Observed: {seen}", rule.promise())
    }
}

impl Error for Violation {}
