use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::{Hint, InvalidRequest, SecretError, text::safe_text};

/// The reason why there is no token: one word in size and cheap to clone, so that all waiters of one request share it.
///
/// [`kind`](Self::kind) says who is at fault, [`is_transient`](Self::is_transient) whether a later retry can help. The
/// text says what was wrong and what to do. It holds no secret, and neither do `Debug` and the `source()` chain;
/// server-supplied text appears as a short, escaped extract.
///
/// ```
/// use hallpass_core::{ErrorKind, TokenError};
///
/// fn page_someone(_: &TokenError) {}
///
/// fn handle(error: &TokenError) {
///     match error.kind() {
///         ErrorKind::CredentialsRefused | ErrorKind::Configuration => page_someone(error),
///         _ if error.is_transient() => eprintln!("try again in {:?}: {error}", error.retry_after()),
///         _ => eprintln!("{error}"),
///     }
/// }
/// # handle(&TokenError::unavailable("the server is down"));
/// ```
#[derive(Clone)]
pub struct TokenError(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    hint: Option<Hint>,
    server_message: Option<Box<str>>,
    host: Option<Box<str>>,
    status: Option<StatusCode>,
    oauth_error: Option<OAuthError>,
    retry_after: Option<Duration>,
    transient: bool,
    local: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The party at fault, which determines what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client is misconfigured: an address, a certificate, a proxy, an unreadable secret. It needs a configuration
    /// change.
    Configuration,
    /// The server does not accept the client: wrong, expired or revoked credentials, which must be renewed.
    CredentialsRefused,
    /// The server knows the client but refuses the request: scope, resource, grant.
    RequestRefused,
    /// The server's response cannot be used as a token.
    UnusableResponse,
    /// The server could not be reached, was too slow or is overloaded. It may recover by itself.
    Unavailable,
}

