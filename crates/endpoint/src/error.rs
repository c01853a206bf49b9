use std::borrow::Cow;

/// A source or a transport could not be built: the text says which setting is wrong, why, and what to do.
///
/// It comes before any I/O and carries no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {message}")]
pub struct BuildError {
    setting: &'static str,
    message: Cow<'static, str>,
}

impl BuildError {
    /// An error about `setting`, for adapters that build on this crate.
    pub fn new(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }

    /// The setting that is at fault, spelled as the builder's method or the RFC's parameter.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}
