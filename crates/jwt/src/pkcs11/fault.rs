//! Maps a module's return codes to error kinds.

use std::path::Path;

use cryptoki::error::{Error, RvError};
use hallpass_core::TokenError;

use super::place::Place;

/// The reason why a token failed.
pub(super) enum Fault {
    /// The module's error.
    Said(Box<Error>),
    /// An error of this crate.
    Told(TokenError),
}

impl Fault {
    pub(super) fn module(path: &Path, error: Error) -> Self {
        let message = format!(
            "the PKCS#11 module `{}` could not be loaded",
            path.display()
        );
        Self::Told(
            TokenError::configuration(message)
                .with_hint("check its path, and that it is the vendor's library for this system")
                .with_source(error),
        )
    }

    /// Returns true if a new session may succeed.
    pub(super) fn ends_a_session(&self) -> bool {
        matches!(self.meaning(), Some(Meaning::Login | Meaning::Passing))
    }

    /// Returns true if the PIN was refused: it must not be tried again.
    pub(super) fn is_of_the_pin(&self) -> bool {
        matches!(self.meaning(), Some(Meaning::Pin))
    }

    fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Said(error) => match **error {
                Error::Pkcs11(code, _) => Some(Meaning::of(code)),
                _ => None,
            },
            Self::Told(_) => None,
        }
    }

    pub(super) fn told(self, place: &Place) -> TokenError {
        let error = match self {
            Self::Told(error) => return error,
            Self::Said(error) => *error,
        };
        let token = place.token();
        let Error::Pkcs11(code, function) = error else {
            let message = format!("the module of {token} does not keep to PKCS#11");
            return TokenError::configuration(message).with_source(error);
        };
        // The code's name only: its text is a page of the standard.
        let said = format!("{function:?}: {code:?}");
        match Meaning::of(code) {
            Meaning::Pin => pin_refused(),
            Meaning::Locked => {
                TokenError::configuration(format!("{token} takes no PIN any more ({said})"))
                    .with_hint("its security officer can unlock it and set a new one")
            }
            Meaning::Unfit => TokenError::configuration(format!(
                "{token} does not sign by {} with this key ({said})",
                place.algorithm
            ))
            .with_hint("check that the key may sign (`CKA_SIGN`), and that the token has the mechanism"),
            Meaning::Login => {
                TokenError::configuration(format!("{token} wants another log-in ({said})"))
                    .with_hint("a key that wants the PIN at each signature is not supported (`CKA_ALWAYS_AUTHENTICATE`)")
            }
            Meaning::Passing => {
                TokenError::unavailable(format!("{token} does not answer as it should ({said})"))
                    .with_local(true)
            }
        }
    }
}

/// Creates the error for a refused PIN, also when the same one would be tried again.
pub(super) fn pin_refused() -> TokenError {
    TokenError::configuration("the token refused the PIN").with_hint(
        "set the right one: this one is not tried again, since a token locks itself after a few",
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Pin,
    Locked,
    Unfit,
    Login,
    /// Everything else, including vendor codes: the token was removed, is busy, or its network is down.
    Passing,
}

impl Meaning {
    fn of(code: RvError) -> Self {
        match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => Self::Pin,
            RvError::PinExpired | RvError::PinLocked | RvError::UserPinNotInitialized => {
                Self::Locked
            }
            RvError::FunctionNotSupported
            | RvError::KeyFunctionNotPermitted
            | RvError::KeySizeRange
            | RvError::KeyTypeInconsistent
            | RvError::MechanismInvalid
            | RvError::MechanismParamInvalid => Self::Unfit,
            RvError::UserAnotherAlreadyLoggedIn
            | RvError::UserNotLoggedIn
            | RvError::UserTooManyTypes
            | RvError::UserTypeInvalid => Self::Login,
            _ => Self::Passing,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Said(Box::new(error))
    }
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        Self::Told(error)
    }
}
