//! The escapes that replace single characters of a text.

/// The most characters of an escape, of a surrogate pair such as `\ud83d\ude00`.
pub(super) const MAX_ESCAPE_BYTES: usize = 12;

/// The meaning of an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Byte(u8),
    Char(char),
    /// A line end of the encoding, which is not part of the text.
    Nothing,
}

/// A reader of an escape at the start of a text; it also returns the escape's length in bytes.
type Reader = fn(&[u8]) -> Option<(Piece, usize)>;

/// Several may read the same escape: `\xfc` is a character in some languages and a byte in others.
const READERS: [Reader; 7] = [
    percent,
    entity,
    unicode,
    surrogates,
    backslash_byte,
    backslash_mark,
    quoted_printable,
];

/// Returns true if an escape may start with this byte.
pub(super) fn is_lead(byte: u8) -> bool {
    matches!(byte, b'%' | b'&' | b'\\' | b'=')
}

/// Returns true if an escape may go on after `read`.
pub(super) fn goes_on(read: &[u8]) -> bool {
    let last = read.last().copied().unwrap_or_default();
    let inner = last.is_ascii_alphanumeric() || matches!(last, b'#' | b';' | b'{' | b'}' | b'\r');
    // After the lead, and after the lead of a surrogate pair's second half.
    read.len() < MAX_ESCAPE_BYTES && (inner || matches!(read.len(), 1 | 7))
}

/// Returns the meanings of the escape at the start of the text.
pub(super) fn read(text: &[u8]) -> impl Iterator<Item = (Piece, usize)> {
    READERS.iter().filter_map(|read| read(text))
}

/// Decodes each HTML character reference of the text.
pub(super) fn decode_html(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let (char, length) = match entity(rest.as_bytes()) {
            Some((Piece::Char(char), length)) => (char, length),
            _ => ('&', 1),
        };
        decoded.push(char);
        rest = &rest[length..];
    }
    decoded.push_str(rest);
    decoded
}

/// Decodes `%2f`.
fn percent(text: &[u8]) -> Option<(Piece, usize)> {
    let digits = text.strip_prefix(b"%")?.get(..2)?;
    let byte = u8::try_from(number(digits, 16)?).ok()?;
    Some((Piece::Byte(byte), 3))
}

/// Decodes `\u002f`, `\u{2f}`, `\x2f` and `%u002f`.
fn unicode(text: &[u8]) -> Option<(Piece, usize)> {
    let (digits, length) = match text {
        [b'\\', b'u' | b'x', b'{', rest @ ..] => {
            let digits = rest.split(|byte| *byte == b'}').next()?;
            (digits, digits.len() + 4)
        }
        [b'\\' | b'%', b'u' | b'U', rest @ ..] => (rest.get(..4)?, 6),
        [b'\\', b'x', rest @ ..] => (rest.get(..2)?, 4),
        _ => return None,
    };
    let char = char::from_u32(number(digits, 16)?)?;
    (length <= text.len()).then_some((Piece::Char(char), length))
}

/// Decodes a surrogate pair such as `\ud83d\ude00` (RFC 8259 section 7).
fn surrogates(text: &[u8]) -> Option<(Piece, usize)> {
    let half = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::try_from(number(digits, 16)?).ok()
    };
    let pair = [half(0)?, half(6)?];
    let char = char::decode_utf16(pair).next()?.ok()?;
    // Two characters that are no pair are read one by one.
    (char > '\u{ffff}').then_some((Piece::Char(char), 12))
}

/// Decodes `\x2f` and the octal `\57`.
fn backslash_byte(text: &[u8]) -> Option<(Piece, usize)> {
    let rest = text.strip_prefix(b"\\")?;
    let (digits, radix, before) = match rest {
        [b'x', digits @ ..] => (digits.get(..2)?, 16, 2),
        digits => {
            let is_octal = |byte: &&u8| matches!(byte, b'0'..=b'7');
            let length = digits.iter().take(3).take_while(is_octal).count();
            (&digits[..length], 8, 1)
        }
    };
    let byte = u8::try_from(number(digits, radix)?).ok()?;
    Some((Piece::Byte(byte), before + digits.len()))
}

/// Decodes `\"`, any other escaped mark, and the white space of RFC 8259 section 7.
fn backslash_mark(text: &[u8]) -> Option<(Piece, usize)> {
    let byte = match *text.strip_prefix(b"\\")?.first()? {
        b'b' => b'\x08',
        b'f' => b'\x0c',
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        mark @ (b' ' | b'!'..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~') => mark,
        _ => return None,
    };
    Some((Piece::Byte(byte), 2))
}

/// Decodes `=2F`, and an equals sign before a line end (RFC 2045 section 6.7).
fn quoted_printable(text: &[u8]) -> Option<(Piece, usize)> {
    match text.strip_prefix(b"=")? {
        [b'\r', b'\n', ..] => Some((Piece::Nothing, 3)),
        [b'\n', ..] => Some((Piece::Nothing, 2)),
        rest => {
            let byte = u8::try_from(number(rest.get(..2)?, 16)?).ok()?;
            Some((Piece::Byte(byte), 3))
        }
    }
}

/// The named characters of ASCII, in pairs of a name and a character.
const NAMES: &str = "amp & apos ' ast * bsol \\ colon : comma , commat @ dash - dollar $ equals = excl ! grave ` \
    gt > hat ^ hyphen - lbrace { lbrack [ lcub { lowbar _ lpar ( lsqb [ lt < midast * num # percnt % period . plus + \
    quest ? quot \" rbrace } rbrack ] rcub } rpar ) rsqb ] semi ; sol / tilde ~ underbar _ verbar | vert |";

/// The named characters from U+00A0 to U+00FF.
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 \
    sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml \
    Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml \
    times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave \
    eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute \
    ucirc uuml yacute thorn yuml";

/// The named punctuation of page titles.
const PUNCTUATION: &str = "bull \u{2022} hellip \u{2026} ldquo \u{201c} lsquo \u{2018} mdash \u{2014} ndash \u{2013} \
    rdquo \u{201d} rsquo \u{2019} trade \u{2122}";

/// Decodes `&amp;`, `&#38;` or `&#x26;`.
fn entity(text: &[u8]) -> Option<(Piece, usize)> {
    let rest = text.strip_prefix(b"&")?;
    let (digits, radix, before) = match rest {
        [b'#', b'x' | b'X', digits @ ..] => (digits, 16, 3),
        [b'#', digits @ ..] => (digits, 10, 2),
        _ => {
            let length = rest.iter().position(|byte| *byte == b';')?;
            let name = std::str::from_utf8(&rest[..length]).ok()?;
            return Some((Piece::Char(named(name)?), length + 2));
        }
    };
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let length = digits.iter().take_while(is_digit).count();
    let char = char::from_u32(number(&digits[..length], radix)?)?;
    let semicolon = usize::from(digits.get(length) == Some(&b';'));
    Some((Piece::Char(char), before + length + semicolon))
}

/// Returns the character of this name; the names of ASCII characters count in any case.
fn named(name: &str) -> Option<char> {
    if let Some(at) = LATIN.split_whitespace().position(|known| known == name) {
        return char::from_u32(0xa0 + u32::try_from(at).ok()?);
    }
    match name {
        "Tab" => return Some('\t'),
        "NewLine" => return Some('\n'),
        _ => {}
    }
    let mut names = NAMES.split(' ').chain(PUNCTUATION.split(' '));
    while let (Some(known), Some(char)) = (names.next(), names.next()) {
        if known.eq_ignore_ascii_case(name) {
            return char.chars().next();
        }
    }
    None
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
