//! Encodings in which a server may echo a credential, alone and nested.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};

use super::{super::decode::READS, *};

type Encoder = fn(&str) -> String;

const ENCODERS: [Encoder; 18] = [
    |text| bytes(text, |byte| format!("%{byte:02X}")),
    |text| bytes(text, |byte| format!("%{byte:02x}")),
    |text| marks(text, |char| format!("%{:02X}", u32::from(char))),
    |text| marks(text, |char| format!("%u{:04x}", u32::from(char))),
    |text| marks(text, |char| format!("&#{};", u32::from(char))),
    |text| chars(text, |char| format!("&#x{:X};", u32::from(char))),
    |text| marks(text, entity),
    |text| chars(text, |char| format!("\\u{:04x}", u32::from(char))),
    |text| chars(text, |char| format!("\\u{{{:x}}}", u32::from(char))),
    |text| marks(text, backslash),
    |text| bytes(text, |byte| format!("\\x{byte:02x}")),
    |text| bytes(text, |byte| format!("\\{byte:03o}")),
    quoted_printable,
    |text| bytes(text, |byte| format!("{byte:02x}")),
    |text| bytes(text, |byte| format!("{byte:02X}:")),
    |text| BASE64_STANDARD.encode(text),
    |text| BASE64_URL_SAFE_NO_PAD.encode(text),
    |text| lines(&BASE64_STANDARD.encode(text), 20, "\r\n"),
];

fn bytes(text: &str, encode: fn(u8) -> String) -> String {
    text.bytes().map(encode).collect()
}

fn chars(text: &str, encode: fn(char) -> String) -> String {
    text.chars().map(encode).collect()
}

/// Encodes what is neither a letter nor a digit.
fn marks(text: &str, encode: fn(char) -> String) -> String {
    let encoded = text.chars().map(|char| match char {
        _ if char.is_ascii_alphanumeric() => char.to_string(),
        _ => encode(char),
    });
    encoded.collect()
}

fn backslash(char: char) -> String {
    match char {
        '\r' => r"\r".to_owned(),
        '\n' => r"\n".to_owned(),
        _ => format!("\\{char}"),
    }
}

fn entity(char: char) -> String {
    let name = match char {
        '+' => "plus",
        '/' => "sol",
        '=' => "equals",
        '&' => "amp",
        '%' => "percnt",
        '\\' => "bsol",
        '_' => "lowbar",
        '{' => "lbrace",
        '\r' => "#13",
        '\n' => "NewLine",
        _ => return char.to_string(),
    };
    format!("&{name};")
}

/// Encodes marks, with a soft line end after every nine characters.
fn quoted_printable(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let lines = chars.chunks(9).map(|line| {
        let line: String = line.iter().collect();
        marks(&line, |char| format!("={:02X}", u32::from(char)))
    });
    lines.collect::<Vec<_>>().join("=\r\n")
}

fn lines(text: &str, length: usize, end: &str) -> String {
    let mut lines = String::new();
    for (nth, char) in text.chars().enumerate() {
        if nth > 0 && nth % length == 0 {
            lines.push_str(end);
        }
        lines.push(char);
    }
    lines
}

#[test]
fn an_echo_is_removed_in_every_encoding() {
    const SECRET: &str = "S3cr/T+x_y=~{&}%\\!z";
    let filter = TextFilter::new().with_secret(SECRET);
    let check = |echo: &str| {
        let clean = filter.clean(&format!("sent <{echo}> here"));
        assert!(clean.starts_with("sent <[redacted]"), "{echo}: {clean}");
        assert!(filter.finds_secret(echo), "{echo}");
    };
    for encode in ENCODERS {
        check(&encode(SECRET));
        // One of each kind.
        for again in [1, 6, 13, 17] {
            check(&ENCODERS[again](&encode(SECRET)));
        }
    }
}

#[test]
fn names_and_numbers_of_characters_are_decoded() {
    let filter = TextFilter::new().with_secret("ü\t\u{1f511} []()@,.:;?$#^`|*-'\"");
    for echo in [
        "&uuml;&Tab;&#128273;&#32;&lsqb;&rsqb;&lpar;&rpar;&commat;&comma;&period;&colon;&semi;&quest;&dollar;&num;&Hat;\
         &grave;&verbar;&ast;&hyphen;&apos;&quot;",
        "&#xFC;&#9;&#x1F511; &lbrack;&rbrack;()@,.:;?$#&hat;`&vert;&midast;-&#39&#34;",
        r#"\u00fc\t\ud83d\udd11 []()@,.:;?$#^`|*-\'\""#,
        r"\xc3\xbc\11\360\237\224\221 \[\]\(\)@,.:;?\$#^\`\|\*-\'\x22",
        r"\xfc\u{9}\u{1f511} []()@,.:;?$#^`|*-\47\42",
        "%C3%BC%09%F0%9F%94%91+[]()@,.:;?$#^`|*-'\"",
    ] {
        assert_eq!(filter.clean(echo), "[redacted]", "{echo}");
    }
}

#[test]
fn control_characters_and_long_numbers_are_decoded() {
    for (secret, echo) in [
        ("a\u{8}b\u{c}c\nd\re\tf", r"a\bb\fc\nd\re\tf"),
        ("a/bcdefg", "a&#x0000002F;bcdefg"),
        ("a/bcdefg", "a&#00000047;bcdefg"),
    ] {
        let filter = TextFilter::new().with_secret(secret);
        assert_eq!(filter.clean(echo), "[redacted]", "{echo}");
    }
}

