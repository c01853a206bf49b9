use hallpass_core::TokenError;

/// The error of a request: there was no token for it, or the client failed.
///
/// Its text and its `source()` chain are those of the cause.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[cfg(feature = "reqwest")]
    #[error(transparent)]
    Reqwest(#[from] reqwest::Error),
    #[cfg(feature = "ureq")]
    #[error(transparent)]
    Ureq(#[from] Box<ureq::Error>),
}

impl Error {
    /// Returns the reason why there is no token, if that is the cause. After a token was refused, it is the reason why
    /// there is no other.
    #[allow(clippy::unnecessary_wraps)] // Without an integration there is no other cause.
    pub fn token_error(&self) -> Option<&TokenError> {
        match &self.0 {
            Cause::Token(error) => Some(error),
            #[cfg(any(feature = "reqwest", feature = "ureq"))]
            _ => None,
        }
    }

    /// Returns reqwest's own error, if that is the cause. It names the URL, as usual in reqwest, and never the token.
    #[cfg(feature = "reqwest")]
    pub fn reqwest_error(&self) -> Option<&reqwest::Error> {
        if let Cause::Reqwest(error) = &self.0 {
            return Some(error);
        }
        None
    }

    /// Returns ureq's own error, if that is the cause.
    #[cfg(feature = "ureq")]
    pub fn ureq_error(&self) -> Option<&ureq::Error> {
        if let Cause::Ureq(error) = &self.0 {
            return Some(error);
        }
        None
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        Self(error.into())
    }
}

#[cfg(feature = "reqwest")]
impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self(error.into())
    }
}

#[cfg(feature = "ureq")]
impl From<ureq::Error> for Error {
    fn from(error: ureq::Error) -> Self {
        Self(Box::new(error).into())
    }
}
