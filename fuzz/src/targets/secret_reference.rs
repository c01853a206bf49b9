//! References to secrets: what is accepted is written as it is read, two references differ exactly if their canonical
//! texts do, and an error repeats nothing of the text, which may be a secret.

use hallpass_secrets::SecretReference;

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

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = ["crates/secrets/src/reference/tests.rs"];
    let mut seeds = seeds::of_literals(&files, &[]);
    seeds.push(b"command:a b\ncommand:[\"a\", \"b\"]".to_vec());
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
