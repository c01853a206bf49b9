//! A bounded parser of the `WWW-Authenticate` header (RFC 9110 section 11.6.1), which is untrusted input.

use std::fmt;

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// The maximum number of bytes read from all header lines together; the rest is ignored.
const MAX_BYTES: usize = 8 * 1024;
/// The maximum number of challenges in a response, and of parameters in a challenge; the rest is ignored.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 16;

/// One challenge of a `WWW-Authenticate` header: a scheme and its parameters.
///
/// [`all`](Self::all) is more lenient than RFC 9110, because servers are: it accepts a missing comma and an unquoted
/// value. A syntax error ends the parsing of that line. It never fails, reads at most 8 KiB, and returns at most 16
/// challenges of 16 parameters each.
///
/// ```
/// use hallpass_core::authorize::Challenge;
/// use http::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// let line = r#"Negotiate, Bearer realm="orders", error="invalid_token""#;
/// headers.insert("www-authenticate", line.parse()?);
/// let challenges = Challenge::all(&headers);
/// assert_eq!(challenges[0].scheme(), "Negotiate");
/// assert!(challenges[1].is("bearer"));
/// assert_eq!(challenges[1].parameter("error"), Some("invalid_token"));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: Box<str>,
    /// Names in lower case, without duplicates.
    parameters: Vec<(Box<str>, Box<str>)>,
}

impl Challenge {
    /// Parses the challenges of all `WWW-Authenticate` lines, in order.
    pub fn all(headers: &HeaderMap) -> Vec<Self> {
        let mut found = Vec::new();
        let mut budget = MAX_BYTES;
        for line in headers.get_all(WWW_AUTHENTICATE) {
            let line = line.as_bytes();
            let line = &line[..line.len().min(budget)];
            budget -= line.len();
            Reader { rest: line }.challenges(&mut found);
        }
        found
    }

    /// Returns the authentication scheme as the server spelled it.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns true if the scheme matches, ignoring case.
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Returns a parameter's value without its quotes; the first one if the server sent several. The name's case is
    /// ignored. The text is untrusted: escape it before showing it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }
}

/// Values are not shown: a server may repeat the token in one.
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parameters.iter().map(|(name, _)| name).collect();
        f.debug_struct("Challenge")
            .field("scheme", &self.scheme)
            .field("parameters", &names)
            .finish()
    }
}

/// The rest of a line. Each step either consumes a byte or ends the line, so parsing is linear.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn challenges(mut self, found: &mut Vec<Challenge>) {
        let before = found.len();
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b','));
            let word = self.take(is_token);
            if word.is_empty() {
                return;
            }
            let after_word = self.rest;
            self.skip(is_space);
            if self.rest.first() == Some(&b'=') {
                // A parameter of the previous challenge on this line.
                let current = found[before..].last_mut();
                let (Some(challenge), Some(value)) = (current, self.value()) else {
                    return;
                };
                challenge.keep(word, value);
                continue;
            }
            if found.len() == MAX_CHALLENGES {
                return;
            }
            found.push(Challenge {
                scheme: text(word),
                parameters: Vec::new(),
            });
            if after_word.first().is_some_and(|byte| is_space(*byte)) {
                self.skip_token68();
            }
        }
    }

    /// Reads `=` and a value, quoted or not; returns `None` if a quote is not closed.
    fn value(&mut self) -> Option<Box<str>> {
        self.rest = &self.rest[1..];
        self.skip(is_space);
        if self.rest.first() != Some(&b'"') {
            return Some(text(self.take(is_unquoted)));
        }
        let mut value = Vec::new();
        let mut at = 1;
        loop {
            match self.rest.get(at)? {
                b'"' => break,
                b'\\' => {
                    value.push(*self.rest.get(at + 1)?);
                    at += 2;
                }
                byte => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
        self.rest = &self.rest[at + 1..];
        Some(text(&value))
    }

    /// Skips credentials in one piece instead of parameters (`Negotiate YII=`), which are not needed here.
    fn skip_token68(&mut self) {
        let start = self.rest;
        let word = self.take(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        self.skip(|byte| byte == b'=');
        self.skip(is_space);
        let whole = matches!(self.rest.first(), None | Some(b','));
        // Without a `=` it may be the next scheme, after a missing comma; `take` handles both alike.
        if word.is_empty() || !whole {
            self.rest = start;
        }
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, unwanted: impl Fn(u8) -> bool) {
        self.take(unwanted);
    }
}

impl Challenge {
    fn keep(&mut self, name: &[u8], value: Box<str>) {
        let name = text(&name.to_ascii_lowercase());
        if self.parameters.len() < MAX_PARAMETERS && self.parameter(&name).is_none() {
            self.parameters.push((name, value));
        }
    }
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns true for a token character of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns true for a byte of an unquoted value: more than a token's, since servers write URLs and scopes unquoted.
fn is_unquoted(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b',' | b'"')
}

#[cfg(test)]
mod tests;
