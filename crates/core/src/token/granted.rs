//! The authorization details of a token.

use super::AccessToken;
use crate::{AuthorizationDetails, TextFilter, TokenError};

/// The member of a token response.
const MEMBER: &str = "authorization_details";

impl AccessToken {
    /// Returns the granted authorization details (RFC 9396 section 7); `None` if the response has none, or an empty array. It parses them:
    /// call it once for each token.
    ///
    /// They may be fewer than the requested ones, or richer: see
    /// [`require_authorization_details`](Self::require_authorization_details).
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`UnusableResponse`](crate::ErrorKind::UnusableResponse) if the response's member is not
    /// authorization details, or appears twice.
    pub fn authorization_details(&self) -> Result<Option<AuthorizationDetails>, TokenError> {
        let mut found = self.extra_members().filter(|(name, _)| *name == MEMBER);
        let first = found.next();
        if found.next().is_some() {
            let twice = "the response has the member `authorization_details` twice";
            return Err(TokenError::unusable_response(twice));
        }
        let Some((_, json)) = first.filter(|(_, json)| *json != "null") else {
            return Ok(None);
        };
        match json.parse() {
            Ok(details) => Ok(Some(details)),
            Err(invalid) if invalid.is_empty_array() => Ok(None),
            Err(invalid) => Err(TokenError::unusable_response(format!(
                "the response's `authorization_details` cannot be used: {invalid}"
            ))),
        }
    }

    /// Fails unless details of each type in `wanted` were granted. A type that the response does not name was not
    /// granted; what was granted of a type is not compared, since a server may add to it.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`RequestRefused`](crate::ErrorKind::RequestRefused) that names the missing types, and
    /// those of [`authorization_details`](Self::authorization_details).
    pub fn require_authorization_details(
        &self,
        wanted: &AuthorizationDetails,
    ) -> Result<(), TokenError> {
        let granted = self.authorization_details()?;
        let is_granted = |wanted: &str| {
            let mut types = granted.iter().flat_map(AuthorizationDetails::types);
            types.any(|granted| granted == wanted)
        };
        let missing = wanted.types().filter(|wanted| !is_granted(wanted));
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        // In the caller's words alone.
        let missing = TextFilter::new().clean(&missing.join(" "));
        Err(TokenError::request_refused(format!(
            "the server granted no authorization details of the type `{missing}`"
        ))
        .with_hint("have the missing types assigned to this client, or request fewer"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Clock as _, ErrorKind, SystemClock};

    fn token(members: &[&str]) -> AccessToken {
        let token =
            AccessToken::bearer("t", SystemClock.moment(), Duration::from_secs(60)).unwrap();
        let member = |json: &&str| ("authorization_details".into(), (*json).to_owned());
        token.with_extra(members.iter().map(member))
    }

    // covers: I-08
    #[test]
    fn a_type_that_the_response_does_not_name_is_not_granted() {
        let wanted: AuthorizationDetails =
            r#"[{"type":"a","max":5},{"type":"b\u001b"}]"#.parse().unwrap();
        for granted in [
            &[r#"[{"type":"a"},{"type":"b\u001b","x":1},{"type":"c"}]"#][..],
            &[r#" [{"type":"b\u001b"},{"type":"a"}]"#],
        ] {
            token(granted)
                .require_authorization_details(&wanted)
                .unwrap();
        }
        for (granted, missing) in [
            (&[][..], "`a b\\u{1b}`"),
            (&["null"], "`a b\\u{1b}`"),
            (&["[ ]"], "`a b\\u{1b}`"),
            (&[r#"[{"type":"a"},{"type":"B"}]"#], "`b\\u{1b}`"),
        ] {
            let required = token(granted).require_authorization_details(&wanted);
            let error = required.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RequestRefused);
            assert!(error.to_string().contains(missing), "{error}");
        }
    }

    #[test]
    fn odd_details_of_a_response_are_an_error_once_read() {
        for (granted, expected) in [
            (&["{}"][..], "not a JSON array"),
            (&[r#""CANARY""#], "not a JSON array"),
            (&[r#"[{"type":"a"}]"#, r#"[{"type":"CANARY"}]"#], "twice"),
            (&["null", r#"[{"type":"CANARY"}]"#], "twice"),
        ] {
            let error = token(granted).authorization_details().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnusableResponse);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(expected), "{shown}");
            assert!(!shown.contains("CANARY"), "{shown}");
        }
    }
}
