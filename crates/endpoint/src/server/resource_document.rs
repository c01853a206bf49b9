//! The metadata document of a protected resource (RFC 9728 section 2).

use hallpass_core::TokenError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::members::{Member, Members};

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
        let members = Members::read(body, "resource metadata")?;
        let servers: Option<Vec<Value>> = required(&members, "authorization_servers")?;
        let servers = servers.unwrap_or_default().into_iter();
        let servers = servers.filter_map(|server| match server {
            Value::String(issuer) => Some(issuer),
            _ => None,
        });
        let resource: Option<String> = required(&members, "resource")?;
        Ok(Self {
            resource: resource.ok_or_else(|| {
                TokenError::unusable_response(
                    "the resource metadata has no `resource` (RFC 9728 section 2)",
                )
            })?,
            authorization_servers: servers.collect(),
            scopes: members
                .member("scopes_supported")
                .into_option()
                .unwrap_or_default(),
            requires_dpop: members
                .member("dpop_bound_access_tokens_required")
                .into_option()
                .unwrap_or_default(),
            binds_tokens_to_certificates: members
                .member("tls_client_certificate_bound_access_tokens")
                .into_option()
                .unwrap_or_default(),
            authorization_details_types: members
                .member("authorization_details_types_supported")
                .into_option(),
        })
    }
}

/// Returns a member, unless it is absent; an error if it cannot be used.
fn required<T: DeserializeOwned>(
    members: &Members<'_>,
    name: &str,
) -> Result<Option<T>, TokenError> {
    match members.member(name) {
        Member::Unusable => Err(TokenError::unusable_response(format!(
            "the resource metadata's `{name}` has a type other than that of RFC 9728 section 2, or appears twice"
        ))),
        member => Ok(member.into_option()),
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
