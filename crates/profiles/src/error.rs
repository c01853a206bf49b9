//! The error about a profile.

use std::{error::Error, fmt, sync::Arc};

use hallpass_core::TokenError;
use hallpass_endpoint::BuildError;

use crate::hints;

/// A profile cannot be read, or its settings are wrong.
///
/// The message names the file with its line, the variable or the setting, never a value: a secret may be in the wrong
/// place. A reference to a secret is shown neither.
#[derive(Clone, Debug)]
pub struct ProfileError {
    message: String,
    hint: Option<String>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ProfileError {
    /// Creates an error, for a provider that a program registers. The message is in lower case, names the setting, and
    /// shows no value.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// Sets what to do about it, in terms of settings.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns what is wrong, without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what to do about it, in terms of settings and variables.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for ProfileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl From<BuildError> for ProfileError {
    fn from(error: BuildError) -> Self {
        let (message, hint) = hints::setting_error(&error);
        Self {
            message,
            hint,
            source: Some(Arc::new(error)),
        }
    }
}

/// An error of the configuration, for a source that is built when it is first used.
impl From<ProfileError> for TokenError {
    fn from(error: ProfileError) -> Self {
        let message = error.to_string();
        Self::configuration(message).with_source(error)
    }
}
