//! The members of a token response or an error response, read in one pass without validation.
//!
//! A member of the wrong type is not an error here: it is recorded, so that validation can name it. An error of the
//! JSON library is never shown, since it may quote its input.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
    },
};
use serde_json::{Value, error::Category, value::RawValue};

use crate::transport::answer::is_digits;

/// The maximum nesting of an unknown member: the JSON library's limit for the rest.
const MAX_DEPTH: usize = 128;

/// The known members of a response (RFC 6749 sections 5.1 and 5.2), and the rest.
#[derive(Default)]
pub(crate) struct Members<'a> {
    known: [Option<Member<'a>>; NAMES.len()],
    /// Unknown members, as the server's JSON text.
    pub(crate) extra: Vec<(Box<str>, &'a RawValue)>,
    /// A known member that appeared twice.
    pub(crate) twice: Option<&'static str>,
    /// The `access_token` of a response whose token is another member.
    pub(crate) displaced: Option<Member<'a>>,
}

/// The position of `access_token`.
const ACCESS_TOKEN: usize = 0;

const NAMES: [&str; 10] = [
    "access_token",
    "token_type",
    "expires_in",
    "refresh_in",
    "scope",
    "error",
    "error_description",
    "error_uri",
    // Known in order to drop them: the first belongs only to the refresh token grant (RFC 6749 section 4.4.3).
    "refresh_token",
    "id_token",
];

/// A value, as detailed as a token response can need it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Member<'a> {
    Null,
    Text(Cow<'a, str>),
    Whole(u64),
    Number(f64),
    Other,
}

impl Member<'_> {
    /// Returns a number that is not negative, without its fraction, or the digits of a text.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Whole(number) => Some(*number),
            // The cast truncates and saturates.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Self::Number(number) if *number >= 0.0 => Some(*number as u64),
            Self::Text(text) if is_digits(text) => Some(text.parse().unwrap_or(u64::MAX)),
            _ => None,
        }
    }
}

/// The reason why a text is not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonFault {
    Empty,
    NotUtf8,
    /// The text is truncated.
    Cut,
    Syntax,
    NotAnObject,
    TooDeep,
}

impl<'a> Members<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, JsonFault> {
        let text = std::str::from_utf8(body).map_err(|_| JsonFault::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_ascii().is_empty() {
            return Err(JsonFault::Empty);
        }
        let members = parse(text).map_err(|fault| match fault {
            // The rest of the text was not read.
            JsonFault::NotAnObject => parse::<IgnoredAny>(text).err().unwrap_or(fault),
            _ => fault,
        });
        let members: Self = members?;
        if members.extra.iter().any(|(_, raw)| too_deep(raw.get())) {
            return Err(JsonFault::TooDeep);
        }
        Ok(members)
    }

    /// Reads a form with a token or an error, which some servers send in place of JSON; unknown members are dropped.
    pub(crate) fn of_form(body: &[u8]) -> Option<Self> {
        let mut members = Self::default();
        for (name, value) in url::form_urlencoded::parse(body.trim_ascii()) {
            let at = NAMES.iter().position(|known| *known == name);
            if let Some(at) = at {
                let value = Member::Text(Cow::Owned(value.into_owned()));
                if members.known[at].replace(value).is_some() {
                    members.twice = Some(NAMES[at]);
                }
            }
        }
        // A sentence may hold `error=` too.
        let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
        let has = |name| members.text(name).is_some_and(is_word);
        (members.twice.is_none() && (has("access_token") || has("error"))).then_some(members)
    }

    /// Moves the `access_token`, which is not the token, to `displaced`.
    pub(super) fn displace(&mut self) {
        self.displaced = self.known[ACCESS_TOKEN].take();
    }

    /// Makes the member of this name the `access_token`, and displaces the one that has that name.
    pub(super) fn use_as_token(&mut self, name: &str) {
        let value = if let Some(at) = NAMES.iter().position(|known| *known == name) {
            self.known[at].take()
        } else {
            let mut extra = self.extra.extract_if(.., |(known, _)| &**known == name);
            let found: Vec<_> = extra.by_ref().collect();
            drop(extra);
            if found.len() > 1 {
                self.twice = Some(NAMES[ACCESS_TOKEN]);
            }
            let value = found.first().map(|(_, raw)| raw.get());
            value.map(|json| serde_json::from_str(json).unwrap_or(Member::Other))
        };
        self.displace();
        self.known[ACCESS_TOKEN] = value;
    }

    /// Returns the member, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&Member<'a>> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.known[at]
            .as_ref()
            .filter(|member| **member != Member::Null)
    }

    /// Returns the member's text; `None` if it is absent, null or of another type.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Member::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Returns true if brackets outside strings nest too deep; the text is known to be one JSON value.
