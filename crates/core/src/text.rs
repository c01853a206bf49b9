//! What a stranger wrote, made safe to show.

use std::fmt::Write as _;

/// The longest extract of a server's text that is shown, in characters.
const SHOWN_CHARS: usize = 256;

/// Escapes everything that could steer a terminal or forge a log line, and cuts at [`SHOWN_CHARS`].
///
/// RFC 6749 section 5.2 allows printable ASCII alone; letters of other scripts are let through, since servers use
/// them and they do no harm.
pub(crate) fn safe_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len().min(SHOWN_CHARS));
    for (shown, char) in text.chars().enumerate() {
        if shown == SHOWN_CHARS {
            safe.push_str("...");
            break;
        }
        if matches!(char, ' '..='~') || char.is_alphanumeric() {
            safe.push(char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(safe, "{}", char.escape_unicode());
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-33, C-27
    #[test]
    fn control_characters_are_escaped_and_length_is_capped() {
        assert_eq!(safe_text("plain text"), "plain text");
        assert_eq!(safe_text("größe 大"), "größe 大");
        assert_eq!(safe_text("a\x1b[31m\nb"), "a\\u{1b}[31m\\u{a}b");
        assert_eq!(safe_text("\u{202e}evil"), "\\u{202e}evil");
        let long = safe_text(&"x".repeat(1 << 20));
        assert_eq!(long.len(), 256 + 3);
        assert!(long.ends_with("..."));
    }
}
