mod encodings;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;

use super::*;

// covers: F-33, C-27
#[test]
fn control_characters_are_escaped_and_length_is_capped() {
    assert_eq!(safe_text("plain text"), "plain text");
    assert_eq!(safe_text("größe 大"), "größe 大");
    assert_eq!(safe_text("a\x1b[31m\nb"), "a\\u{1b}[31m\\u{a}b");
    assert_eq!(safe_text("\u{202e}evil"), "\\u{202e}evil");
    // The second set of control characters, the line separator and the isolates.
    assert_eq!(safe_text("\u{9b}31m"), "\\u{9b}31m");
    assert_eq!(safe_text("\u{2028}\u{2066}"), "\\u{2028}\\u{2066}");
    let long = safe_text(&"x".repeat(1 << 20));
    assert_eq!(long.len(), 256 + 3);
    assert!(long.ends_with("..."));
}

#[test]
fn the_cut_counts_what_is_shown() {
    let long = safe_text(&"\x1b".repeat(1_000));
    assert_eq!(long.len(), 256 + 3);
    assert_eq!(safe_text(&"x".repeat(256)), "x".repeat(256));
    let filter = TextFilter::new().with_secret("s3cret");
    let shown = filter.clean(&"s3cret ".repeat(1_000));
    assert_eq!(shown.len(), 256 + 3);
    assert!(!shown.contains("s3"), "{shown}");
}

/// A secret with a capital letter and with characters that each encoding treats in its own way.
const SECRET: &str = "S3cr/T+x y!~(&)<'\">ü";

#[test]
fn an_echo_is_removed_in_every_spelling() {
    let filter = TextFilter::new().with_secret(SECRET);
    for spelling in [
        SECRET,
        // Percent-encoded: in upper case, in lower case, with few and with many characters encoded.
        "S3cr%2FT%2Bx%20y%21%7E%28%26%29%3C%27%22%3E%C3%BC",
        "S3cr%2fT%2bx%20y%21%7e%28%26%29%3c%27%22%3e%c3%bc",
        "S3cr%2FT%2Bx%20y!~(%26)%3C'%22%3E%C3%BC",
        "S3cr/T%2Bx%20y!~(&)<'\">ü",
        // As in a form.
        "S3cr%2FT%2Bx+y!%7E(%26)%3C'%22%3E%C3%BC",
        // Lower-cased by the server.
        "s3cr/t+x y!~(&)<'\">ü",
        "s3cr%2ft%2bx+y!%7e(%26)%3c'%22%3e%c3%bc",
        // In HTML.
        "S3cr/T+x y!~(&amp;)&lt;&#39;&quot;&gt;&#252;",
        "S3cr&#x2F;T&#x2b;x&#32;y!~(&#38;)&#60;&apos;&#34&#62;ü",
        // In a quoted string.
        r#"S3cr\/T+x y!~(&)<\'\">ü"#,
        r#"S3cr/T\u002Bx y!~(\u0026)\u003C\x27\">\u00fc"#,
        // In Base64 of either alphabet, whole and as part of more.
        "UzNjci9UK3ggeSF+KCYpPCciPsO8",
        "UzNjci9UK3ggeSF-KCYpPCciPsO8",
        "UzNjci9UK3ggeSF%2BKCYpPCciPsO8",
        // Twice.
        "S3cr%252FT%252Bx%2520y%2521%257E%2528%2526%2529%253C%2527%2522%253E%25C3%25BC",
        "S3cr%2FT%2Bx+y!%7E(%26amp%3B)%26lt%3B%27%26quot%3B%26gt%3B%C3%BC",
    ] {
        let clean = filter.clean(&format!("sent {spelling}."));
        assert_eq!(clean, "sent [redacted].", "{spelling}");
        assert!(filter.finds_secret(spelling), "{spelling}");
        // The positive control: without the secret it is shown.
        let shown = TextFilter::new().clean(spelling);
        assert!(shown.contains(&spelling[..4]), "{shown}");
    }
    assert!(!filter.finds_secret("S3cr/T+x y!"));
    assert_eq!(filter.clean("nothing here"), "nothing here");
}

