//! The content of secrets, from a file or a command, and Vault's responses: a secret is the one that the rules and
//! `serde_json` find, and an error repeats nothing of it.

use hallpass_core::Secret;
use hallpass_secrets::internals;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    seeds,
    support::{CANARY, assert_unambiguous, check_error, check_key_error, settings},
};

pub(crate) const WORDS: &[&str] = &[
    "\"data\":{\"data\":{\"secret\":\"",
    "\"metadata\":{\"version\":1}",
    "\"deletion_time\":\"2026\"",
    "\"destroyed\":true",
    "\\u0073ecret",
    "s3cr3t-CANARY",
    "\r\n",
    "\u{feff}",
];

const STATUS: [u16; 8] = [200, 400, 403, 404, 412, 429, 503, 302];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::of_literals(&["crates/secrets/src/content.rs"], &[0]);
    for text in [
        "\u{feff}a\n",
        "\u{feff}\u{feff}a",
        "a\n\n",
        "a\r\n",
        " a ",
        "a\0",
    ] {
        seeds.push([&[0], text.as_bytes()].concat());
    }
    for fields in [
        r#""secret":"a""#,
        r#""secret":"a","secret":"b""#,
        r#""secret":"\ufeffa\n""#,
        r#""secret":null"#,
        r#""secret":1"#,
    ] {
        let response = format!(r#"{{"data":{{"data":{{{fields}}},"metadata":{{"version":1}}}}}}"#);
        seeds.push([&[1], response.as_bytes()].concat());
    }
    let vault = [
        "crates/secrets/src/vault/tests.rs",
        "tests/stories/vault.rs",
    ];
    seeds.extend(seeds::of_literals(&vault, &[1]));
    seeds.extend(seeds::of_literals(&vault, &[1 | 3 << 1]));
    seeds
}

/// A JSON object with the member `data`, which it has once.
#[derive(Deserialize)]
struct Nested<T> {
    data: T,
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    if settings & 1 == 0 {
        return content(bytes);
    }
    let status = STATUS[usize::from(settings >> 1) % STATUS.len()];
    let value = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let text = value["data"]["data"]["secret"].as_str();
    match internals::vault_secret(status, bytes, "secret").unwrap() {
        Ok(secret) => {
            assert_eq!(status, 200);
            let Nested {
                data: Nested { data: fields },
            } = serde_json::from_slice::<Nested<Nested<&RawValue>>>(bytes).unwrap();
            assert_unambiguous(fields.get().as_bytes(), &["secret"]);
            // A number beyond a double in a member that is not read.
            if !value.is_null() {
                check_content(&secret, text.unwrap());
            }
        }
        Err(error) => {
            check_error(&error, CANARY);
            check_key_error(&error, &String::from_utf8_lossy(bytes));
            assert!(status != 200 || error.is_inaccessible() || !error.is_transient());
        }
    }
}

fn content(bytes: &[u8]) {
    match internals::secret(bytes) {
        Ok(secret) => check_content(&secret, str::from_utf8(bytes).unwrap()),
        Err(error) => {
            check_error(&error, CANARY);
            check_key_error(&error, &String::from_utf8_lossy(bytes));
            let is_empty = matches!(
                bytes,
                b"" | b"\n" | b"\r\n" | b"\xef\xbb\xbf" | b"\xef\xbb\xbf\n" | b"\xef\xbb\xbf\r\n"
            );
            assert!(is_empty || bytes.len() > 64 << 10 || str::from_utf8(bytes).is_err());
        }
    }
}

/// Removes a mark at the start and one line end, and nothing else.
fn check_content(secret: &Secret, text: &str) {
    let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = rest.strip_suffix("\r\n").or(rest.strip_suffix('\n'));
    assert_eq!(secret.expose(), line.unwrap_or(rest));
    assert!(secret.expose().len() < 12 || !format!("{secret:?}").contains(secret.expose()));
}
