//! Parsing of values, and suggestions for misspelled names.

use std::{fmt, time::Duration};

use hallpass_endpoint::SecurityProfile;

use crate::method::AuthenticationMethod;

/// A text is not a duration greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDuration(());

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a duration greater than zero, such as `10s`, `500ms` or `2m`")
    }
}

impl std::error::Error for InvalidDuration {}

/// Parses a duration as in a profile: `10s`, `500ms` or `1m 30s`; a bare number is seconds.
///
/// # Errors
///
/// [`InvalidDuration`] for anything else, and for zero.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let parsed = match text.trim().parse::<u32>() {
        Ok(seconds) => Duration::from_secs(seconds.into()),
        Err(_) => humantime::parse_duration(text.trim()).map_err(|_| InvalidDuration(()))?,
    };
    if parsed.is_zero() {
        Err(InvalidDuration(()))
    } else {
        Ok(parsed)
    }
}

pub(crate) fn parse_security_profile(text: &str) -> Result<SecurityProfile, String> {
    let profile = text.parse::<SecurityProfile>();
    profile.map_err(|why| why.message().to_owned())
}

pub(crate) fn parse_method(text: &str) -> Result<AuthenticationMethod, String> {
    AuthenticationMethod::from_name(text).ok_or_else(|| {
        let names: Vec<_> = AuthenticationMethod::ALL
            .iter()
            .map(|method| format!("`{method}`"))
            .collect();
        format!(
            "expected one of {}",
            names.join(", ").replace(", `none`", " or `none`")
        )
    })
}

/// Returns the known name that was most likely meant.
pub(crate) fn nearest_name<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// Quotes a name, unless it does not look like one.
pub(crate) fn quoted_name(name: &str) -> String {
    let fit = |char: char| char.is_alphanumeric() || "-_.".contains(char);
    if !name.is_empty() && name.chars().count() <= 40 && name.chars().all(fit) {
        format!("`{name}`")
    } else {
        "with an unusual name".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_zero_is_refused() {
        for (text, milliseconds) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("7", 7_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds))
            );
        }
        for text in ["", "0", "0s", "soon", "-1s", "10"] {
            assert_eq!(parse_duration(text).is_ok(), text == "10", "{text}");
        }
    }

    #[test]
    fn misspelled_names_are_recognised() {
        let known = ["scope", "client_id", "client_secret"];
        assert_eq!(nearest_name("scopes", known), Some("scope"));
        assert_eq!(nearest_name("clientid", known), Some("client_id"));
        assert_eq!(nearest_name("zzz", known), None);
    }
}