#[test]
fn an_echo_within_base64_is_found_at_each_offset() {
    let filter = TextFilter::new().with_secret("CANARY-s3cr3t");
    for (encoded, shown) in [
        // After `id:`, `o:`, `ab:` and nothing.
        ("aWQ6Q0FOQVJZLXMzY3IzdA==", "aWQ6[redacted]"),
        ("bzpDQU5BUlktczNjcjN0", "bz[redacted]"),
        ("YWI6Q0FOQVJZLXMzY3IzdA", "YWI6[redacted]"),
        ("Q0FOQVJZLXMzY3IzdA", "[redacted]"),
        // Adjacent to other letters, which shift it.
        ("xQ0FOQVJZLXMzY3IzdA", "x[redacted]"),
        ("xxQ0FOQVJZLXMzY3IzdA", "xx[redacted]"),
        ("xxxQ0FOQVJZLXMzY3IzdA", "xxx[redacted]"),
        // A form-encoded secret in a Basic header.
        ("aWQ6Q0FOQVJZJTJEczNjcjN0", "aWQ6[redacted]"),
    ] {
        assert_eq!(filter.clean(encoded), shown, "{encoded}");
    }
}

#[test]
fn an_echo_within_nested_encodings_is_found_at_each_offset() {
    const SECRET: &str = "CANARY/s3cr3t";
    let filter = TextFilter::new().with_secret(SECRET);
    let base64 = |text: String| BASE64_STANDARD.encode(text);
    for inner in ["", "1", "12"] {
        for outer in ["", "1", "12"] {
            let twice = base64(format!("{outer}{}", base64(format!("{inner}{SECRET}"))));
            assert!(filter.finds_secret(&twice), "{twice}");
        }
        let in_a_form = base64(format!("{inner}CANARY%2Fs3cr3t"));
        assert!(filter.finds_secret(&in_a_form), "{in_a_form}");
        let encoded = base64(format!("{inner}{SECRET}")).replace('Q', "%51");
        assert!(filter.finds_secret(&encoded), "{encoded}");
    }
}

#[test]
fn only_the_echo_is_removed() {
    let filter = TextFilter::new().with_secret("s3cret");
    // Padding belongs to Base64 alone.
    assert_eq!(filter.clean("s3cret== x"), "[redacted]== x");
    assert_eq!(filter.clean("czNjcmV0== x"), "[redacted] x");
    // Nor does a cut text that holds its start, far before the cut.
    let long = "the s3cr of this server ".repeat(200);
    let shown = filter.clean(&long);
    assert_eq!(shown, format!("{}...", &long[..256]));
}

#[test]
fn an_echo_is_found_before_the_text_is_cut() {
    let filter = TextFilter::new().with_secret(SECRET);
    let encoded = "S3cr%2fT%2bx%20y%21%7e%28%26%29%3c%27%22%3e%c3%bc";
    for before in 180..300 {
        let shown = filter.clean(&format!("{}{encoded}", "-".repeat(before)));
        assert!(!shown.contains("S3"), "{shown}");
    }
}

#[test]
fn character_references_are_decoded_for_display() {
    let filter = TextFilter::new().with_secret("S&amp;b");
    for (text, shown) in [
        (
            "A &amp; B &ndash; &#39;c&#x27; &Uuml;",
            "A & B \\u{2013} 'c' Ü",
        ),
        ("&amp;lt; & &nope; &#27;[m &", "&lt; & &nope; \\u{1b}[m &"),
        ("&#; &#x; &#000000038;", "&#; &#x; &#000000038;"),
        ("got S&amp;b &amp; more", "got [redacted] & more"),
        ("got S&#38;amp;b", "got [redacted]"),
    ] {
        assert_eq!(filter.clean_html(text), shown);
    }
}

#[test]
fn several_secrets_and_overlapping_echoes_leave_nothing() {
    let filter = TextFilter::new()
        .with_secret("alphabet")
        .with_secret("betamax")
        .with_secret("");
    assert_eq!(filter.clean("an alphabetamax."), "an [redacted].");
    assert_eq!(filter.clean("alphabet ALPHABET"), "[redacted] [redacted]");
    assert_eq!(format!("{filter:?}"), "TextFilter(..)");
}

#[test]
fn a_secret_is_found_without_the_space_around_it() {
    let filter = TextFilter::new().with_secret(" s3cret\n");
    assert_eq!(filter.clean("<s3cret>"), "<[redacted]>");
}

proptest! {
    #[test]
    fn what_is_shown_is_printable_and_stays_as_it_is(text: String, secret in ".{3,12}") {
        let filter = TextFilter::new().with_secret(&secret);
        let shown = filter.clean(&text);
        prop_assert!(!shown.contains(char::is_control));
        prop_assert!(shown.chars().count() <= 256 + 3);
        prop_assert_eq!(safe_text(&shown), shown);
    }

    #[test]
    fn a_secret_is_found_wherever_it_is(before in "[ -~]{0,80}", secret in "[!-~]{6,40}", after: String) {
        let filter = TextFilter::new().with_secret(&secret);
        let text = format!("{before}{secret}{after}");
        prop_assert!(filter.finds_secret(&text));
        prop_assert!(filter.clean(&text).contains("[redacted]"));
    }
}
