use std::{borrow::Cow, error::Error, fmt};

/// An error that prevents building a [`RedisTokenStore`](crate::RedisTokenStore): which setting is wrong, and why.
///
/// Returned before any I/O; contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    setting: &'static str,
    message: Cow<'static, str>,
}

impl BuildError {
    pub(crate) fn new(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }

    /// Returns the invalid setting, spelled as the builder's method.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// Returns the reason, and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.message)
    }
}

impl Error for BuildError {}
