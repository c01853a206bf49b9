//! Where a server's responses have their members, if not where RFC 6749 section 5.1 has them.

use std::time::{Duration, SystemTime};

use hallpass_core::TokenError;
use x509_cert::der::DateTime;

use super::{
    json::{JsonFault, Member, Members},
    pointer::Pointer,
};
use crate::hints;

/// The meaning of the member that [`SourceBuilder::expiry_member`](crate::SourceBuilder::expiry_member) names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiryFormat {
    /// The lifetime in seconds, as in `expires_in`.
    Seconds,
    /// The lifetime in milliseconds.
    Milliseconds,
    /// The time of expiry, in seconds since 1970 (UTC).
    UnixSeconds,
    /// The time of expiry, in milliseconds since 1970 (UTC).
    UnixMilliseconds,
    /// The time of expiry as RFC 3339 writes it, in UTC and without fractions: `2026-11-28T10:00:00Z`.
    Rfc3339,
}

/// The places of the token and of its expiry, and the name of its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) token: Option<Pointer>,
    pub(crate) expiry: Option<(Pointer, ExpiryFormat)>,
    /// The server's name for bearer tokens.
    pub(crate) token_type: Option<Box<str>>,
}

/// A lifetime of ten years: a longer one is in another unit.
const TEN_YEARS: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

impl Layout {
    /// Reads the members of the object that has the token, which is `access_token` then; those of the whole response if
    /// that has an error, or no such object.
    pub(crate) fn members<'a>(&self, body: &'a [u8]) -> Result<Members<'a>, JsonFault> {
        let Some(pointer) = &self.token else {
            return Members::read(body);
        };
        let mut top = match Members::read(body) {
            Err(JsonFault::NotAnObject) => Members::default(),
            top => top?,
        };
        if top.get("error").is_some() {
            return Ok(top);
        }
        // A token at the top is not the right one.
        top.displace();
        let Some(Ok(mut members)) = self.object(body).map(Members::read) else {
            // Its members are named in the error.
            return Ok(top);
        };
        members.use_as_token(pointer.name());
        members.displaced = members.displaced.or(top.displaced);
        Ok(members)
    }

    /// Returns the object that has the token; `None` if there is none.
    pub(crate) fn object<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        match &self.token {
            Some(pointer) => pointer.parent(text(body)).map(str::as_bytes),
            None => Some(body),
        }
    }

    /// Returns true if this is the server's name for bearer tokens.
    pub(crate) fn is_bearer(&self, token_type: &str) -> bool {
        let name = self.token_type.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(token_type))
    }

    /// Returns the lifetime, if the response has it in a member of its own. `now` is the server's time.
    pub(crate) fn lifetime(
        &self,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Option<Duration>, TokenError> {
        let Some((pointer, format)) = &self.expiry else {
            return Ok(None);
        };
        let wrong = |problem: &str| {
            TokenError::unusable_response(format!("the response's `{pointer}` {problem}"))
                .with_hint(hints::EXPIRY_MEMBER)
        };
        let found = pointer
            .find(text(body))
            .ok_or_else(|| wrong("is missing"))?;
        let member = serde_json::from_str(found).unwrap_or(Member::Other);
        let lifetime = format.lifetime(&member, now).map_err(wrong)?;
        if lifetime > TEN_YEARS {
            return Err(wrong(
                "is more than ten years ahead: its unit is another one",
            ));
        }
        Ok(Some(lifetime))
    }
}

impl ExpiryFormat {
    /// Returns the lifetime; `Err` says what is wrong with the member.
    fn lifetime(self, member: &Member<'_>, now: SystemTime) -> Result<Duration, &'static str> {
        let until = |time: Option<SystemTime>| {
            let time = time.ok_or("is not a time")?;
            time.duration_since(now)
                .map_err(|_| "is in the past: the token has expired, or its unit is another one")
        };
        let at = |since: Duration| SystemTime::UNIX_EPOCH.checked_add(since);
        match self {
            Self::Seconds => Ok(Duration::from_secs(number(member)?)),
            Self::Milliseconds => Ok(Duration::from_millis(number(member)?)),
            Self::UnixSeconds => until(at(Duration::from_secs(number(member)?))),
            Self::UnixMilliseconds => until(at(Duration::from_millis(number(member)?))),
            Self::Rfc3339 => until(match member {
                Member::Text(text) => {
                    let time = text.parse().ok();
                    time.and_then(|time: DateTime| at(time.unix_duration()))
                }
                _ => None,
            }),
        }
    }
}

/// Returns a whole number that is not negative, or the digits of a text; a fraction is cut off.
fn number(member: &Member<'_>) -> Result<u64, &'static str> {
    member.number().ok_or("is not a number")
}

fn text(body: &[u8]) -> &str {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        // 2026-11-28T10:00:00Z.
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_860_000)
    }

