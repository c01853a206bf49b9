//! The target of a redirect in words: its URL may carry anything.

use hallpass_core::TextFilter;
use http::header;
use url::Url;

use super::answer::Answer;

/// No name of a host is longer, however it is encoded.
const MAX_AUTHORITY: usize = 1_024;

/// Returns the host that a redirect leads to, or the path if it stays on the same host.
pub(crate) fn target(answer: &Answer, filter: &TextFilter) -> String {
    let location = answer.headers.get(header::LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let target = location.and_then(|location| named(location, &answer.url, filter));
    target.unwrap_or_else(|| "another address".to_owned())
}

fn named(location: &str, from: &Url, filter: &TextFilter) -> Option<String> {
    // A parser ignores them, and a name may be in pieces.
    let location = location.replace('\t', "");
    let target = from.join(&location).ok()?;
    let host = target.host_str()?;
    if from.host_str() != Some(host) {
        // As it is shown, in lower case and in Punycode, a name may hold what was a secret's spelling, and is none any more.
        let written = authority(&location);
        let hidden = written.len() > MAX_AUTHORITY
            || filter.finds_secret(written) && !filter.finds_secret(host);
        return (!hidden).then(|| format!("`{}`", filter.clean(host)));
    }
    if target.origin() != from.origin() {
        let origin = target.origin().ascii_serialization();
        return Some(format!("`{}`", filter.clean(&origin)));
    }
    if target.path() == from.path() {
        return Some("the same address with another query".to_owned());
    }
    Some(format!(
        "`{}` on the same host",
        filter.clean(target.path())
    ))
}

/// Returns the part of a URL that holds the host, as it is written.
fn authority(url: &str) -> &str {
    let is_slash = |char| matches!(char, '/' | '\\');
    let rest = match url.split_once(':') {
        Some((scheme, rest)) if !scheme.contains(is_slash) => rest,
        _ => url,
    };
    let rest = rest.trim_start_matches(is_slash);
    let end = rest.find(|char| is_slash(char) || matches!(char, '?' | '#'));
    &rest[..end.unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn check(location: &str, expect: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, location.parse().unwrap());
        let answer = Answer {
            status: StatusCode::FOUND,
            url: "https://login.example/o/token?tenant=7".parse().unwrap(),
            headers,
            body: Vec::new().into(),
        };
        let filter = TextFilter::new().with_secret("CANARY");
        assert_eq!(target(&answer, &filter), expect, "{location}");
    }

    // covers: F-49, F-101
    #[test]
    fn a_location_is_resolved_against_the_address_of_the_request() {
        for (location, expect) in [
            ("https://new.example/token?code=x", "`new.example`"),
            ("//new.example:8443/token", "`new.example`"),
            ("/o/token/", "`/o/token/` on the same host"),
            ("token/v2?x=CANARY#CANARY", "`/o/token/v2` on the same host"),
            ("https://LOGIN.example/v2", "`/v2` on the same host"),
            ("?tenant=8", "the same address with another query"),
            ("", "the same address with another query"),
            ("http://login.example/o/token", "`http://login.example`"),
            ("//login.example:8443/", "`https://login.example:8443`"),
            ("https://", "another address"),
            ("mailto:a@b.example", "another address"),
        ] {
            check(location, expect);
        }
    }

    // covers: F-33, F-101
    #[test]
    fn a_credential_in_a_location_is_not_shown() {
        for (location, expect) in [
            ("/o/CANARY/x", "`/o/[redacted]/x` on the same host"),
            ("/o/Q0FOQVJZ", "`/o/[redacted]` on the same host"),
            ("//canary.example:1/", "`[redacted].example`"),
            ("//Q0FOQVJZ:1/", "another address"),
            ("https://Q0FO\tQVJZ/", "another address"),
        ] {
            check(location, expect);
        }
    }
}
