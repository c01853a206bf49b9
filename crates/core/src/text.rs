//! The one filter for text that a server wrote, before anyone sees it.

mod decode;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

use zeroize::Zeroizing;

/// The longest extract of a server's text that is shown, in characters of the escaped text.
const SHOWN_CHARS: usize = 256;
/// Stands where a secret was.
const MARK: &str = "[redacted]";
/// How much longer than a secret its encoded form may be: `&#x27;` is the longest spelling of a character.
const GROWTH: usize = 6;

/// A filter for text from a server: removes echoes of secrets, escapes what is not printable, and cuts.
///
/// Use it for each word of a server's that goes into an error, a log or a terminal. Add every credential that was sent:
/// it is found as it is and percent-encoded (`+` read both ways), form-encoded, HTML-escaped, backslash-escaped and in
/// Base64 of either alphabet, also where these are nested and in any case of letters.
///
/// ```
/// use hallpass_core::TextFilter;
///
/// let filter = TextFilter::new().with_secret("s3cr/t");
/// assert_eq!(filter.clean("got client_secret=S3cr%2ft\x1b"), "got client_secret=[redacted]\\u{1b}");
/// ```
#[derive(Clone, Default)]
pub struct TextFilter {
    /// In lower case: a host's name loses its case, and its owner's secret with it.
    secrets: Vec<Zeroizing<Vec<u8>>>,
}

impl TextFilter {
    /// Creates a filter that knows no secret, and escapes and cuts all the same.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret to those that are removed. An empty one is ignored.
    #[must_use]
    pub fn with_secret(mut self, secret: &str) -> Self {
        self.add_secret(secret);
        self
    }

    /// Adds a secret to those that are removed. An empty one is ignored.
    pub fn add_secret(&mut self, secret: &str) {
        for spelling in [secret, secret.trim()] {
            let spelling = Zeroizing::new(spelling.to_ascii_lowercase().into_bytes());
            if !spelling.is_empty() && !self.secrets.contains(&spelling) {
                self.secrets.push(spelling);
            }
        }
    }

    /// Returns true if the text holds one of the secrets, in whatever spelling.
    pub fn finds_secret(&self, text: &str) -> bool {
        !self.echoes(text).is_empty()
    }

    /// Returns the text without the secrets, escaped, and cut at 256 characters.
    ///
    /// Everything that could steer a terminal or forge a log line is escaped: control characters of both sets, marks that
    /// change the direction of writing, and white space other than the space. Letters of all scripts are kept. What has
    /// been cleaned stays as it is when it is cleaned again.
    pub fn clean(&self, text: &str) -> String {
        let text = self.relevant(text);
        let mut echoes = self.echoes(text).into_iter().peekable();
        let mut clean = Extract::default();
        for (at, char) in text.char_indices() {
            // They are apart, so that at most one ends here.
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

    /// The start of the text, as long as anything of it can be shown or belongs to a secret whose start is shown.
    fn relevant<'a>(&self, text: &'a str) -> &'a str {
        let longest = self.secrets.iter().map(|secret| secret.len()).max();
        let bytes = (SHOWN_CHARS + 1) * 4 + longest.unwrap_or(0) * GROWTH;
        &text[..boundary_before(text, bytes)]
    }

    /// Where secrets are in the text: apart, in order, and on boundaries of characters.
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

/// Escapes and cuts a text that holds no secret.
pub(crate) fn safe_text(text: &str) -> String {
    TextFilter::new().clean(text)
}

/// The last boundary of characters that is not behind `at`.
fn boundary_before(text: &str, at: usize) -> usize {
    let mut before = (0..=at.min(text.len())).rev();
    // The start is one.
    before.find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The first boundary of characters that is not before `at`.
fn boundary_after(text: &str, at: usize) -> usize {
    let mut after = at..text.len();
    let found = after.find(|at| text.is_char_boundary(*at));
    found.unwrap_or(text.len())
}

/// An extract that is shown, cut at [`SHOWN_CHARS`].
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
