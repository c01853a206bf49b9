//! Turns bytes into a secret, by the same rules for a file, a command's output and every other source.

use std::{fmt, path::Path};

use hallpass_core::{Secret, SecretError};
use zeroize::Zeroizing;

/// The longest secret that is read, in bytes. A longer one is a mistake: a key store, a log, an endless file.
pub(crate) const MAX_BYTES: usize = 64 * 1_024;

const BOM: &str = "\u{feff}";

/// One byte more than is allowed, so that a longer secret is detected.
pub(crate) const READ_BYTES: u64 = MAX_BYTES as u64 + 1;

/// Returns a buffer with room for [`READ_BYTES`]. It never grows, which would leave copies behind.
pub(crate) fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(MAX_BYTES + 256))
}

/// Strips a leading byte order mark and one trailing line end, and nothing else.
pub(crate) fn secret(bytes: &[u8], place: &dyn fmt::Display) -> Result<Secret, SecretError> {
    if bytes.len() > MAX_BYTES {
        return Err(SecretError::new(format!(
            "{place} contains more than {MAX_BYTES} bytes; check that it is the right one"
        )));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| SecretError::new(format!("{place} {}", binary(bytes))))?;
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let text = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    };
    if text.is_empty() {
        return Err(SecretError::new(format!(
            "{place} is empty; write the secret to it"
        )));
    }
    Secret::new(text)
}

/// Describes content that is not UTF-8 by its first bytes, and how to convert it to text.
fn binary(bytes: &[u8]) -> &'static str {
    match bytes {
        // A PKCS#12 archive has version 3 (RFC 7292 section 4), PKCS#8 and PKCS#1 keys have 0.
        [0x30, 0x82, _, _, 0x02, 0x01, 0x03, ..] => {
            "contains a PKCS#12 archive, which is not UTF-8; extract key and certificate as PEM with `openssl pkcs12 -nodes -in FILE`"
        }
        [0x30, 0x81..=0x83, ..] | [0x30, _, 0x02, 0x01, ..] => {
            "contains a key or a certificate in DER, which is not UTF-8; convert it to PEM with `openssl pkey -inform DER -in FILE` or `openssl x509 -inform DER -in FILE`"
        }
        [0xfe, 0xed, 0xfe, 0xed, ..] => {
            "contains a Java key store, which is not UTF-8; convert it with `keytool -importkeystore` to PKCS#12, and that to PEM with `openssl pkcs12 -nodes -in FILE`"
        }
        _ => "is not valid UTF-8; save it again as UTF-8 (Windows PowerShell's `>` writes UTF-16)",
    }
}

/// Formats a path in backticks, with control characters escaped.
pub(crate) fn shown(path: &Path) -> String {
    let path = path.to_string_lossy();
    let escaped = path.chars().flat_map(|char| {
        let escape = char.is_control().then(|| char.escape_default());
        let plain = (!char.is_control()).then_some(char);
        escape.into_iter().flatten().chain(plain)
    });
    format!("`{}`", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Secret, SecretError> {
        secret(bytes, &"the place")
    }

    // covers: F-106, F-107, F-114
    #[test]
    fn only_one_line_end_and_a_byte_order_mark_are_removed() {
        for (bytes, expect) in [
            ("s3cr3t", "s3cr3t"),
            ("s3cr3t\n", "s3cr3t"),
            ("s3cr3t\r\n", "s3cr3t"),
            ("s3cr3t\n\n", "s3cr3t\n"),
            ("s3cr3t\r\n\r\n", "s3cr3t\r\n"),
            ("s3cr3t\r", "s3cr3t\r"),
            (" s3 cr3t \n", " s3 cr3t "),
            ("\t\n", "\t"),
            ("\u{feff}s3cr3t\r\n", "s3cr3t"),
            ("\u{feff}\u{feff}x", "\u{feff}x"),
            ("x\u{feff}", "x\u{feff}"),
            ("null\n", "null"),
            ("undefined", "undefined"),
            ("\"quoted\"\n", "\"quoted\""),
        ] {
            assert_eq!(read(bytes.as_bytes()).unwrap().expose(), expect);
        }
    }

    // covers: F-108, F-109, F-114
    #[test]
    fn invalid_content_is_reported_with_its_place() {
        let long = "x".repeat(MAX_BYTES + 1);
        for (bytes, expect) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"\r\n", "is empty"),
            ("\u{feff}\n".as_bytes(), "is empty"),
            (long.as_bytes(), "more than 65536 bytes"),
            (b"\xff\xfeC\0A\0N\0A\0R\0Y\0", "UTF-16"),
            (b"CANARY\xff", "not valid UTF-8"),
            (b"\x30\x82\x04\xbfCANARY\xff", "in DER"),
            // An Ed25519 key and a P-256 key are short.
            (b"\x30\x2e\x02\x01\x00CANARY\xff", "in DER"),
            (b"\x30\x81\x87\x02\x01\x00CANARY\xff", "openssl pkey"),
            (
                b"\x30\x82\x09\xd7\x02\x01\x03CANARY\xff",
                "a PKCS#12 archive",
            ),
            (b"\xfe\xed\xfe\xed\0\0\0\x02CANARY", "a Java key store"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(
                error.starts_with("the place ") && error.contains(expect),
                "{error}"
            );
            assert!(
                !error.contains("CANARY") && !error.contains("xx"),
                "{error}"
            );
        }
        assert_eq!(
            read(&long.as_bytes()[1..]).unwrap().expose().len(),
            MAX_BYTES
        );
    }

    #[test]
    fn control_characters_of_a_path_are_escaped() {
        let shown = shown(Path::new("/run/\u{1b}[2Jse cret\n"));
        assert_eq!(shown, "`/run/\\u{1b}[2Jse cret\\n`");
    }

    proptest! {
        // covers: F-106
        #[test]
        fn any_text_is_returned_unchanged(text in "\\PC{1,40}", end in "(\n|\r\n)?") {
            prop_assume!(!text.starts_with(BOM));
            let read = read(format!("{text}{end}").as_bytes()).unwrap();
            prop_assert_eq!(read.expose(), text);
        }

        #[test]
        fn any_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(secret) = read(&bytes) {
                let text = std::str::from_utf8(&bytes).unwrap();
                prop_assert!(!secret.expose().is_empty() && text.contains(secret.expose()));
                prop_assert!(text.len() - secret.expose().len() <= BOM.len() + 2);
            }
        }
    }
}
