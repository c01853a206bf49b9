use std::{borrow::Cow, error::Error, fmt};

use hallpass_core::Hint;

/// A source or a transport could not be built: the text says which setting is wrong, why, and what to do.
///
/// It comes before any I/O and carries no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    setting: &'static str,
    message: Cow<'static, str>,
    hint: Option<Hint>,
}

impl BuildError {
    /// An error about `setting`, for adapters that build on this crate.
    pub fn new(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            setting,
            message: message.into(),
            hint: None,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The setting that is at fault, spelled as the builder's method or the RFC's parameter.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// What is wrong with it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where the message does not say so already.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_ref().map(Hint::text)
    }

    /// The name of the hint, by which a program with other names for the libraries' methods chooses words of its own.
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
