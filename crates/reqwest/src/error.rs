use hallpass_core::TokenError;

/// A request could not be sent, or was not answered: there was no token for it, or reqwest failed.
///
/// It reads as what it was, in its text and in its `source()` chain.
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
    /// Why there is no token, where that is what happened. After a token was refused, it tells why there is no other.
    pub fn token_error(&self) -> Option<&TokenError> {
        match &self.0 {
            Cause::Token(error) => Some(error),
            Cause::Http(_) => None,
        }
    }

    /// What reqwest said, where that is what happened. It names the URL, as always in reqwest; the token is in none.
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
