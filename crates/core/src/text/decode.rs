//! The decoded forms of a text, each byte mapped to the part of the text that it came from.

use std::ops::Range;

use zeroize::Zeroizing;

/// The maximum nesting of encodings.
const DEPTH: usize = 3;

/// A text, or the result of decoding it.
pub(super) struct Form {
    bytes: Zeroizing<Vec<u8>>,
    /// The part of the text that each byte was decoded from.
    origin: Vec<Range<usize>>,
    /// True for the result of Base64, which is not decoded as Base64 again.
    was_base64: bool,
}

/// Visits every form of a text in which a secret may be found; `shortest` is the length of the shortest secret in
/// bytes.
pub(super) fn for_each_form(text: &str, shortest: usize, mut see: impl FnMut(&Form)) {
    let plain = Form {
        bytes: Zeroizing::new(text.as_bytes().to_vec()),
        origin: (0..text.len()).map(|at| at..at + 1).collect(),
        was_base64: false,
    };
    plain.visit(DEPTH, shortest, &mut see);
}

/// The meaning of one encoded piece.
enum Piece {
    Byte(u8),
    Char(char),
}

/// A decoder of an encoded piece at the start of a text; it returns the piece's length in bytes too.
type Reader = fn(&[u8]) -> Option<(Piece, usize)>;

const READERS: [Reader; 4] = [percent, plus, entity, backslash];

impl Form {
    /// Returns the parts of the text that spell the secret, regardless of case.
    pub(super) fn find(&self, secret: &[u8]) -> impl Iterator<Item = Range<usize>> {
        let windows = self.bytes.windows(secret.len()).enumerate();
        let found = windows.filter(|(_, window)| window.eq_ignore_ascii_case(secret));
        found.map(|(at, window)| self.part(at..at + window.len()))
    }

    /// Visits depth first, so that few forms are in memory at once.
    fn visit(&self, depth: usize, shortest: usize, see: &mut impl FnMut(&Self)) {
        see(self);
        if depth == 0 {
            return;
        }
        let pieces = READERS.iter().filter_map(|read| self.replaced(*read));
        // A secret may start at any of the four positions of a group.
        let offsets = if self.was_base64 { 0..0 } else { 0..4 };
        let run = (shortest * 4).div_ceil(3);
        let base64 = offsets.filter_map(|offset| self.base64(offset, run));
        for decoded in pieces.chain(base64) {
            decoded.visit(depth - 1, shortest, see);
        }
    }

    /// Replaces each piece that `read` finds; returns `None` if there is none.
    fn replaced(&self, read: Reader) -> Option<Self> {
        let mut form = self.empty();
        let (mut at, mut changed) = (0, false);
        while at < self.bytes.len() {
            let Some((piece, length)) = read(&self.bytes[at..]) else {
                form.copy(self, at..at + 1);
                at += 1;
                continue;
            };
            let mut buffer = [0; 4];
            let bytes = match piece {
                Piece::Byte(byte) => {
                    buffer[0] = byte;
                    &buffer[..1]
                }
                Piece::Char(char) => char.encode_utf8(&mut buffer).as_bytes(),
            };
            for byte in bytes {
                form.push(*byte, self.part(at..at + length));
            }
            at += length;
            changed = true;
        }
        changed.then_some(form)
    }