    fn lifetime(format: ExpiryFormat, json: &str) -> Result<u64, String> {
        let layout = Layout {
            expiry: Some((Pointer::parse("/d/until").unwrap(), format)),
            ..Layout::default()
        };
        let body = format!(r#"{{"d":{{"until":{json}}}}}"#);
        let lifetime = layout.lifetime(body.as_bytes(), now());
        let lifetime = lifetime.map_err(|error| error.message())?;
        Ok(lifetime.unwrap().as_secs())
    }

    // covers: F-20, F-21
    #[test]
    fn each_format_of_an_expiry_is_read_in_its_unit() {
        use ExpiryFormat::{Milliseconds, Rfc3339, Seconds, UnixMilliseconds, UnixSeconds};
        for (format, json, expected) in [
            (Seconds, "60", 60),
            (Seconds, "\"60\"", 60),
            (Milliseconds, "60000", 60),
            (UnixSeconds, "1795860060", 60),
            (UnixSeconds, "\"1795860060\"", 60),
            (UnixMilliseconds, "1795860060500", 60),
            (Rfc3339, "\"2026-11-28T10:01:00Z\"", 60),
            (Seconds, "316224000", 316_224_000),
        ] {
            assert_eq!(lifetime(format, json), Ok(expected), "{format:?} {json}");
        }
    }

    // covers: F-22
    #[test]
    fn an_expiry_in_another_unit_is_refused() {
        use ExpiryFormat::{Milliseconds, Rfc3339, Seconds, UnixMilliseconds, UnixSeconds};
        for (format, json, says) in [
            (Seconds, "1795860060", "more than ten years ahead"),
            (Seconds, "316224001", "more than ten years ahead"),
            (Milliseconds, "1795860060000", "more than ten years ahead"),
            (UnixSeconds, "1795860060000", "more than ten years ahead"),
            (UnixSeconds, "18446744073709551615", "is not a time"),
            (UnixSeconds, "3600", "is in the past"),
            (UnixMilliseconds, "1795860060", "is in the past"),
            (UnixSeconds, "1795859999", "is in the past"),
            (UnixSeconds, "-1", "is not a number"),
            (UnixSeconds, "\"soon\"", "is not a number"),
            (UnixSeconds, "null", "is not a number"),
            (Rfc3339, "1795860060", "is not a time"),
            (Rfc3339, "\"2026-11-28T11:01:00+01:00\"", "is not a time"),
        ] {
            let error = lifetime(format, json).unwrap_err();
            assert!(error.contains(says), "{format:?} {json}: {error}");
            assert!(error.contains("`/d/until`"), "{error}");
        }
    }

    #[test]
    fn a_token_elsewhere_has_the_members_beside_it() {
        let layout = |pointer| Layout {
            token: Some(Pointer::parse(pointer).unwrap()),
            ..Layout::default()
        };
        let read = |pointer, json: &'static str| {
            let members = layout(pointer).members(json.as_bytes()).unwrap();
            let text = |name| members.text(name).map(str::to_owned);
            (text("access_token"), text("token_type"), members.twice)
        };
        let some = |text: &str| Some(text.to_owned());
        for (pointer, json, expected) in [
            (
                "/token",
                r#"{"token":"t","token_type":"b"}"#,
                (some("t"), some("b"), None),
            ),
            (
                "/d/t",
                r#"{"d":{"t":"t","token_type":"b"},"token_type":"x"}"#,
                (some("t"), some("b"), None),
            ),
            ("/0/t", r#"[{"t":"t"}]"#, (some("t"), None, None)),
            (
                "/id_token",
                r#"{"id_token":"t","access_token":"x"}"#,
                (some("t"), None, None),
            ),
            // The known name does not count if another member is the token.
            ("/t", r#"{"access_token":"x"}"#, (None, None, None)),
            ("/d/t", r#"{"access_token":"x"}"#, (None, None, None)),
            (
                "/d/access_token",
                r#"{"access_token":"x"}"#,
                (None, None, None),
            ),
            (
                "/t",
                r#"{"t":"a","t":"b"}"#,
                (some("a"), None, Some("access_token")),
            ),
        ] {
            assert_eq!(read(pointer, json), expected, "{pointer} {json}");
        }
        // An error of the whole response counts.
        let members = layout("/d/t").members(br#"{"error":"invalid_client","d":{"t":"t"}}"#);
        assert_eq!(members.unwrap().text("error"), Some("invalid_client"));
    }
}