#[test]
fn what_stands_before_an_echo_does_not_hide_it() {
    let filter = TextFilter::new().with_secret("25abcdef");
    for echo in [
        "100%25%61bcdef",
        "100%%32%35abcdef",
        "\\25\\x61bcdef",
        "&#25&#97;bcdef",
    ] {
        assert!(filter.finds_secret(echo), "{echo}");
    }
    // An escape that is part of the secret, next to one of the echo.
    let filter = TextFilter::new().with_secret(r"a%41&\u0041\\");
    for echo in [
        r"a%41&amp;\u0041\\",
        r"a%2541&\u0041\\",
        r"a%41&\\u0041\\\\",
    ] {
        assert_eq!(filter.clean(echo), "[redacted]", "{echo}");
    }
}

#[test]
fn a_long_echo_is_found_by_its_start() {
    let secret: String = ('a'..='z').cycle().take(9_000).collect();
    let filter = TextFilter::new().with_secret(&secret);
    for encode in ENCODERS {
        let clean = filter.clean(&format!("sent <{}> here", encode(&secret)));
        assert_eq!(clean, "sent <[redacted]");
    }
    let other = format!("{}!", &secret[..100]);
    assert_eq!(filter.clean(&other), other);
}

/// The last character that is shown is searched as well as the first.
#[test]
fn the_end_of_a_shown_text_is_searched() {
    let secret: String = ('a'..='z').cycle().take(100).collect();
    let filter = TextFilter::new().with_secret(&secret);
    let letters = |count| "\u{20000}".repeat(count); // Four bytes each.
    assert_eq!(filter.clean(&letters(256)), letters(256));
    let shown = |echo: &str| {
        let rest = ".".repeat(4_000);
        filter.clean(&format!("{}{echo}{rest}", letters(250)))
    };
    assert!(shown(&secret).starts_with(&(letters(250) + "[redac")));
    // It is no echo, as the text after it shows.
    assert!(shown(&secret[..99]).starts_with(&(letters(250) + &secret[..5])));
}

#[test]
fn the_work_of_a_search_grows_with_the_text_only() {
    let filter = TextFilter::new()
        .with_secret("CANARY-s3cr3t")
        .with_secret(r"\\x");
    let nested = (0..12).fold("x".to_owned(), |text, _| BASE64_STANDARD.encode(text));
    for nonsense in [
        "%25",
        "%2525",
        "&amp;",
        "&#38;#37;",
        "\\",
        "\\\\u005c",
        "=\r\n",
        "=3D",
        "=",
        "&",
        "A",
        "UUFB",
        "41",
        "3431",
        "\r\n",
        &nested,
    ] {
        let reads = |length: usize| {
            let text: String = nonsense.chars().cycle().take(length).collect();
            let before = READS.get();
            assert!(!filter.finds_secret(&text));
            READS.get() - before
        };
        let (half, whole) = (reads(1 << 10), reads(2 << 10));
        assert!(whole * 10 < half * 21, "{nonsense}: {half}, {whole}");
    }
}

#[test]
fn only_the_start_of_a_long_text_is_read() {
    let filter = TextFilter::new().with_secret("CANARY-s3cr3t");
    let reads = |length: usize| {
        let before = READS.get();
        let _ = filter.clean(&"QUFB".repeat(length));
        READS.get() - before
    };
    assert_eq!(reads(1 << 10), reads(1 << 20));
}

/// A line end as it is shown.
const LINE_END: &str = r"\u{d}\u{a}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_encoded_credential_is_shown(
        before in "[ -~]{0,40}",
        pads in ["[ -~]{0,3}", "[ -~]{0,3}"],
        secret in "[!-~]{8,40}",
        encoders in prop::collection::vec(0..ENCODERS.len(), 1..=2),
        after in "[ -~]{0,40}",
    ) {
        let filter = TextFilter::new().with_secret(&secret);
        let mut echo = secret.clone();
        // The characters at either end of the echo that may belong to the text around the credential.
        let mut around = [0; 2];
        for encoder in encoders {
            let encode = ENCODERS[encoder];
            echo = encode(&format!("{}{echo}{}", pads[0], pads[1]));
            for (around, pad) in around.iter_mut().zip(&pads) {
                let encoded = encode(&format!("{pad}{}", "%".repeat(*around)));
                // As it is shown: each line end of the encoding is escaped.
                *around = encoded.replace("\r\n", LINE_END).len() + 3;
            }
        }
        let text = format!("{before}{echo}{after}");
        let shown = filter.clean(&text);
        prop_assert!(!shown.contains(&secret), "{}", shown);
        let parts: Vec<_> = shown.split("[redacted]").collect();
        prop_assert_eq!(parts.len(), 2, "{} of {}", shown, text);
        for (nth, outside) in [before, after].iter().enumerate() {
            // One more line end, at the credential itself.
            let longest = outside.len() + around[nth] + LINE_END.len();
            prop_assert!(parts[nth].len() <= longest, "{} of {}", shown, text);
        }
        // The positive control: without the secret its echo is shown.
        let start: String = echo.chars().take(8).collect();
        prop_assert!(TextFilter::new().clean(&text).contains(&TextFilter::new().clean(&start)));
        prop_assert!(filter.finds_secret(&text));
    }
}
