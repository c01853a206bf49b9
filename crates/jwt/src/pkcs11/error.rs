//! Maps a module's return codes to error kinds.

use std::path::Path;

use cryptoki::error::{Error, RvError};
use hallpass_core::TokenError;

use crate::Algorithm;

/// The reason why a token failed.
pub(super) enum Pkcs11Error {
    /// The module's error.
    Module(Box<Error>),
    /// An error of this crate.
    Signer(TokenError),
}

impl Pkcs11Error {
    pub(super) fn not_loaded(path: &Path, error: Error) -> Self {
        let message = format!(
            "the PKCS#11 module `{}` could not be loaded",
            path.display()
        );
        Self::Signer(
            TokenError::configuration(message)
                .with_hint("check its path, and that it is the vendor's library for this platform")
                .with_source(error),
        )
    }

    /// Returns true if a new session may succeed.
    pub(super) fn ends_session(&self) -> bool {
        matches!(
            self.class(),
            Some(ErrorClass::Login | ErrorClass::Transient)
        )
    }

    /// Returns true if the PIN was refused: it must not be tried again.
    pub(super) fn is_pin_refused(&self) -> bool {
        matches!(self.class(), Some(ErrorClass::Pin))
    }

    fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Module(error) => match **error {
                Error::Pkcs11(code, _) => Some(ErrorClass::from_code(code)),
                _ => None,
            },
            Self::Signer(_) => None,
        }
    }

    /// Converts the error for a caller; `token` describes the token.
    pub(super) fn into_token_error(self, token: &str, algorithm: Algorithm) -> TokenError {
        let error = match self {
            Self::Signer(error) => return error,
            Self::Module(error) => *error,
        };
        let Error::Pkcs11(code, function) = error else {
            let message = format!("the module of {token} returned an error outside of PKCS#11");
            return TokenError::configuration(message).with_source(error);
        };
        // The code's name only: its text is a page of the standard.
        let code_name = format!("{function:?}: {code:?}");
        match ErrorClass::from_code(code) {
            ErrorClass::Pin => pin_refused(),
            ErrorClass::Locked => {
                TokenError::configuration(format!("{token} does not accept a PIN: it is locked, expired or not set ({code_name})"))
                    .with_hint("the token's security officer can unlock it and set a new PIN")
            }
            ErrorClass::Unsupported => TokenError::configuration(format!(
                "{token} cannot sign with {algorithm} and this key ({code_name})"
            ))
            .with_hint("check that the key allows signing (`CKA_SIGN`), and that the token supports the mechanism"),
            ErrorClass::Login => {
                TokenError::configuration(format!("{token} requires another login ({code_name})"))
                    .with_hint("a key that requires the PIN at each signature is not supported (`CKA_ALWAYS_AUTHENTICATE`)")
            }
            ErrorClass::Transient => {
                TokenError::unavailable(format!("{token} failed ({code_name})"))
                    .with_local(true)
            }
        }
    }
}

/// Creates the error for a refused PIN, also when the same one would be tried again.
pub(super) fn pin_refused() -> TokenError {
    TokenError::configuration("the token refused the PIN").with_hint(
        "set the correct PIN; the refused one is not tried again, since a token locks itself after a few attempts",
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorClass {
    Pin,
    Locked,
    Unsupported,
    Login,
    /// Everything else, including vendor codes: the token was removed, is busy, or its network is down.
    Transient,
}

impl ErrorClass {
    fn from_code(code: RvError) -> Self {
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
            | RvError::MechanismParamInvalid => Self::Unsupported,
            RvError::UserAnotherAlreadyLoggedIn
            | RvError::UserNotLoggedIn
            | RvError::UserTooManyTypes
            | RvError::UserTypeInvalid => Self::Login,
            _ => Self::Transient,
        }
    }
}

impl From<Error> for Pkcs11Error {
    fn from(error: Error) -> Self {
        Self::Module(Box::new(error))
    }
}

impl From<TokenError> for Pkcs11Error {
    fn from(error: TokenError) -> Self {
        Self::Signer(error)
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use hallpass_core::ErrorKind::{Configuration, Unavailable};

    use super::*;

    #[test]
    fn a_return_code_has_a_kind_and_may_end_the_session() {
        for (code, kind, says, ends) in [
            (RvError::PinIncorrect, Configuration, "the PIN", false),
            (RvError::PinLocked, Configuration, "it is locked", false),
            (
                RvError::KeyFunctionNotPermitted,
                Configuration,
                "the token cannot sign with ES256 and this key (Sign: KeyFunctionNotPermitted)",
                false,
            ),
            (
                RvError::UserNotLoggedIn,
                Configuration,
                "the token requires another login",
                true,
            ),
            (
                RvError::DeviceRemoved,
                Unavailable,
                "the token failed",
                true,
            ),
        ] {
            let error = Pkcs11Error::from(Error::Pkcs11(code, Function::Sign));
            assert_eq!(error.ends_session(), ends, "{code:?}");
            let error = error.into_token_error("the token", Algorithm::Es256);
            assert_eq!(error.kind(), kind, "{code:?}");
            assert!(error.to_string().contains(says), "{code:?}: {error}");
        }
    }
}