fn too_deep(json: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            // Only strings hold one.
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
        if depth >= MAX_DEPTH {
            return true;
        }
    }
    false
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonFault> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Eof => JsonFault::Cut,
        Category::Data => JsonFault::NotAnObject,
        Category::Syntax | Category::Io => JsonFault::Syntax,
    })
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key_seed(Name)? {
                    match name {
                        Ok(at) => {
                            if members.known[at].replace(map.next_value()?).is_some() {
                                members.twice = Some(NAMES[at]);
                            }
                        }
                        Err(name) => members.extra.push((name, map.next_value()?)),
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A member's name: its index in [`NAMES`], or the name itself.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Result<usize, Box<str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Result<usize, Box<str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let at = NAMES.iter().position(|known| *known == name);
        Ok(at.ok_or_else(|| name.into()))
    }
}

impl<'de> Deserialize<'de> for Member<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Member<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Member::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Member::Other)
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Member::Whole(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                // The JSON library calls this for negative numbers only.
                #[allow(clippy::cast_precision_loss)]
                Ok(Member::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Member::Number(number))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Member::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Member::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }

            // If another crate enables the JSON library's `arbitrary_precision`, a number that is no 64-bit integer is
            // passed as a map, which only the library's own types read.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let value = Value::deserialize(MapAccessDeserializer::new(map))?;
                let number = value.as_f64();
                Ok(number.map_or(Member::Other, Member::Number))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Option<JsonFault> {
        Members::read(json.as_bytes()).err()
    }

    #[test]
    fn a_cut_text_is_no_other_value() {
        assert_eq!(fault("[1]"), Some(JsonFault::NotAnObject));
        assert_eq!(fault("[1,"), Some(JsonFault::Cut));
        assert_eq!(fault("[1 2]"), Some(JsonFault::Syntax));
    }

    #[test]
    fn only_brackets_outside_of_strings_nest() {
        let member = |value: &str| fault(&format!(r#"{{"other":{value}}}"#));
        let deep = "[".repeat(MAX_DEPTH);
        assert_eq!(
            member(&format!("{deep}{}", "]".repeat(MAX_DEPTH))),
            Some(JsonFault::TooDeep)
        );
        let (open, close) = (&deep[1..], "]".repeat(MAX_DEPTH - 1));
        for shallow in [
            format!("{open}{close}"),
            format!(r#""{deep}""#),
            format!(r#""\"{deep}""#),
            format!(r#"["\\",{}1{}]"#, &open[1..], &close[1..]),
            // Many side by side.
            format!("[{}[]]", "[[],{}],".repeat(MAX_DEPTH)),
        ] {
            assert_eq!(member(&shallow), None, "{shallow}");
        }
        let after = format!(r#"["\\",{open}{close}]"#);
        assert_eq!(member(&after), Some(JsonFault::TooDeep));
    }

    #[test]
    fn a_sentence_is_no_form() {
        let is_form = |text: &str| Members::of_form(text.as_bytes()).is_some();
        assert!(is_form("error=invalid_client") && is_form("access_token=t&scope=a+b"));
        for text in [
            "error=",
            "access_token=&error=",
            "error=it+broke",
            "error = 7",
        ] {
            assert!(!is_form(text), "{text}");
        }
    }
}
