//! The metadata document of a protected resource (RFC 9728 section 2).

use std::{borrow::Cow, fmt};

use hallpass_core::TokenError;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// The members that a machine-to-machine client needs, and those that help it. One that only helps counts as absent if its
/// type is wrong or it appears twice.
#[derive(Clone, Debug)]
pub(super) struct ResourceDocument {
    pub(super) resource: String,
    /// The elements that are strings.
    pub(super) authorization_servers: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) requires_dpop: bool,
    pub(super) binds_tokens_to_certificates: bool,
    pub(super) authorization_details_types: Option<Vec<String>>,
}

impl ResourceDocument {
    pub(super) fn read(body: &[u8]) -> Result<Self, TokenError> {
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        // The JSON library's errors are not shown, since they may quote the document.
        let members: Members<'_> = serde_json::from_slice(body).map_err(|error| {
            let message = if error.is_data() {
                "the resource metadata is JSON, but not an object"
            } else {
                "the resource metadata is not valid JSON"
            };
            TokenError::unusable_response(message).with_transient(error.is_eof())
        })?;
        let servers: Option<Vec<Value>> = members.required("authorization_servers")?;
        let servers = servers.unwrap_or_default().into_iter();
        let servers = servers.filter_map(|server| match server {
            Value::String(issuer) => Some(issuer),
            _ => None,
        });
        let resource: Option<String> = members.required("resource")?;
        Ok(Self {
            resource: resource.ok_or_else(|| {
                TokenError::unusable_response(
                    "the resource metadata has no `resource` (RFC 9728 section 2)",
                )
            })?,
            authorization_servers: servers.collect(),
            scopes: members.optional("scopes_supported").unwrap_or_default(),
            requires_dpop: members
                .optional("dpop_bound_access_tokens_required")
                .unwrap_or_default(),
            binds_tokens_to_certificates: members
                .optional("tls_client_certificate_bound_access_tokens")
                .unwrap_or_default(),
            authorization_details_types: members.optional("authorization_details_types_supported"),
        })
    }
}

/// All members as JSON text, which is parsed when it is needed.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl Members<'_> {
    fn values(&self, name: &str) -> impl Iterator<Item = &RawValue> {
        let found = self.0.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| *value)
    }

    /// Returns a member, unless it is absent or null; an error if it has another type or appears twice.
    fn required<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, TokenError> {
        let mut values = self.values(name);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let parsed = serde_json::from_str(value.get()).ok();
        parsed.filter(|_| values.next().is_none()).ok_or_else(|| {
            TokenError::unusable_response(format!(
                "the resource metadata's `{name}` has a type other than that of RFC 9728 section 2, or appears twice"
            ))
        })
    }

    fn optional<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.required(name).ok().flatten()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<ResourceDocument, TokenError> {
        ResourceDocument::read(json.as_bytes())
    }

    #[test]
    fn the_members_of_a_document_are_read() {
        let document = read(
            r#"{"resource":"https://a.example","authorization_servers":["https://l.example"],
                "scopes_supported":["a","b"],"dpop_bound_access_tokens_required":true,
                "tls_client_certificate_bound_access_tokens":true,
                "authorization_details_types_supported":["payment"],"resource_name":"A"}"#,
        )
        .unwrap();
        assert_eq!(document.resource, "https://a.example");
        assert_eq!(document.authorization_servers, ["https://l.example"]);
        assert_eq!(document.scopes, ["a", "b"]);
        assert!(document.requires_dpop && document.binds_tokens_to_certificates);
        let types = document.authorization_details_types.unwrap();
        assert_eq!(types, ["payment"]);
    }

    // covers: F-12, F-14
    #[test]
    fn a_member_that_nobody_needs_spoils_nothing() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for odd in ["7", "null", "{}", "[7]", r#""true""#, &deep] {
            let names = [
                "scopes_supported",
                "dpop_bound_access_tokens_required",
                "tls_client_certificate_bound_access_tokens",
                "authorization_details_types_supported",
                "jwks_uri",
                "unknown",
            ];
            // Each twice.
            let members = names
                .map(|name| format!(r#","{name}":{odd},"{name}":1"#))
                .concat();
            let json = format!(
                r#"{{"resource":"https://a.example","authorization_servers":[7,"https://l.example",null]{members}}}"#
            );
            let document = read(&json).unwrap();
            assert_eq!(document.authorization_servers, ["https://l.example"]);
            assert!(document.scopes.is_empty() && !document.requires_dpop);
            assert_eq!(document.authorization_details_types, None);
        }
    }

    // covers: F-02, F-12, F-13
    #[test]
    fn what_is_no_document_is_refused_and_not_quoted() {
        let resource = r#""resource":"https://a.example""#;
        for (json, expected) in [
            (String::new(), "not valid JSON"),
            (r#"{"resource":"CANARY"#.into(), "not valid JSON"),
            ("CANARY".into(), "not valid JSON"),
            (r#"["CANARY"]"#.into(), "not an object"),
            (r#""CANARY""#.into(), "not an object"),
            (r#"{"x":"CANARY"}"#.into(), "no `resource`"),
            (r#"{"resource":null}"#.into(), "no `resource`"),
            (r#"{"resource":["CANARY"]}"#.into(), "`resource` has a type"),
            (
                format!(r#"{{{resource},"resource":"CANARY"}}"#),
                "`resource` has a type",
            ),
            (
                format!(r#"{{{resource},"authorization_servers":"CANARY"}}"#),
                "`authorization_servers` has a type",
            ),
            (
                format!(
                    r#"{{{resource},"authorization_servers":[],"authorization_servers":["CANARY"]}}"#
                ),
                "`authorization_servers` has a type",
            ),
        ] {
            let error = read(&json).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(expected), "{json}: {shown}");
            assert!(!shown.contains("CANARY"), "{shown}");
        }
    }

    proptest! {
        // covers: F-02
        #[test]
        fn reading_never_panics(text in r#"(\{("resource":|"authorization_servers":|[\[\]{},:1"a\\])*\}?)"#) {
            let _ = read(&text);
        }
    }
}
