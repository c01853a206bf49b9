use std::fmt;

use super::Secret;

/// A sign that a secret was altered on its way into a variable, a file or a vault.
///
/// It is a guess from the form of the text, for diagnosis and never for a decision: a server may have issued such a
/// secret. It holds nothing of the secret. The text follows the secret's name, "is wrapped in quotation marks";
/// [`hint`](Self::hint) says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretAnomaly {
    /// `NAME=value` instead of the value.
    Assignment,
    /// Base64 of readable text, as in the data of a Kubernetes `Secret`.
    Base64,
    /// A control character other than a line break, such as NUL.
    ControlCharacter,
    /// An invisible character: a byte order mark, a zero-width space.
    Invisible,
    /// A JSON object or array.
    Json,
    /// A line break within the text or at its end.
    LineBreak,
    /// An unreplaced variable or placeholder: `${NAME}`, `<secret>`.
    Placeholder,
    /// Quotation marks around the text.
    Quoted,
    /// White space before or after the text.
    SurroundingSpace,
}

impl Secret {
    /// Returns a sign that this client secret was altered on its way here, or `None` if it looks intact.
    ///
    /// For client secrets only; keys and tokens have other forms.
    ///
    /// ```
    /// use hallpass_core::{Secret, SecretAnomaly};
    ///
    /// let secret = Secret::new("\"s3cr3t\"")?;
    /// assert_eq!(secret.anomaly(), Some(SecretAnomaly::Quoted));
    /// assert_eq!(Secret::new("s3cr3t")?.anomaly(), None);
    /// # Ok::<(), hallpass_core::SecretError>(())
    /// ```
    pub fn anomaly(&self) -> Option<SecretAnomaly> {
        use SecretAnomaly::{
            Assignment, Base64, ControlCharacter, Invisible, Json, LineBreak, Placeholder, Quoted,
            SurroundingSpace,
        };
        let text = self.expose();
        let within = text.trim();
        let found = [
            (Json, is_within(within, &[("{\"", "}"), ("[\"", "]")])),
            (
                Quoted,
                is_within(within, &[("\"", "\""), ("'", "'"), ("`", "`")]),
            ),
            (
                Placeholder,
                is_within(
                    within,
                    &[("${", "}"), ("$(", ")"), ("{{", "}}"), ("<", ">")],
                ),
            ),
            (Assignment, is_assignment(within)),
            (LineBreak, text.contains(['\n', '\r'])),
            (SurroundingSpace, within.len() < text.len()),
            (ControlCharacter, text.contains(char::is_control)),
            (Invisible, text.contains(is_invisible)),
            (Base64, is_base64_of_text(text)),
        ];
        let found = found.into_iter().find(|(_, is_there)| *is_there);
        found.map(|(anomaly, _)| anomaly)
    }
}

impl SecretAnomaly {
    /// Returns matching advice: "remove them if they do not belong to it".
    pub fn hint(self) -> &'static str {
        match self {
            Self::Assignment => "store the value alone",
            Self::Base64 => "if the server issued the decoded text, store that",
            Self::ControlCharacter => "copy it again",
            Self::Invisible => "copy it again as plain text",
            Self::Json => "store the value of the one member alone",
            Self::LineBreak => "store it on one line",
            Self::Placeholder => "replace it with the secret",
            Self::Quoted => "remove them if they do not belong to it",
            Self::SurroundingSpace => "remove it if it does not belong to it",
        }
    }
}

impl fmt::Display for SecretAnomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assignment => "looks like `NAME=value`",
            Self::Base64 => "looks like text in base64",
            Self::ControlCharacter => "contains a control character",
            Self::Invisible => "contains an invisible character, such as a byte order mark",
            Self::Json => "looks like JSON",
            Self::LineBreak => "contains a line break",
            Self::Placeholder => "looks like a placeholder that was not replaced",
            Self::Quoted => "is wrapped in quotation marks",
            Self::SurroundingSpace => "begins or ends with white space",
        })
    }
}

fn is_within(text: &str, pairs: &[(&str, &str)]) -> bool {
    pairs.iter().any(|(start, end)| {
        text.strip_prefix(start)
            .is_some_and(|rest| rest.ends_with(end))
    })
}

/// Detects `NAME=value`. A base64 secret may end in `=`, without a value after it.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    text.split_once('=').is_some_and(|(name, value)| {
        let is_capital = |char: char| char.is_ascii_uppercase();
        let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let is_variable = name.contains('_') || (name.len() > 3 && name.chars().all(is_capital));
        is_variable
            && name.starts_with(|char: char| char.is_ascii_alphabetic())
            && name.chars().all(is_word)
            && !value.trim_matches('=').is_empty()
    })
}

fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}' | '\u{a0}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
    )
}

/// Decodes without storing the result.
fn is_base64_of_text(text: &str) -> bool {
    const SHORTEST: usize = 8;
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() < SHORTEST || text.len() - body.len() > 2 {
        return false;
    }
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in body.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            // A line end is the one that `echo` adds before encoding.
            if !matches!(bits >> count & 0xff, 0x20..=0x7e | 0x0a | 0x0d) {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn anomaly(text: &str) -> Option<SecretAnomaly> {
        Secret::new(text).unwrap().anomaly()
    }

    #[test]
    fn each_way_to_alter_a_secret_is_reported() {
        use SecretAnomaly::*;
        for (text, expect) in [
            ("\"s3cret\"", Quoted),
            ("'s3cret'", Quoted),
            ("\"s3cret\"\n", Quoted),
            (" s3cret", SurroundingSpace),
            ("s3cret\t", SurroundingSpace),
            ("s3cret\n", LineBreak),
            ("s3cret\r", LineBreak),
            ("s3\ncret", LineBreak),
            ("s3cret\0", ControlCharacter),
            ("\u{feff}s3cret", Invisible),
            ("s3cret\u{200b}", Invisible),
            ("{\"client_secret\":\"s3cret\"}", Json),
            ("[\"s3cret\"]", Json),
            ("CLIENT_SECRET=s3cret", Assignment),
            ("export CLIENT_SECRET=s3cret", Assignment),
            ("client_secret=\"s3cret\"", Assignment),
            ("SECRET=s3cret", Assignment),
            ("${CLIENT_SECRET}", Placeholder),
            ("$(cat secret)", Placeholder),
            ("{{ .Values.secret }}", Placeholder),
            ("<client-secret>", Placeholder),
            // With and without the line end of `echo`.
            ("czNjcmV0", Base64),
            ("czNjcmV0Cg==", Base64),
            // `am?ab>`, in either alphabet.
            ("YW0/YWI+", Base64),
            ("YW0_YWI-", Base64),
        ] {
            assert_eq!(anomaly(text), Some(expect), "{text:?}");
        }
    }

    /// Secrets as generated by Keycloak, Entra, Okta, Auth0, Google, GitHub and `openssl rand`.
    #[test]
    fn what_servers_issue_is_sound() {
        for text in [
            "s3cret",
            "p@ss:w%rd+&=/?",
            "{curly",
            "a=b",
            "pass word",
            "password",
            "zQ0N4Lq5rqgVbF2H8yWcXbPj1dKxRm7T",
            "3f8a9c1e-7b2d-4e5f-8a6b-9c0d1e2f3a4b",
            "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d",
            "abc8Q~xYz123-._abcDEFghiJKLmnoPQRstuVWX",
            "GOCSPX-1a2B3c4D5e6F7g8H9i0J_k",
            "kX9vT2+8rJw/5qLmYb3nZc7dFhGsAeUo1iPtRxWyVlQ=",
            // No assignment: the name of a variable is longer, or has an underscore.
            "ABC=s3cret",
            "abcd=s3cret",
            // Not the length or the padding of base64.
            "czNjcmV0Cg",
            "c2Vj",
            "czNjcmV0====",
        ] {
            assert_eq!(anomaly(text), None, "{text}");
        }
    }

    #[test]
    fn each_anomaly_is_described_with_advice_of_its_own() {
        use SecretAnomaly::*;
        let all = [
            Assignment,
            Base64,
            ControlCharacter,
            Invisible,
            Json,
            LineBreak,
            Placeholder,
            Quoted,
            SurroundingSpace,
        ];
        let described = all.map(|anomaly| format!("the secret {anomaly}; {}", anomaly.hint()));
        assert_eq!(
            described[7],
            "the secret is wrapped in quotation marks; remove them if they do not belong to it"
        );
        for (nth, one) in described.iter().enumerate() {
            assert!(!described[..nth].contains(one), "{one}");
            assert!(
                one.split("; ").all(|part| part.len() > "the secret ".len()),
                "{one}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_and_none_is_repeated(text in "\\PC{1,40}") {
            let secret = Secret::new(format!("\"CANARY{text}")).unwrap();
            if let Some(anomaly) = secret.anomaly() {
                let shown = format!("{anomaly} {anomaly:?} {}", anomaly.hint());
                prop_assert!(!shown.contains("CANARY"));
            }
        }
    }
}
