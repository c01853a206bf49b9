use std::{borrow::Cow, error::Error, fmt, time::Duration};

use hallpass_core::Hint;

/// An error that prevents building a source or a transport: which setting is wrong, why, and what to do.
///
/// Returned before any I/O; contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    setting: &'static str,
    message: Cow<'static, str>,
    hint: Option<Hint>,
}

impl BuildError {
    /// Creates an error about `setting`, for adapters that build on this crate.
    pub fn new(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            setting,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds a hint: what to do about the error.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Refuses a timeout of zero, within which nothing can succeed.
    pub(crate) fn check_timeout(setting: &'static str, timeout: Duration) -> Result<(), Self> {
        if timeout.is_zero() {
            return Err(Self::new(setting, "must be greater than zero"));
        }
        Ok(())
    }

    /// Returns the invalid setting, spelled as the builder's method or the RFC's parameter.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// Returns the reason.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the hint, if the message itself does not say what to do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_ref().map(Hint::text)
    }

    /// Returns the hint's name, for a program that replaces the libraries' method names with its own.
    pub fn hint_name(&self) -> Option<&'static str> {
        self.hint.as_ref().and_then(Hint::name)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.message)?;
        match self.hint() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for BuildError {}
