//! Common damage to a PEM text on its way into a variable, a file or a vault.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";

/// Returns the reason why a text cannot be read as PEM, with a fix. It repeats nothing of the text.
pub(crate) fn find(text: &str) -> Option<&'static str> {
    let text = without_certificates(text);
    let text = text.trim();
    if !text.contains(BEGIN) {
        return find_in_base64(text);
    }
    // `trim` has removed the indent of the first line.
    let is_indented = |line: &str| !line.starts_with('-') && line.trim_start().starts_with("-----");
    if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        Some(
            "the text is in OpenSSH's own format; convert it with `ssh-keygen -p -m PKCS8 -f FILE`, or generate a key with `openssl genpkey -algorithm ed25519`",
        )
    } else if text.starts_with(['"', '\'']) {
        Some(
            "the text is wrapped in quotation marks; remove them, and replace each `\\n` by a line break",
        )
    } else if text.contains("\\n") {
        Some(
            "the text has `\\n` instead of line breaks; replace each by a line break, as `printf '%b'` does",
        )
    } else if !text.contains('\n') {
        Some("the text has no line breaks; its BEGIN and END lines must be separate lines")
    } else if text.lines().any(is_indented) {
        Some("the lines of the text are indented; remove the leading spaces")
    } else {
        None
    }
}

/// Returns the text without its certificates, whose intact lines would hide the damage to a key next to them.
fn without_certificates(text: &str) -> Zeroizing<String> {
    // One allocation, since a copy that grows leaves parts of the key behind.
    let mut rest = Zeroizing::new(String::with_capacity(text.len() + 1));
    let mut in_certificate = false;
    for line in text.lines() {
        in_certificate |= line.trim_end() == "-----BEGIN CERTIFICATE-----";
        if !in_certificate {
            rest.push_str(line);
            rest.push('\n');
        }
        in_certificate &= line.trim_end() != "-----END CERTIFICATE-----";
    }
    rest
}

fn find_in_base64(text: &str) -> Option<&'static str> {
    let body: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(&*body).ok()?);
    if decoded.starts_with(BEGIN.as_bytes()) {
        return Some("the text is base64-encoded PEM; decode it with `base64 -d`");
    }
    // The start of a sequence in DER, with its length in one byte or in the next ones.
    matches!(**decoded, [0x30, 0x81..=0x83, ..] | [0x30, _, 0x02, 0x01, ..]).then_some(
        "the text lacks its BEGIN and END lines; add them, for a key `-----BEGIN PRIVATE KEY-----` before it and `-----END PRIVATE KEY-----` after it",
    )
}
