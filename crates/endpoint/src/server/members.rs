//! The members of a metadata document. One that nobody needs spoils nothing.

use std::{borrow::Cow, fmt};

use hallpass_core::TokenError;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// All members as JSON text, which is parsed when it is needed.
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// An optional member.
#[derive(Clone, Debug, Default)]
pub(super) enum Member<T> {
    /// Missing or null.
    #[default]
    Absent,
    Present(T),
    /// Of the wrong type, or there twice: as absent until it is needed.
    Unusable,
}

impl<T> Member<T> {
    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unusable => None,
        }
    }

    pub(super) fn into_option(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unusable => None,
        }
    }

    pub(super) fn is_unusable(&self) -> bool {
        matches!(self, Self::Unusable)
    }
}

impl Member<Vec<String>> {
    pub(super) fn list(&self) -> impl Iterator<Item = &str> {
        self.get().into_iter().flatten().map(String::as_str)
    }
}

impl<'a> Members<'a> {
    /// Reads a document; `name` is its name in errors.
    pub(super) fn read(body: &'a [u8], name: &str) -> Result<Self, TokenError> {
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        // The JSON library's errors are not shown, since they may quote the document.
        serde_json::from_slice(body).map_err(|error| {
            let problem = if error.is_data() {
                "is JSON, but not an object"
            } else {
                "is not valid JSON"
            };
            TokenError::unusable_response(format!("the {name} {problem}"))
                .with_transient(error.is_eof())
        })
    }

    pub(super) fn member<T: DeserializeOwned>(&self, name: &str) -> Member<T> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (None, _) => Member::Absent,
            (Some((_, value)), None) => match serde_json::from_str(value.get()) {
                Ok(Some(value)) => Member::Present(value),
                Ok(None) => Member::Absent,
                Err(_) => Member::Unusable,
            },
            (Some(_), Some(_)) => Member::Unusable,
        }
    }
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
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