impl TokenError {
    /// Creates an error of this kind, permanent unless the kind is [`ErrorKind::Unavailable`].
    ///
    /// `message` is lower case, without a full stop, and holds no secret.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            server_message: None,
            host: None,
            status: None,
            oauth_error: None,
            retry_after: None,
            transient: kind == ErrorKind::Unavailable,
            local: false,
            source: None,
        }))
    }

    /// Creates an error of kind [`ErrorKind::Configuration`].
    pub fn configuration(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Creates an error of kind [`ErrorKind::CredentialsRefused`].
    pub fn credentials_refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::CredentialsRefused, message)
    }

    /// Creates an error of kind [`ErrorKind::RequestRefused`].
    pub fn request_refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::RequestRefused, message)
    }

    /// Creates an error of kind [`ErrorKind::UnusableResponse`].
    pub fn unusable_response(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::UnusableResponse, message)
    }

    /// Creates a transient error of kind [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Replaces the message.
    #[must_use]
    pub fn with_message(self, message: impl Into<Cow<'static, str>>) -> Self {
        self.change(|inner| inner.message = message.into())
    }

    /// Adds a hint on what to do.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<Hint>) -> Self {
        self.change(|inner| inner.hint = Some(hint.into()))
    }

    /// Adds the server's host.
    #[must_use]
    pub fn with_host(self, host: &str) -> Self {
        self.change(|inner| inner.host = Some(safe_text(host).into()))
    }

    /// Adds the HTTP status of the response.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        self.change(|inner| inner.status = Some(status))
    }

    /// Adds the server's error in the terms of RFC 6749 section 5.2.
    #[must_use]
    pub fn with_oauth_error(self, error: OAuthError) -> Self {
        self.change(|inner| inner.oauth_error = Some(error))
    }

    /// Adds the server's error in other terms than those of RFC 6749: a vendor's message, or the title of a web page.
    /// It is escaped and cut at 256 characters; remove secrets from it first, with a [`TextFilter`](crate::TextFilter). An
    /// empty one is ignored.
    #[must_use]
    pub fn with_server_message(self, message: &str) -> Self {
        if message.is_empty() {
            return self;
        }
        self.change(|inner| inner.server_message = Some(safe_text(message).into()))
    }

    /// Sets the delay before a retry that the server requested.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.change(|inner| inner.retry_after = Some(wait))
    }

    /// Sets whether a later retry, with nothing changed, can help.
    #[must_use]
    pub fn with_transient(self, transient: bool) -> Self {
        self.change(|inner| inner.transient = transient)
    }

    /// Marks an error of this machine, before anything was sent: a secret that could not be read in time, a hardware
    /// token that was removed. A call is not retried after it, even if it is transient.
    #[must_use]
    pub fn with_local(self, local: bool) -> Self {
        self.change(|inner| inner.local = local)
    }

    /// Adds the cause. It must hold no secret, at any depth: remove the URL from an HTTP client's error first.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.change(|inner| inner.source = Some(Arc::from(source.into())))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Returns the party at fault, which determines what to do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns true if a later retry, with nothing changed, can help.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// Returns true if this machine failed, before anything was sent ([`with_local`](Self::with_local)).
    pub fn is_local(&self) -> bool {
        self.0.local
    }

    /// Returns how long to wait before a retry: the server's `Retry-After` (RFC 9110 section 10.2.3), counted from its
    /// response, or the rest of the time for which a cache repeats the error.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the HTTP status of the response, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Returns the server's error in the terms of RFC 6749 section 5.2, if any.
    pub fn oauth_error(&self) -> Option<&OAuthError> {
        self.0.oauth_error.as_ref()
    }

    /// Returns the server's error in other terms than those of RFC 6749, if any.
    pub fn server_message(&self) -> Option<&str> {
        self.0.server_message.as_deref()
    }

    /// Finds the token error in an error of another library: the error itself, or the first of its causes that is one.
    ///
    /// ```
    /// use std::error::Error;
    /// use hallpass_core::TokenError;
    ///
    /// let error: Box<dyn Error> = TokenError::unavailable("the server is down").into();
    /// assert!(TokenError::find_in(&*error).is_some_and(TokenError::is_transient));
    /// assert!(TokenError::find_in(&std::fmt::Error).is_none());
    /// ```
    pub fn find_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&error| error.source())
            .find_map(|error| error.downcast_ref())
    }

    /// Returns the server's host, with its port if it is not the scheme's default.
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// Returns what went wrong, with the server's text and host: the error without its hint.
    pub fn message(&self) -> String {
        Message(&self.0).to_string()
    }

    /// Returns what to do about it, if known; the text names methods of the libraries.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_ref().map(Hint::text)
    }

    /// Returns the name of the hint, by which a program with other names for the libraries' methods chooses its own
    /// text.
    pub fn hint_name(&self) -> Option<&'static str> {
        self.0.hint.as_ref().and_then(Hint::name)
    }
}

struct Message<'a>(&'a Inner);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.0;
        f.write_str(&inner.message)?;
        if let Some(error) = &inner.oauth_error {
            write!(f, ": {error}")?;
        } else if let Some(message) = &inner.server_message {
            write!(f, ": \"{message}\"")?;
        }
        match (&inner.host, inner.status) {
            (Some(host), Some(status)) => write!(f, " ({host}, HTTP {})", status.as_u16()),
            (Some(host), None) => write!(f, " ({host})"),
            (None, Some(status)) => write!(f, " (HTTP {})", status.as_u16()),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Message(&self.0).fmt(f)?;
        if let Some(hint) = self.hint() {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("TokenError")
            .field("kind", &inner.kind)
            .field("message", &inner.message)
            .field("hint", &inner.hint)
            .field("host", &inner.host)
            .field("status", &inner.status)
            .field("oauth_error", &inner.oauth_error)
            .field("server_message", &inner.server_message)
            .field("retry_after", &inner.retry_after)
            .field("transient", &inner.transient)
            .field("local", &inner.local)
            .field("source", &inner.source)
            .finish()
    }
}

impl Error for TokenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl From<SecretError> for TokenError {
    fn from(error: SecretError) -> Self {
        let kind = if error.is_transient() {
            ErrorKind::Unavailable
        } else {
            ErrorKind::Configuration
        };
        Self::new(kind, error.to_string()).with_local(error.is_local())
    }
}

impl From<InvalidRequest> for TokenError {
    fn from(error: InvalidRequest) -> Self {
        Self::configuration(error.to_string())
    }
}

/// A server's error in the terms of RFC 6749 section 5.2, escaped and cut at 256 characters.
///
/// Decisions use the code; the description is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    code: Box<str>,
    description: Option<Box<str>>,
    uri: Option<Box<str>>,
}