    /// Decodes each run of at least this many Base64 characters of either alphabet, from this offset on; returns `None`
    /// if there is none.
    fn base64(&self, offset: usize, run: usize) -> Option<Self> {
        let mut form = self.empty();
        form.was_base64 = true;
        let (mut at, mut changed) = (0, false);
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let length = rest.iter().take_while(|byte| sextet(**byte).is_some());
            let length = length.count();
            if length < run.max(offset + 2) {
                let skipped = length.max(1);
                form.copy(self, at..at + skipped);
                at += skipped;
                continue;
            }
            let padding = rest[length..].iter().take_while(|byte| **byte == b'=');
            let padding = padding.count();
            let sextets = &rest[offset..length];
            for nth in 0..sextets.len() * 6 / 8 {
                // The two characters that hold the byte's eight bits.
                let (first, last) = (nth * 8 / 6, (nth * 8 + 7) / 6);
                let [high, low] = [first, last].map(|at| sextet(sextets[at]).unwrap_or(0));
                let bits = (u16::from(high) << 6 | u16::from(low)) >> (4 - 2 * (nth % 3));
                let padding = if last + 1 == sextets.len() {
                    padding
                } else {
                    0
                };
                let start = at + offset;
                let part = self.part(start + first..start + last + 1 + padding);
                form.push(bits.to_le_bytes()[0], part);
            }
            at += length + padding;
            changed = true;
        }
        changed.then_some(form)
    }

    fn part(&self, bytes: Range<usize>) -> Range<usize> {
        let origin = &self.origin[bytes];
        let start = origin.first().map_or(0, |first| first.start);
        start..origin.last().map_or(start, |last| last.end)
    }

    fn empty(&self) -> Self {
        Self {
            // The decoded text is never longer, so no reallocation leaves a copy behind.
            bytes: Zeroizing::new(Vec::with_capacity(self.bytes.len())),
            origin: Vec::with_capacity(self.bytes.len()),
            was_base64: self.was_base64,
        }
    }

    fn push(&mut self, byte: u8, origin: Range<usize>) {
        self.bytes.push(byte);
        self.origin.push(origin);
    }

    fn copy(&mut self, from: &Self, bytes: Range<usize>) {
        self.bytes.extend_from_slice(&from.bytes[bytes.clone()]);
        self.origin.extend_from_slice(&from.origin[bytes]);
    }
}

/// Returns the value of a Base64 character, of the alphabet with `+/` or the one with `-_` (RFC 4648 sections 4 and 5).
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// Decodes `%2f`.
fn percent(text: &[u8]) -> Option<(Piece, usize)> {
    let digits = text.strip_prefix(b"%")?.get(..2)?;
    let byte = u8::try_from(number(digits, 16)?).ok()?;
    Some((Piece::Byte(byte), 3))
}

/// Decodes `+`, a space in a form.
fn plus(text: &[u8]) -> Option<(Piece, usize)> {
    text.starts_with(b"+").then_some((Piece::Byte(b' '), 1))
}

/// Decodes `&amp;`, `&#38;` or `&#x26;`.
fn entity(text: &[u8]) -> Option<(Piece, usize)> {
    const NAMED: [(&[u8], char); 6] = [
        (b"amp;", '&'),
        (b"apos;", '\''),
        (b"gt;", '>'),
        (b"lt;", '<'),
        (b"nbsp;", '\u{a0}'),
        (b"quot;", '"'),
    ];
    let rest = text.strip_prefix(b"&")?;
    if let Some((name, char)) = NAMED.iter().find(|(name, _)| rest.starts_with(name)) {
        return Some((Piece::Char(*char), 1 + name.len()));
    }
    let (digits, radix, before) = match rest {
        [b'#', b'x' | b'X', digits @ ..] => (digits, 16, 3),
        [b'#', digits @ ..] => (digits, 10, 2),
        _ => return None,
    };
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let length = digits.iter().take_while(is_digit).count();
    let char = char::from_u32(number(&digits[..length], radix)?)?;
    let semicolon = usize::from(digits.get(length) == Some(&b';'));
    Some((Piece::Char(char), before + length + semicolon))
}

/// Decodes `\u0026`, `\x26` or `\"`, as in JSON and in source text.
fn backslash(text: &[u8]) -> Option<(Piece, usize)> {
    let rest = text.strip_prefix(b"\\")?;
    let digits = match rest.first()? {
        b'u' => 4,
        b'x' => 2,
        mark @ (b'\\' | b'"' | b'\'' | b'/') => return Some((Piece::Byte(*mark), 2)),
        _ => return None,
    };
    let char = char::from_u32(number(rest.get(1..=digits)?, 16)?)?;
    Some((Piece::Char(char), 2 + digits))
}

/// Parses a number of at most eight digits.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        number.checked_mul(radix)?.checked_add(digit)
    })
}
