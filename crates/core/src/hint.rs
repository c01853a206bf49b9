use std::{borrow::Cow, fmt};

/// Advice in an error: the reader's next step.
///
/// The text names methods of these libraries. A program whose users have other names for the same things, such as the
/// settings of a file, looks up the advice by its [`name`](Self::name) and shows its own text.
///
/// ```
/// use hallpass_core::{Hint, TokenError};
///
/// const LIMIT: Hint = Hint::named("raise-limit", "raise the limit with `Builder::limit`");
///
/// let error = TokenError::unusable_response("the answer is too long").with_hint(LIMIT);
/// let shown = match error.hint_name() {
///     Some("raise-limit") => "set `limit` in the configuration file",
///     _ => error.hint().unwrap_or_default(),
/// };
/// assert_eq!(shown, "set `limit` in the configuration file");
/// // A text alone is advice that holds everywhere.
/// assert_eq!(TokenError::unavailable("down").with_hint("ask the operator").hint_name(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    name: Option<&'static str>,
    text: Cow<'static, str>,
}

impl Hint {
    /// Creates advice that programs can look up; the name is unique and stable.
    pub const fn named(name: &'static str, text: &'static str) -> Self {
        Self {
            name: Some(name),
            text: Cow::Borrowed(text),
        }
    }

    /// Replaces the text and keeps the name: the same advice about another setting.
    #[must_use]
    pub fn with_text(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            ..self
        }
    }

    /// Returns the name of this advice; `None` if its text fits every program.
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Returns the advice in the words of the library: lower case, without a full stop.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Self {
        Cow::Borrowed(text).into()
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Cow::<'static, str>::Owned(text).into()
    }
}

impl From<Cow<'static, str>> for Hint {
    fn from(text: Cow<'static, str>) -> Self {
        Self { name: None, text }
    }
}