impl OAuthError {
    /// Creates an error with this code, such as `invalid_client`.
    pub fn new(code: &str) -> Self {
        Self {
            code: safe_text(code).into(),
            description: None,
            uri: None,
        }
    }

    /// Adds the `error_description`.
    #[must_use]
    pub fn with_description(mut self, description: &str) -> Self {
        self.description = Some(safe_text(description).into());
        self
    }

    /// Adds the `error_uri`.
    #[must_use]
    pub fn with_uri(mut self, uri: &str) -> Self {
        self.uri = Some(safe_text(uri).into());
        self
    }

    /// Returns the `error` code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the `error_description`, for people.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Returns the `error_uri`, for people.
    pub fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.code)?;
        if let Some(description) = &self.description {
            write!(f, ", \"{description}\"")?;
        }
        if let Some(uri) = &self.uri {
            write!(f, ", see {uri}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<TokenError>(), size_of::<usize>());
        assert_eq!(size_of::<Option<TokenError>>(), size_of::<usize>());
    }

    #[test]
    fn the_text_names_cause_place_and_remedy() {
        let error = TokenError::credentials_refused("the client was refused")
            .with_oauth_error(OAuthError::new("invalid_client").with_description("no such client"))
            .with_host("login.example")
            .with_status(StatusCode::UNAUTHORIZED)
            .with_hint("check the client_id");
        assert_eq!(
            error.to_string(),
            "the client was refused: `invalid_client`, \"no such client\" (login.example, HTTP 401); check the client_id"
        );
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert_eq!(error.oauth_error().unwrap().code(), "invalid_client");
        assert!(!error.is_transient());
    }

    #[test]
    fn message_and_hint_are_apart() {
        const CHECK: Hint = Hint::named("check-id", "check `client_id`");
        let error = TokenError::credentials_refused("the client was refused")
            .with_server_message("no such \x1bclient")
            .with_status(StatusCode::UNAUTHORIZED);
        let message = "the client was refused: \"no such \\u{1b}client\" (HTTP 401)";
        assert_eq!((error.message().as_str(), error.hint()), (message, None));
        assert_eq!(error.server_message(), Some("no such \\u{1b}client"));
        let named = error.clone().with_hint(CHECK);
        assert_eq!(named.message(), message);
        assert_eq!(
            (named.hint(), named.hint_name()),
            (Some(CHECK.text()), CHECK.name())
        );
        assert_eq!(named.to_string(), format!("{message}; check `client_id`"));
        let plain = named.with_hint(format!("ask {}", "someone"));
        assert_eq!(
            (plain.hint(), plain.hint_name()),
            (Some("ask someone"), None)
        );
    }

    // covers: F-33, C-27
    #[test]
    fn what_the_server_wrote_cannot_steer_a_terminal() {
        let error = OAuthError::new("bad\x1b[2J")
            .with_description("line\nbreak")
            .with_uri("https://x/\r");
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown}");
    }

    #[test]
    fn a_missing_secret_is_a_wrong_setting_or_an_outage() {
        let wrong = TokenError::from(SecretError::new("no such file"));
        assert_eq!(wrong.kind(), ErrorKind::Configuration);
        let down = TokenError::from(SecretError::unavailable("the vault is sealed"));
        assert_eq!(down.kind(), ErrorKind::Unavailable);
        assert!(down.is_transient() && !wrong.is_transient());
        let slow = TokenError::from(SecretError::local("the command did not end"));
        assert!(slow.is_transient() && slow.is_local() && !down.is_local());
        let denied = TokenError::from(SecretError::inaccessible("the keychain is locked"));
        assert_eq!(denied.kind(), ErrorKind::Configuration);
        assert!(!denied.is_transient() && !denied.is_local());
    }

    #[test]
    fn a_clone_is_the_same_error_and_changing_one_leaves_the_other() {
        let error = TokenError::unavailable("down").with_source(std::io::Error::other("reset"));
        assert!(error.is_transient());
        let changed = error.clone().with_retry_after(Duration::from_secs(2));
        assert_eq!(error.retry_after(), None);
        assert_eq!(changed.retry_after(), Some(Duration::from_secs(2)));
        assert_eq!(changed.source().unwrap().to_string(), "reset");
    }
}
