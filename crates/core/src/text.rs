//! The one filter for server-supplied text, before anyone sees it.

mod decode;
mod escape;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, fmt, ops::Range};

use zeroize::Zeroizing;

/// The maximum length of a shown extract, in characters of the escaped text.
const MAX_SHOWN_CHARS: usize = 256;
/// The maximum length of a text in which an extract's secrets are sought, in bytes: more than can be shown, and enough
/// after it to distinguish a secret that continues from one that ends.
const MAX_SEARCHED_BYTES: usize = MAX_SHOWN_CHARS * 4 + 2 * decode::CUT_MARGIN_BYTES;

/// A filter for text from a server: removes echoes of secrets, escapes unprintable characters, and truncates.
///
/// Use it for all server-supplied text in an error, a log or a terminal. Add every credential that was sent. It is found
/// regardless of case, as it is and in these encodings, of which up to three may be nested:
///
/// - escapes of all or some characters: percent-encoded (`%2f`, `%u002f`, and `+` for a space), HTML character
///   references (numeric, or named ones of ASCII and Latin-1), backslash escapes (`\/`, `\x2f`, `\u002f`, `\u{2f}`,
///   `\057`) and quoted-printable with its soft line ends;
/// - Base64 of either alphabet, with or without padding and line ends, also in the middle of more;
/// - hexadecimal digits, also separated by spaces, colons or hyphens.
///
/// Out of scope: a part of a credential is not found, such as one without its end, and neither is one that was changed
/// in another way: reversed, with other characters in between, hashed, encrypted, compressed, in Base32, in decimal
/// numbers, in another character set than UTF-8, or in Base64 of which the letters' case was changed.
///
/// ```
/// use hallpass_core::TextFilter;
///
/// let filter = TextFilter::new().with_secret("s3cr/t");
/// assert_eq!(filter.clean("got client_secret=S3cr%2ft\x1b"), "got client_secret=[redacted]\\u{1b}");
/// ```
#[derive(Clone, Default)]
pub struct TextFilter {
    /// Folded, such as to lower case: a lower-cased host name may hold a lower-cased secret.
    secrets: Vec<Zeroizing<Vec<u8>>>,
}

impl TextFilter {
    /// The replacement of a secret.
    pub const REDACTED: &str = "[redacted]";

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
            let folded = spelling.bytes().map(decode::fold).collect();
            let spelling: Zeroizing<Vec<u8>> = Zeroizing::new(folded);
            if !spelling.is_empty() && !self.secrets.contains(&spelling) {
                self.secrets.push(spelling);
            }
        }
    }

    /// Returns true if the text holds one of the secrets, in any encoding.
    pub fn finds_secret(&self, text: &str) -> bool {
        !self.echoes(text, false).is_empty()
    }

    /// Returns the text without the secrets, escaped, and cut at 256 characters.
    ///
    /// Everything that could control a terminal or forge a log line is escaped: control characters of both sets, marks
    /// that change the direction of writing, and white space other than the space. Letters of all scripts remain.
    /// Cleaning is idempotent.
    pub fn clean(&self, text: &str) -> String {
        let (searched, echoes) = self.search(text);
        let mut echoes = echoes.into_iter().peekable();
        let mut clean = Extract::default();
        for (at, char) in searched.char_indices() {
            // Echoes do not overlap, so at most one ends here.
            let _ = echoes.next_if(|echo| echo.end <= at);
            match echoes.peek() {
                Some(echo) if echo.start == at => clean.push(Self::REDACTED.chars()),
                Some(echo) if echo.contains(&at) => {}
                _ if matches!(char, ' '..='~') || char.is_alphanumeric() => clean.push([char]),
                _ => clean.push(char.escape_unicode()),
            }
        }
        clean.text
    }

    /// Does the same as [`clean`](Self::clean) for the text of an HTML or XML element, decoding its character references.
    pub fn clean_html(&self, text: &str) -> String {
        let (searched, echoes) = self.search(text);
        let (mut decoded, mut at) = (String::new(), 0);
        // An echo may hold what looks like a reference.
        for echo in echoes {
            decoded.push_str(&escape::decode_html(&searched[at..echo.start]));
            decoded.push_str(Self::REDACTED);
            at = echo.end;
        }
        decoded.push_str(&escape::decode_html(&searched[at..]));
        self.clean(&decoded)
    }

    /// Returns the part of the text that can be shown, with the echoes in it.
    fn search<'a>(&self, text: &'a str) -> (&'a str, Vec<Range<usize>>) {
        let searched = &text[..boundary_before(text, MAX_SEARCHED_BYTES)];
        let echoes = self.echoes(searched, searched.len() < text.len());
        (searched, echoes)
    }

    /// Returns the positions of secrets in the text, or in the start of a cut one: disjoint, in order, and on character
    /// boundaries.
    fn echoes(&self, text: &str, is_cut: bool) -> Vec<Range<usize>> {
        let mut found = decode::find(text, is_cut, &self.secrets);
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

/// An extract to show, cut at [`MAX_SHOWN_CHARS`].
#[derive(Default)]
struct Extract {
    text: String,
    chars: usize,
}

impl Extract {
    fn push(&mut self, chars: impl IntoIterator<Item = char>) {
        for char in chars {
            match self.chars.cmp(&MAX_SHOWN_CHARS) {
                Ordering::Less => self.text.push(char),
                Ordering::Equal => self.text.push_str("..."),
                Ordering::Greater => {}
            }
            self.chars += 1;
        }
    }
}
