//! Finds a secret in any text that it leaked into, in every encoding that a program may give it by mistake.
//!
//! A leak test inserts a canary, collects all output, and asserts that the canary is absent. It needs a positive
//! control, or it may look for a text that was never inserted:
//!
//! ```
//! use hallpass_testkit::leak;
//!
//! const CANARY: &str = "s3cr3t-canary";
//! assert!(leak::find(&format!("{:?}", CANARY.as_bytes()), CANARY).is_some());
//! leak::assert_clean("nothing to see", CANARY);
//! ```

use std::{
    error::Error,
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// An encoding in which a secret was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spelling {
    /// Unchanged.
    Plain,
    /// As in a string's `Debug` output.
    Escaped,
    /// As in the `Debug` output of its bytes: `115, 51, 99`.
    DecimalBytes,
    /// Hexadecimal digits.
    Hex,
    /// Base64, with or without a prefix, standard or URL-safe.
    Base64,
    /// Percent-encoding, of all characters or of the special ones.
    Percent,
}

/// Returns the first encoding of `canary` that `shown` contains.
///
/// Case and separators of digits are ignored. The canary should be at least six characters long, to avoid matches by
/// chance.
pub fn find(shown: &str, canary: &str) -> Option<Spelling> {
    let found = |spelling: Spelling, needles: &[String], haystack: &str| {
        let hit = needles
            .iter()
            .any(|needle| haystack.contains(needle.as_str()));
        hit.then_some(spelling)
    };
    let lower = shown.to_lowercase();
    let digits_alone =
        |keep: fn(char) -> bool| -> String { lower.chars().filter(|c| keep(*c)).collect() };
    let hex_digits = digits_alone(|c| !matches!(c, ' ' | ':' | ',' | '\n' | '-'));
    let hex_digits = hex_digits.replace("0x", "");
    let decimals = digits_alone(|c| !matches!(c, ' ' | '\n'));

    let bytes = canary.as_bytes();
    let escaped = format!("{canary:?}");
    let escaped = escaped[1..escaped.len() - 1].to_owned();
    found(Spelling::Plain, &[canary.to_owned()], shown)
        .or_else(|| found(Spelling::Escaped, &[escaped], shown))
        .or_else(|| found(Spelling::DecimalBytes, &[join(bytes, ",")], &decimals))
        .or_else(|| found(Spelling::Hex, &[hex(bytes, "")], &hex_digits))
        .or_else(|| found(Spelling::Base64, &base64(bytes), shown))
        .or_else(|| found(Spelling::Percent, &percent(canary), &lower))
}

/// Asserts that `shown` contains no encoding of `canary`.
///
/// # Panics
///
/// If it does; the message names the encoding and shows neither text.
#[track_caller]
pub fn assert_clean(shown: &str, canary: &str) {
    if let Some(spelling) = find(shown, canary) {
        panic!("the canary leaked, spelled as {spelling:?}");
    }
}

/// Returns all that an error shows: `Display` and both forms of `Debug` of it and of its `source()` chain.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut shown = String::new();
    let chain = std::iter::successors(Some(error), |&error| error.source());
    for error in chain {
        // Writing to a String cannot fail.
        let _ = writeln!(shown, "{error}\n{error:#}\n{error:?}\n{error:#?}");
    }
    shown
}

fn join(bytes: &[u8], separator: &str) -> String {
    let decimals: Vec<String> = bytes.iter().map(u8::to_string).collect();
    decimals.join(separator)
}

fn hex(bytes: &[u8], before: &str) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{before}{byte:02x}");
        text
    })
}

/// Returns the base64 digits that depend only on the secret, for each number of bytes that may precede it.
fn base64(bytes: &[u8]) -> Vec<String> {
    let mut needles = Vec::new();
    for before in 0..3_usize {
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        // Only whole groups of three are certain; the rest may share digits with the bytes that follow.
        padded.truncate(padded.len() / 3 * 3);
        let skip = before.div_ceil(3) * 4;
        for text in [
            BASE64_STANDARD.encode(&padded),
            BASE64_URL_SAFE.encode(&padded),
        ] {
            if text.len() > skip {
                needles.push(text[skip..].to_owned());
            }
        }
    }
    needles
}

/// Percent-encodes in lower case.
fn percent(canary: &str) -> Vec<String> {
    let form: String = url::form_urlencoded::byte_serialize(canary.as_bytes()).collect();
    let form = form.to_lowercase();
    let mut needles = vec![hex(canary.as_bytes(), "%"), form.replace('+', "%20")];
    needles.push(form);
    needles
}

/// A capture of all `tracing` output on this thread, at every level, until it is dropped.
///
/// ```
/// use hallpass_testkit::leak::Capture;
///
/// let capture = Capture::start();
/// tracing::trace!(answer = 42, "thinking");
/// assert!(capture.text().contains("answer=42"));
/// ```
#[must_use = "it captures until it is dropped"]
pub struct Capture {
    text: Buffer,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Capture {
    /// Starts the capture.
    pub fn start() -> Self {
        let text = Buffer::default();
        let guard = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_writer(text.clone())
            .set_default();
        Self {
            text,
            _guard: guard,
        }
    }

    /// Returns the text captured so far.
    pub fn text(&self) -> String {
        let bytes = self.text.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Capture(..)")
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "s3cr3t/c+nary value\u{1}=\u{fc}";

    // covers: F-99
    #[test]
    fn each_encoding_of_a_canary_is_found() {
        let bytes = CANARY.as_bytes();
        let upper = hex(bytes, "").to_uppercase();
        let spaced: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        for (shown, spelling) in [
            (CANARY.to_owned(), Spelling::Plain),
            (format!("{CANARY:?}"), Spelling::Escaped),
            (format!("{bytes:?}"), Spelling::DecimalBytes),
            (format!("{bytes:#?}"), Spelling::DecimalBytes),
            (hex(bytes, ""), Spelling::Hex),
            (upper, Spelling::Hex),
            (spaced.join(":"), Spelling::Hex),
            (hex(bytes, " 0x"), Spelling::Hex),
            (BASE64_STANDARD.encode(CANARY), Spelling::Base64),
            (
                BASE64_STANDARD.encode(format!("i{CANARY}")),
                Spelling::Base64,
            ),
            (
                BASE64_URL_SAFE.encode(format!("id:{CANARY}x")),
                Spelling::Base64,
            ),
            (
                BASE64_URL_SAFE.encode(format!("a:{CANARY}yz")),
                Spelling::Base64,
            ),
            (hex(bytes, "%"), Spelling::Percent),
            (
                "a=s3cr3t%2Fc%2Bnary+value%01%3D%C3%BC".to_owned(),
                Spelling::Percent,
            ),
            (
                "a=s3cr3t%2fc%2bnary%20value%01%3d%c3%bc".to_owned(),
                Spelling::Percent,
            ),
        ] {
            assert_eq!(
                find(&format!("before {shown} after"), CANARY),
                Some(spelling),
                "{shown}"
            );
        }
    }

    #[test]
    fn an_absent_canary_is_not_found() {
        for shown in ["", "s3cr3t", "[115, 51, 99]", "c+nary value"] {
            assert_eq!(find(shown, CANARY), None, "{shown}");
        }
    }

    #[test]
    fn an_error_chain_shows_every_cause() {
        let inner = io::Error::other("inner cause");
        let shown = error_chain(&io::Error::new(io::ErrorKind::NotFound, inner));
        assert!(
            shown.contains("inner cause") && shown.contains("NotFound"),
            "{shown}"
        );
    }
}
