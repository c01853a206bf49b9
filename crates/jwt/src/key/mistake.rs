//! Common damage to a PEM text on its way into a variable, a file or a vault.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";

/// Returns the reason why a text cannot be read as PEM, with a fix. It repeats nothing of the text.
pub(super) fn of(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if !text.contains(BEGIN) {
        return of_base64(text);
    }
    // `trim` has removed the indent of the first line.
    let is_indented = |line: &str| !line.starts_with('-') && line.trim_start().starts_with("-----");
    if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        Some(
            "the text is in OpenSSH's own format; convert it with `ssh-keygen -p -m PKCS8 -f FILE`, or make a key with `openssl genpkey -algorithm ed25519`",
        )
    } else if text.starts_with(['"', '\'']) {
        Some(
            "the text is wrapped in quotation marks; remove them, and give it real line ends where they are written as `\\n`",
        )
    } else if text.contains("\\n") {
        Some(
            "the text has its line ends written as `\\n`; replace each by a real line end, as `printf '%b'` does",
        )
    } else if !text.contains('\n') {
        Some(
            "the text has lost its line ends; its BEGIN line and its END line must be lines of their own",
        )
    } else if text.lines().any(is_indented) {
        Some("the lines of the text are indented; remove the white space before them")
    } else {
        None
    }
}

fn of_base64(text: &str) -> Option<&'static str> {
    let body: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(&*body).ok()?);
    if decoded.starts_with(BEGIN.as_bytes()) {
        return Some("the text is PEM in base64; store it decoded, as `base64 -d` does");
    }
    // The start of a sequence in DER, with its length in one byte or in the next ones.
    matches!(**decoded, [0x30, 0x81..=0x83, ..] | [0x30, _, 0x02, 0x01, ..]).then_some(
        "the text is the base64 of a key without the lines around it; put `-----BEGIN PRIVATE KEY-----` before and `-----END PRIVATE KEY-----` after it",
    )
}
