//! The parser, which writes the canonical form.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{AuthorizationDetails, Inner};

/// The maximum length of the JSON text.
const MAX_BYTES: usize = 32 * 1_024;
/// The maximum nesting, of which the array itself is the first level.
const MAX_DEPTH: usize = 16;

/// The error for a text that is not authorization details. The message names the reason, never a part of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAuthorizationDetails(Fault);

impl InvalidAuthorizationDetails {
    /// Returns true for an empty array: in a response, nothing was granted.
    pub fn is_empty_array(&self) -> bool {
        self.0 == Fault::Empty
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("the text has {0} bytes, more than the limit of {MAX_BYTES}")]
    TooLong(usize),
    #[error("the text is not a JSON array of objects (RFC 9396 section 2)")]
    NotAnArray,
    #[error("the array is empty; leave it out instead")]
    Empty,
    #[error("element {0} is not valid JSON, or not an object (RFC 9396 section 2)")]
    NotAnObject(usize),
    #[error("element {0} has no `type` that is a string and not empty (RFC 9396 section 2)")]
    NoType(usize),
    #[error("element {0} has an object with a member twice")]
    Twice(usize),
    #[error("element {0} nests more than {MAX_DEPTH} levels deep, the array included")]
    TooDeep(usize),
}

impl FromStr for AuthorizationDetails {
    type Err = InvalidAuthorizationDetails;

    fn from_str(text: &str) -> Result<Self, InvalidAuthorizationDetails> {
        parse(text).map_err(InvalidAuthorizationDetails)
    }
}

fn parse(text: &str) -> Result<AuthorizationDetails, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::TooLong(text.len()));
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Fault::NotAnArray)?;
    if elements.is_empty() {
        return Err(Fault::Empty);
    }
    let mut types = Vec::with_capacity(elements.len());
    let mut canonical = Vec::with_capacity(elements.len());
    for (at, element) in elements.iter().enumerate() {
        let at = at + 1;
        if !element.get().starts_with('{') {
            return Err(Fault::NotAnObject(at));
        }
        let mut json = String::with_capacity(element.get().len());
        write(element, 2, &mut json).map_err(|problem| match problem {
            Problem::Syntax => Fault::NotAnObject(at),
            Problem::Twice => Fault::Twice(at),
            Problem::TooDeep => Fault::TooDeep(at),
        })?;
        types.push(type_of(element).ok_or(Fault::NoType(at))?);
        canonical.push(json);
    }
    types.sort_unstable();
    types.dedup();
    // Equal elements stay: two payments of one amount are not one.
    canonical.sort_unstable();
    let json = format!("[{}]", canonical.join(","));
    Ok(AuthorizationDetails(Arc::new(Inner {
        json: json.into(),
        types: types.into(),
    })))
}

fn type_of(element: &RawValue) -> Option<Box<str>> {
    let Members(members) = serde_json::from_str(element.get()).ok()?;
    let text: String = serde_json::from_str(members.get("type")?.get()).ok()?;
    (!text.is_empty()).then(|| text.into())
}

enum Problem {
    Syntax,
    Twice,
    TooDeep,
}

/// Writes a value with sorted members and without white space. The depth bounds the recursion, and the work for a text.
fn write(value: &RawValue, depth: usize, json: &mut String) -> Result<(), Problem> {
    let text = value.get();
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if matches!(first, b'{' | b'[') && depth > MAX_DEPTH {
        return Err(Problem::TooDeep);
    }
    match first {
        b'{' => {
            let members = serde_json::from_str(text);
            // The only error about data is that of a duplicate.
            let Members(members) = members.map_err(|error: serde_json::Error| {
                if error.is_data() {
                    Problem::Twice
                } else {
                    Problem::Syntax
                }
            })?;
            json.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                separate(at, json);
                quote(name, json)?;
                json.push(':');
                write(value, depth + 1, json)?;
            }
            json.push('}');
        }
        b'[' => {
            let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Problem::Syntax)?;
            json.push('[');
            for (at, value) in values.into_iter().enumerate() {
                separate(at, json);
                write(value, depth + 1, json)?;
            }
            json.push(']');
        }
        b'"' => {
            let text: String = serde_json::from_str(text).map_err(|_| Problem::Syntax)?;
            quote(&text, json)?;
        }
        _ => json.push_str(text),
    }
    Ok(())
}

fn separate(at: usize, json: &mut String) {
    if at > 0 {
        json.push(',');
    }
}

fn quote(text: &str, json: &mut String) -> Result<(), Problem> {
    json.push_str(&serde_json::to_string(text).map_err(|_| Problem::Syntax)?);
    Ok(())
}

/// The members of an object; an error if one appears twice.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member appears twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests;
