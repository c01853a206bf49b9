//! The one filter for server-supplied text, before anyone sees it.

mod decode;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

use zeroize::Zeroizing;

/// The maximum length of a shown extract, in characters of the escaped text.
const SHOWN_CHARS: usize = 256;
/// The replacement of a secret.
const MARK: &str = "[redacted]";
/// The maximum growth of a secret by encoding: `&#x27;` is the longest encoding of a character.
const GROWTH: usize = 6;

/// A filter for text from a server: removes echoes of secrets, escapes unprintable characters, and truncates.
///
/// Use it for all server-supplied text in an error, a log or a terminal. Add every credential that was sent: it is
/// found as it is and percent-encoded (`+` read both ways), form-encoded, HTML-escaped, backslash-escaped and in Base64
/// of either alphabet, also if these are nested, and regardless of case.
///
/// ```
/// use hallpass_core::TextFilter;
///
/// let filter = TextFilter::new().with_secret("s3cr/t");
/// assert_eq!(filter.clean("got client_secret=S3cr%2ft\x1b"), "got client_secret=[redacted]\\u{1b}");
/// ```
#[derive(Clone, Default)]
pub struct TextFilter {
    /// In lower case: a lower-cased host name may hold a lower-cased secret.
    secrets: Vec<Zeroizing<Vec<u8>>>,
}

impl TextFilter {
    /// Creates a filter without secrets, which still escapes and truncates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret to remove. An empty one is ignored.
    #[must_use]
    pub fn with_secret(mut self, secret: &str) -> Self {
        self.add_secret(secret);
        self
    }

    /// Adds a secret to remove. An empty one is ignored.
    pub fn add_secret(&mut self, secret: &str) {
        for spelling in [secret, secret.trim()] {
            let spelling = Zeroizing::new(spelling.to_ascii_lowercase().into_bytes());
            if !spelling.is_empty() && !self.secrets.contains(&spelling) {
                self.secrets.push(spelling);
            }
        }
    }

    /// Returns true if the text holds one of the secrets, in any encoding.
    pub fn finds_secret(&self, text: &str) -> bool {
        !self.echoes(text).is_empty()
    }

    /// Returns the text without the secrets, escaped, and cut at 256 characters.
    ///
    /// Everything that could control a terminal or forge a log line is escaped: control characters of both sets, marks
    /// that change the direction of writing, and white space other than the space. Letters of all scripts remain.
    /// Cleaning is idempotent.
    pub fn clean(&self, text: &str) -> String {
        let text = self.relevant(text);
        let mut echoes = self.echoes(text).into_iter().peekable();
        let mut clean = Extract::default();
        for (at, char) in text.char_indices() {
            // Echoes do not overlap, so at most one ends here.
            let _ = echoes.next_if(|echo| echo.end <= at);
            match echoes.peek() {
                Some(echo) if echo.start == at => clean.push(MARK.chars()),
                Some(echo) if echo.contains(&at) => {}
                _ if matches!(char, ' '..='~') || char.is_alphanumeric() => clean.push([char]),
                _ => clean.push(char.escape_unicode()),
            }
        }
        clean.text
    }

    /// Returns the part of the text that can be shown, or that belongs to a secret whose start is shown.
    fn relevant<'a>(&self, text: &'a str) -> &'a str {
        let longest = self.secrets.iter().map(|secret| secret.len()).max();
        let bytes = (SHOWN_CHARS + 1) * 4 + longest.unwrap_or(0) * GROWTH;
        &text[..boundary_before(text, bytes)]
    }

    /// Returns the positions of secrets in the text: disjoint, in order, and on character boundaries.
    fn echoes(&self, text: &str) -> Vec<Range<usize>> {
        let shortest = self.secrets.iter().map(|secret| secret.len()).min();
        let Some(shortest) = shortest else {
            return Vec::new();
        };
        let mut found = Vec::new();
        decode::for_each_form(text, shortest, |form| {
            for secret in &self.secrets {
                found.extend(form.find(secret));
            }
        });
        for echo in &mut found {
            echo.start = boundary_before(text, echo.start);
            echo.end = boundary_after(text, echo.end);
        }
        found.sort_by_key(|echo| echo.start);
        let mut apart: Vec<Range<usize>> = Vec::new();
        for echo in found {
            match apart.last_mut() {
                Some(last) if echo.start <= last.end => last.end = last.end.max(echo.end),
                _ => apart.push(echo),
            }
        }
        apart
    }
}

impl fmt::Debug for TextFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextFilter(..)")
    }
}

/// Escapes and truncates a text that holds no secret.
pub(crate) fn safe_text(text: &str) -> String {
    TextFilter::new().clean(text)
}

/// Returns the last character boundary that is not after `at`.
fn boundary_before(text: &str, at: usize) -> usize {
    let mut before = (0..=at.min(text.len())).rev();
    // The start is a boundary.
    before.find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Returns the first character boundary that is not before `at`.
fn boundary_after(text: &str, at: usize) -> usize {
    let mut after = at..text.len();
    let found = after.find(|at| text.is_char_boundary(*at));
    found.unwrap_or(text.len())
}

/// An extract to show, cut at [`SHOWN_CHARS`].
#[derive(Default)]
struct Extract {
    text: String,
    chars: usize,
}

impl Extract {
    fn push(&mut self, chars: impl IntoIterator<Item = char>) {
        for char in chars {
            if self.chars == SHOWN_CHARS {
                self.text.push_str("...");
            } else if self.chars < SHOWN_CHARS {
                self.text.push(char);
            }
            self.chars += 1;
        }
    }
}
