//! Parsing of values, and suggestions for misspelled names.

use std::time::Duration;

use clap::ValueEnum as _;

use crate::args::Authentication;

/// Parses `10s`, `500ms` or `1m 30s`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    const FIT: &str = "a time is written as `10s`, `500ms` or `2m`, and is longer than nothing";
    let parsed = match text.trim().parse::<u32>() {
        Ok(seconds) => Duration::from_secs(seconds.into()),
        Err(_) => humantime::parse_duration(text.trim()).map_err(|_| FIT)?,
    };
    if parsed.is_zero() {
        Err(FIT)
    } else {
        Ok(parsed)
    }
}

pub(crate) fn authentication(text: &str) -> Result<Authentication, &'static str> {
    Authentication::from_str(text, false)
        .map_err(|_| "it is none of `form`, `basic`, `raw-basic`, `private-key-jwt`, `client-secret-jwt`, `workload-identity`, `tls`, `self-signed-tls` and `none`")
}

/// Returns the known name that was most likely meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_nothing_is_no_time() {
        for (text, milliseconds) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("7", 7_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "0", "0s", "soon", "-1s", "10"] {
            assert_eq!(duration(text).is_ok(), text == "10", "{text}");
        }
    }

    #[test]
    fn what_is_nearly_right_is_recognised() {
        let known = ["scope", "client_id", "client_secret"];
        assert_eq!(nearest("scopes", known), Some("scope"));
        assert_eq!(nearest("clientid", known), Some("client_id"));
        assert_eq!(nearest("zzz", known), None);
    }
}
