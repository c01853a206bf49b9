//! References to secrets: what is accepted is written as it is read, two references differ exactly if their canonical
//! texts do, and an error repeats nothing of the text, which may be a secret.

use std::path::Path;

use hallpass_secrets::SecretReference;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use url::Url;

use crate::{
    seeds,
    support::{CANARY, assert_hidden, check_error, check_key_error},
};

pub(crate) const WORDS: &[&str] = &[
    "env:",
    "file:/",
    "command:",
    "command:[\"",
    "systemd:",
    "keychain:",
    "vault:",
    "#field",
    "/../",
    "s3cr3t-CANARY",
    "\n",
];

/// The characters that are encoded in a part of a path: all but letters, digits and the dot.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.');

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = ["crates/secrets/src/reference/tests.rs"];
    let mut seeds = seeds::of_literals(&files, &[]);
    seeds.extend(
        [
            "env:A",
            "env:9A",
            "env:A-B",
            "env:\u{e4}",
            "file:/a/",
            "file:/a/..",
            "file:a",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    seeds.push(b"command:a b\ncommand:[\"a\", \"b\"]".to_vec());
    for path in [
        "a/b", "a/b/c", "a/../b", "../a", "a/.", "a/b/", "/a/b", "a//b", "a",
    ] {
        seeds.push(format!("keychain:{path}").into_bytes());
        seeds.push(format!("vault:{path}#field").into_bytes());
    }
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let (one, other) = text.split_once('\n').unwrap_or((text, text));
    let [one, other] = [one, other].map(|text| match text.parse::<SecretReference>() {
        Ok(reference) => {
            if reference.runs_a_command() {
                // Arguments may hold anything.
                let command = text.split_once(':').map_or("", |(_, command)| command);
                let program = command.split_whitespace().next();
                if !program.is_some_and(|program| program.contains("CANARY")) && !text.contains('[')
                {
                    assert_hidden(&format!("{reference} {reference:?}"), CANARY);
                }
            } else {
                let shown = reference.to_string();
                assert_eq!(shown, text);
                assert!(shown.parse::<SecretReference>().as_ref() == Ok(&reference));
                names(&reference, text);
            }
            Some(reference)
        }
        Err(error) => {
            check_error(&error, CANARY);
            check_key_error(&error, text);
            None
        }
    });
    if let (Some(one), Some(other)) = (one, other) {
        // Two spellings of a path, such as `/a/` and `/a`, are equal.
        let is_path = one.canonical().starts_with("file:");
        let is_same = one.canonical() == other.canonical();
        assert!(one == other || !is_same);
        assert!(one != other || is_same || is_path);
    }
}

/// Asserts that a reference names what its text says: a user's name has no `/`, and a path in Vault is the one that a
/// URL keeps.
fn names(reference: &SecretReference, text: &str) {
    if let Some(name) = text.strip_prefix("env:") {
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(name.bytes().all(fit) && !name.starts_with(|char: char| char.is_ascii_digit()));
    }
    if let Some(path) = text.strip_prefix("file:") {
        // A part `.` and a slash at the end are no part of a `Path`.
        let last = Path::new(path).file_name().unwrap();
        assert!(Path::new(path).is_absolute() && path.ends_with(last.to_str().unwrap()));
    }
    if let Some((service, user)) = text
        .strip_prefix("keychain:")
        .and_then(|rest| rest.rsplit_once('/'))
    {
        let opened = format!("{:?}", reference.open().unwrap());
        assert!(
            opened.contains(&format!("service: {service:?}, user: {user:?}")),
            "{opened}"
        );
    }
    if let Some((path, field)) = text
        .strip_prefix("vault:")
        .and_then(|rest| rest.rsplit_once('#'))
    {
        let encoded = path
            .split('/')
            .map(|part| percent_encoding::utf8_percent_encode(part, ENCODED).to_string());
        let encoded: Vec<String> = encoded.collect();
        let url = Url::parse(&format!("https://vault.example/{}", encoded.join("/"))).unwrap();
        assert!(encoded.len() >= 2 && url.path_segments().unwrap().eq(encoded));
        assert!(!path.contains("//") && !path.ends_with('/') && !field.is_empty());
    }
}
