//! The filter of server-supplied text: a secret is found in each encoding that it promises to find, also nested, and
//! the text that remains is short, and safe for a terminal.

use std::fmt::Write as _;

use arbitrary::{Arbitrary as _, Unstructured};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD},
};
use hallpass_core::TextFilter;

use crate::{
    seeds,
    support::{CANARY, assert_hidden, settings},
};

pub(crate) const WORDS: &[&str] = &[
    "s3cr3t-CANARY",
    "S3CR3T-CANARY",
    "%2d",
    "&#45;",
    "&#x2d;",
    "&hyphen;",
    "\\u002d",
    "\\x2d",
    "\\055",
    "=2D",
    "=\r\n",
    "czNjcjN0LUNBTkFSWQ==",
    "7333637233742d43414e415259",
    "73:33:63",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{85}",
];

const ENCODED: u8 = 1;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = ["crates/core/src/text/tests.rs"];
    let mut seeds = seeds::of_literals(&files, &[0]);
    // The bytes that `encoded` reads: up to two characters before the secret, and none around the encoded text.
    let mut seed = |before: &[u8], layers: &[u8]| {
        seeds.push([&[ENCODED], before, &[1, 0], layers, &[0]].concat());
    };
    let count = u8::try_from(ENCODINGS.len()).unwrap();
    for before in [&[0][..], &[1, 0], &[2, 0, 1]] {
        seed(before, &[0]);
        for one in 0..count {
            (0..6).for_each(|variant| seed(before, &[1, one, variant]));
        }
    }
    // Each two encodings, and some of three.
    for one in 0..count {
        (0..count).for_each(|other| seed(&[0], &[2, one, 0, other, 0]));
        let [other, third] = [1, 2].map(|step| (one + step) % count);
        seed(&[0], &[3, one, 0, other, 0, third, 0]);
    }
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (flags, bytes) = settings(bytes);
    let filter = TextFilter::new().with_secret(CANARY);
    if flags & ENCODED != 0 {
        let mut input = Unstructured::new(bytes);
        if let Some(Encoded { text, layers, rest }) = encoded(&mut input) {
            assert!(filter.finds_secret(&text), "{layers:?}: {text}");
            let clean = filter.clean(&text);
            assert!(clean.contains(TextFilter::REDACTED), "{layers:?}: {text}");
            if let Some([before, after]) = rest {
                let redacted = [&before, TextFilter::REDACTED, &after].concat();
                assert_eq!(clean, redacted, "{layers:?}: {text}");
            }
            check(&filter, &text);
        }
        return;
    }
    if let Ok(text) = str::from_utf8(bytes) {
        check(&filter, text);
    }
}

fn check(filter: &TextFilter, text: &str) {
    for clean in [filter.clean(text), filter.clean_html(text)] {
        assert!(clean.chars().count() <= 256 + 3, "{text}");
        assert!(!clean.contains(char::is_control), "{text}");
        let is_plain = |char: char| matches!(char, ' '..='~') || char.is_alphanumeric();
        assert!(clean.chars().all(is_plain), "{text}");
        assert_hidden(&clean, CANARY);
        assert!(
            !clean
                .to_ascii_lowercase()
                .contains(&CANARY.to_ascii_lowercase()),
            "{text}"
        );
    }
    let clean = filter.clean(text);
    assert_eq!(filter.clean(&clean), clean, "{text}");
    if text.is_ascii()
        && text.len() <= 256
        && !text.contains(|char: char| char.is_ascii_control())
        && !filter.finds_secret(text)
    {
        assert_eq!(clean, text);
    }
}

/// A text with the secret.
struct Encoded {
    text: String,
    layers: Vec<Encoding>,
    /// The text before and after the secret, if each character was encoded alone.
    rest: Option<[String; 2]>,
}

/// Returns a text with the secret in up to three nested encodings.
fn encoded(input: &mut Unstructured<'_>) -> Option<Encoded> {
    // Punctuation that belongs to no encoding separates the secret from the rest.
    let plain = |input: &mut Unstructured<'_>| -> Option<String> {
        let length = input.int_in_range(0..=12).ok()?;
        let chars = (0..length).map(|_| input.choose(b"az09 ;,.()!").ok());
        chars
            .map(|byte| byte.map(|byte| char::from(*byte)))
            .collect()
    };
    let mut rest = Some([format!("{}(", plain(input)?), format!("){}", plain(input)?)]);
    let mut text = rest
        .as_ref()
        .map(|[before, after]| format!("{before}{CANARY}{after}"))?;
    let count = input.int_in_range(0..=3).ok()?;
    let mut layers = Vec::new();
    for _ in 0..count {
        let layer = Encoding::choose(input)?;
        let variant = u8::arbitrary(input).ok()?;
        text = layer.apply(&text, variant);
        let is_escape = !matches!(layer, Encoding::Base64 | Encoding::Hex);
        rest = rest
            .filter(|_| is_escape)
            .map(|parts| parts.map(|part| layer.apply(&part, variant)));
        layers.push(layer);
    }
    let start = format!("{}(", plain(input)?);
    let text = format!("{start}{text})");
    let rest = rest.map(|[before, after]| [start + &before, after + ")"]);
    // A longer text is cut, maybe before the secret.
    (text.len() <= 250).then_some(Encoded { text, layers, rest })
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Percent,
    Html,
    Unicode,
    Octal,
    QuotedPrintable,
    Base64,
    Hex,
}

const ENCODINGS: [Encoding; 7] = {
    use Encoding::{Base64, Hex, Html, Octal, Percent, QuotedPrintable, Unicode};
    [Percent, Html, Unicode, Octal, QuotedPrintable, Base64, Hex]
};

impl Encoding {
    fn choose(input: &mut Unstructured<'_>) -> Option<Self> {
        input.choose(&ENCODINGS).ok().copied()
    }

    /// Encodes the text; `variant` chooses the spelling, or the characters.
    fn apply(self, text: &str, variant: u8) -> String {
        let bytes = text.as_bytes();
        match self {
            Self::Base64 => match variant % 4 {
                0 => BASE64_STANDARD.encode(bytes),
                1 => BASE64_STANDARD_NO_PAD.encode(bytes),
                2 => BASE64_URL_SAFE.encode(bytes),
                _ => BASE64_URL_SAFE_NO_PAD.encode(bytes),
            },
            Self::Hex => {
                let separator = ["", ":", " ", "-"][usize::from(variant) % 4];
                let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                digits.join(separator)
            }
            _ => self.escape(text, variant),
        }
    }

    fn escape(self, text: &str, variant: u8) -> String {
        let mut out = String::new();
        for char in text.chars() {
            let code = u32::from(char);
            // All characters, or all but letters and digits. An escape character is always escaped.
            let is_escape = matches!(char, '%' | '&' | '\\' | '=');
            if variant.is_multiple_of(2) && char.is_ascii_alphanumeric() && !is_escape {
                out.push(char);
                continue;
            }
            let written = match (self, variant / 2 % 3) {
                (Self::Percent, _) => write!(out, "%{code:02X}"),
                (Self::Html, 0) => write!(out, "&#{code};"),
                (Self::Html, _) => write!(out, "&#x{code:x};"),
                (Self::Unicode, 0) => write!(out, "\\u{code:04x}"),
                (Self::Unicode, 1) => write!(out, "\\u{{{code:x}}}"),
                (Self::Unicode, _) => write!(out, "\\x{code:02x}"),
                (Self::Octal, _) => write!(out, "\\{code:03o}"),
                _ => write!(out, "={code:02X}"),
            };
            written.unwrap();
        }
        out
    }
}
