use hallpass_core::TokenError;

/// The error of a request: there was no token for it, or reqwest failed.
///
/// Its text and its `source()` chain are those of the cause.
///
/// ```
/// fn explain(error: &hallpass_reqwest::Error) {
///     if let Some(token_error) = error.token_error() {
///         eprintln!("nothing was sent, {:?}: {token_error}", token_error.kind());
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

impl Error {
    /// Returns the reason why there is no token, if that is the cause. After a token was refused, it is the reason why
    /// there is no other.
    pub fn token_error(&self) -> Option<&TokenError> {
        match &self.0 {
            Cause::Token(error) => Some(error),
            Cause::Http(_) => None,
        }
    }

    /// Returns reqwest's own error, if that is the cause. It names the URL, as usual in reqwest, and never the token.
    pub fn http_error(&self) -> Option<&reqwest::Error> {
        match &self.0 {
            Cause::Token(_) => None,
            Cause::Http(error) => Some(error),
        }
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        Self(error.into())
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self(error.into())
    }
}
