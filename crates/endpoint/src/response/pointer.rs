//! JSON pointers (RFC 6901), to members of responses that are not where RFC 6749 has them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The longest pointer, in bytes, and its maximum depth.
const MAX_BYTES: usize = 256;
const MAX_DEPTH: usize = 16;

/// A pointer to a member of an object, which may be within other objects and arrays.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: Box<str>,
    /// The names on the path, without escapes; not empty.
    names: Box<[Box<str>]>,
}

impl Pointer {
    /// Reads a pointer; `Err` says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("it has more than 256 bytes");
        }
        let path = text.strip_prefix('/');
        let path =
            path.ok_or("it does not begin with `/`, as `/data/token` does (RFC 6901 section 3)")?;
        let names: Result<Box<[_]>, _> = path.split('/').map(unescape).collect();
        let names = names?;
        if names.len() > MAX_DEPTH {
            return Err("it has more than 16 parts");
        }
        Ok(Self {
            text: text.into(),
            names,
        })
    }

    /// Returns the name of the member itself.
    pub(crate) fn name(&self) -> &str {
        self.names.last().map_or("", |name| name)
    }

    /// Finds the object that has the member; `None` if there is none, or if a name on the path appears twice.
    pub(crate) fn parent<'a>(&self, json: &'a str) -> Option<&'a str> {
        let (_, path) = self.names.split_last()?;
        path.iter().try_fold(json, |json, name| child(json, name))
    }

    /// Finds the member; `None` as for [`parent`](Self::parent).
    pub(crate) fn find<'a>(&self, json: &'a str) -> Option<&'a str> {
        child(self.parent(json)?, self.name())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Decodes `~1` and `~0`.
fn unescape(name: &str) -> Result<Box<str>, &'static str> {
    let mut parts = name.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push(match part.as_bytes().first() {
            Some(b'0') => '~',
            Some(b'1') => '/',
            _ => return Err("it has a `~` without `0` or `1` (RFC 6901 section 3)"),
        });
        plain.push_str(&part[1..]);
    }
    Ok(plain.into())
}

/// Returns the member of an object, or the element of an array.
fn child<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let mut json = serde_json::Deserializer::from_str(json);
    let found = Child(name).deserialize(&mut json).ok()?;
    found.map(RawValue::get)
}

struct Child<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Child<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Child<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("the name appears twice"));
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted = array_index(self.0);
        let mut found = None;
        for index in 0.. {
            let Some(element) = list.next_element()? else {
                break;
            };
            if Some(index) == wanted {
                found = Some(element);
            }
        }
        Ok(found)
    }
}

/// Reads an index without leading zeros (RFC 6901 section 4).
fn array_index(name: &str) -> Option<usize> {
    let is_index = name == "0" || !name.starts_with(['0', '+']);
    is_index.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_found() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        for (pointer, value) in [
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", r#""bar""#),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            let found = Pointer::parse(pointer).unwrap();
            assert_eq!(found.find(json), Some(value), "{pointer}");
        }
    }

    #[test]
    fn a_member_that_is_absent_or_ambiguous_is_not_found() {
        let find = |pointer, json| Pointer::parse(pointer).unwrap().find(json).is_some();
        for (pointer, json) in [
            ("/a/b", r#"{"a":{"c":1}}"#),
            ("/a/b", r#"{"a":1}"#),
            ("/a/b", r#"{"a":{"b":1,"b":2}}"#),
            ("/a/b", r#"{"a":{},"a":{"b":1}}"#),
            ("/a/01", r#"{"a":[1,2]}"#),
            ("/a/-", r#"{"a":[1,2]}"#),
            ("/a/2", r#"{"a":[1,2]}"#),
            ("/a", "7"),
            ("/a", ""),
        ] {
            assert!(!find(pointer, json), "{pointer} {json}");
        }
    }

    #[test]
    fn a_wrong_pointer_is_refused() {
        for wrong in ["", "a", "a/b", "#/a", "/~", "/~2"] {
            assert!(Pointer::parse(wrong).is_err(), "{wrong}");
        }
        for (parts, bytes, accepted) in [(16, 255, true), (17, 255, true), (1, 256, false)] {
            assert_eq!(
                Pointer::parse(&format!("/{}", "a".repeat(bytes))).is_ok(),
                accepted
            );
            assert_eq!(Pointer::parse(&"/a".repeat(parts)).is_ok(), parts <= 16);
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_json_library(names in prop::collection::vec("[a-c~/]{0,2}", 1..5), depth in 0_usize..4) {
            let escaped = names.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
            let pointer = std::iter::once(String::new()).chain(escaped).collect::<Vec<_>>().join("/");
            let mut value = serde_json::json!([1, {"a": "x"}]);
            for name in names.iter().rev().skip(depth) {
                value = serde_json::json!({ name.as_str(): value, "other": [] });
            }
            let json = value.to_string();
            let found = Pointer::parse(&pointer).unwrap().find(&json).map(str::to_owned);
            prop_assert_eq!(found, value.pointer(&pointer).map(ToString::to_string));
        }
    }
}
