use hallpass_core::TokenError;

use super::members::{Member, Members};
use crate::unique::UniqueMembers;

/// An authorization server's metadata (RFC 8414 section 2), as far as a machine-to-machine client needs it.
///
/// It is verified to belong to the requested issuer. The addresses are as the server wrote them, and are checked when
/// they are used.
#[derive(Clone, Debug)]
pub struct Metadata(Document);

#[derive(Clone, Debug)]
struct Document {
    issuer: String,
    token_endpoint: Member<String>,
    introspection_endpoint: Member<String>,
    revocation_endpoint: Member<String>,
    jwks_uri: Member<String>,
    token_endpoint_auth_methods_supported: Member<Vec<String>>,
    token_endpoint_auth_signing_alg_values_supported: Member<Vec<String>>,
    scopes_supported: Member<Vec<String>>,
    authorization_details_types_supported: Member<Vec<String>>,
    grant_types_supported: Member<Vec<String>>,
    dpop_signing_alg_values_supported: Member<Vec<String>>,
    tls_client_certificate_bound_access_tokens: Member<bool>,
    /// RFC 8705 section 5; some servers have values that are not strings.
    mtls_endpoint_aliases: Member<UniqueMembers<serde_json::Value>>,
}

impl Metadata {
    /// Parses a document, for tests of a [`ClientAuthentication`](crate::ClientAuthentication).
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`UnusableResponse`](hallpass_core::ErrorKind::UnusableResponse) if it is not metadata.
    pub fn from_json(json: &str) -> Result<Self, TokenError> {
        Self::read(json.as_bytes())
    }

    pub(crate) fn read(body: &[u8]) -> Result<Self, TokenError> {
        let members = Members::read(body, "metadata")?;
        let issuer = members.member("issuer").into_option();
        Ok(Self(Document {
            issuer: issuer.ok_or_else(|| {
                TokenError::unusable_response(
                    "the metadata has no `issuer` that is a string, or has it twice (RFC 8414 section 2)",
                )
            })?,
            token_endpoint: members.member("token_endpoint"),
            introspection_endpoint: members.member("introspection_endpoint"),
            revocation_endpoint: members.member("revocation_endpoint"),
            jwks_uri: members.member("jwks_uri"),
            token_endpoint_auth_methods_supported: members
                .member("token_endpoint_auth_methods_supported"),
            token_endpoint_auth_signing_alg_values_supported: members
                .member("token_endpoint_auth_signing_alg_values_supported"),
            scopes_supported: members.member("scopes_supported"),
            authorization_details_types_supported: members
                .member("authorization_details_types_supported"),
            grant_types_supported: members.member("grant_types_supported"),
            dpop_signing_alg_values_supported: members.member("dpop_signing_alg_values_supported"),
            tls_client_certificate_bound_access_tokens: members
                .member("tls_client_certificate_bound_access_tokens"),
            mtls_endpoint_aliases: members.member("mtls_endpoint_aliases"),
        }))
    }

    /// Checks, before it is needed, that a member is absent or of the right type.
    pub(crate) fn require(&self, name: &str) -> Result<(), TokenError> {
        let Document {
            token_endpoint,
            introspection_endpoint,
            revocation_endpoint,
            token_endpoint_auth_methods_supported,
            ..
        } = &self.0;
        let wrong = match name {
            "token_endpoint" => token_endpoint.is_unusable(),
            "introspection_endpoint" => introspection_endpoint.is_unusable(),
            "revocation_endpoint" => revocation_endpoint.is_unusable(),
            _ => token_endpoint_auth_methods_supported.is_unusable(),
        };
        if wrong {
            return Err(TokenError::unusable_response(format!(
                "the metadata's `{name}` has a type other than that of RFC 8414 section 2, or appears twice"
            )));
        }
        Ok(())
    }

    /// Returns the issuer identifier, exactly as written.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the token endpoint.
    pub fn token_endpoint(&self) -> Option<&str> {
        self.0.token_endpoint.get().map(String::as_str)
    }

    /// Returns the introspection endpoint (RFC 7662).
    pub fn introspection_endpoint(&self) -> Option<&str> {
        self.0.introspection_endpoint.get().map(String::as_str)
    }

    /// Returns the revocation endpoint (RFC 7009).
    pub fn revocation_endpoint(&self) -> Option<&str> {
        self.0.revocation_endpoint.get().map(String::as_str)
    }

    /// Returns the URL of the server's own keys.
    pub fn jwks_uri(&self) -> Option<&str> {
        self.0.jwks_uri.get().map(String::as_str)
    }

    /// Returns the client authentication methods of the token endpoint: `client_secret_basic` if the member is absent.
    pub fn token_endpoint_auth_methods(&self) -> impl Iterator<Item = &str> {
        let said = &self.0.token_endpoint_auth_methods_supported;
        let default = said.get().is_none().then_some("client_secret_basic");
        said.list().chain(default)
    }

    /// Returns true if the server accepts assertions with this signature algorithm; `None` if the metadata does not
    /// say.
    pub fn supports_assertion_algorithm(&self, algorithm: &str) -> Option<bool> {
        let list = self
            .0
            .token_endpoint_auth_signing_alg_values_supported
            .get()?;
        Some(list.iter().any(|known| known == algorithm))
    }

    /// Returns the scopes that the server lists; there may be more.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.scopes_supported.list()
    }

    /// Returns true if the server has this grant; `None` if the metadata does not say.
    pub fn supports_grant(&self, grant_type: &str) -> Option<bool> {
        let list = self.0.grant_types_supported.get()?;
        Some(list.iter().any(|known| known == grant_type))
    }

    /// Returns true if the server has this type of authorization details (RFC 9396 section 10); `None` if the metadata
    /// does not say.
    pub fn supports_authorization_details_type(&self, name: &str) -> Option<bool> {
        let list = self.0.authorization_details_types_supported.get()?;
        Some(list.iter().any(|known| known == name))
    }

    /// Returns the algorithms of `DPoP` proofs that the server accepts (RFC 9449 section 5.1); none without `DPoP`
    /// support.
    pub fn dpop_algorithms(&self) -> impl Iterator<Item = &str> {
        self.0.dpop_signing_alg_values_supported.list()
    }

    /// Returns true if the server binds tokens to a client's certificate (RFC 8705 section 3.3).
    pub fn binds_tokens_to_certificates(&self) -> bool {
        self.0
            .tls_client_certificate_bound_access_tokens
            .get()
            .is_some_and(|binds| *binds)
    }

    /// Returns the alias of this endpoint, such as `token_endpoint`, for clients that present a certificate (RFC 8705
    /// section 5).
    pub fn mtls_alias(&self, endpoint: &str) -> Option<&str> {
        let aliases = self.0.mtls_endpoint_aliases.get()?;
        aliases.get(endpoint)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Metadata, TokenError> {
        Metadata::read(json.as_bytes())
    }

    // covers: C-24, C-56, C-64
    #[test]
    fn what_is_absent_has_the_meaning_that_the_rfcs_give_it() {
        let bare = read(r#"{"issuer":"https://a.example","unknown":[{}]}"#).unwrap();
        assert_eq!(bare.issuer(), "https://a.example");
        let methods: Vec<_> = bare.token_endpoint_auth_methods().collect();
        assert_eq!(methods, ["client_secret_basic"]);
        assert_eq!(bare.supports_assertion_algorithm("ES256"), None);
        assert_eq!(bare.supports_grant("client_credentials"), None);
        assert_eq!(bare.dpop_algorithms().count() + bare.scopes().count(), 0);
        assert!(!bare.binds_tokens_to_certificates());
        assert_eq!(bare.token_endpoint(), None);
        assert_eq!(bare.mtls_alias("token_endpoint"), None);
    }

    #[test]
    fn what_the_document_says_is_read() {
        let full = read(
            r#"{
                "issuer": "https://a.example", "token_endpoint": "https://a.example/t",
                "introspection_endpoint": "https://a.example/i", "revocation_endpoint": "https://a.example/r",
                "jwks_uri": "https://a.example/k", "scopes_supported": ["a", "b"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
                "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
                "grant_types_supported": ["client_credentials"],
                "authorization_details_types_supported": ["payment"],
                "dpop_signing_alg_values_supported": ["ES256", "EdDSA"],
                "tls_client_certificate_bound_access_tokens": true,
                "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.a.example/t", "odd": 7}
            }"#,
        )
        .unwrap();
        let methods: Vec<_> = full.token_endpoint_auth_methods().collect();
        assert_eq!(methods, ["private_key_jwt", "none"]);
        assert_eq!(full.supports_assertion_algorithm("ES256"), Some(true));
        assert_eq!(full.supports_assertion_algorithm("RS256"), Some(false));
        assert_eq!(full.supports_grant("client_credentials"), Some(true));
        assert_eq!(full.supports_grant("refresh_token"), Some(false));
        let supports = |name| full.supports_authorization_details_type(name);
        assert_eq!(
            (supports("payment"), supports("Payment")),
            (Some(true), Some(false))
        );
        assert!(full.dpop_algorithms().eq(["ES256", "EdDSA"]));
        assert!(full.scopes().eq(["a", "b"]));
        assert!(full.binds_tokens_to_certificates());
        assert_eq!(
            full.mtls_alias("token_endpoint"),
            Some("https://mtls.a.example/t")
        );
        assert_eq!(full.mtls_alias("odd"), None);
    }

    #[test]
    fn an_alias_that_appears_twice_is_not_used() {
        let twice =
            r#"{"token_endpoint":"https://x.example/","token_endpoint":"https://y.example/"}"#;
        let json = format!(r#"{{"issuer":"https://a.example","mtls_endpoint_aliases":{twice}}}"#);
        assert_eq!(read(&json).unwrap().mtls_alias("token_endpoint"), None);
    }

    // covers: F-12
    #[test]
    fn a_member_of_another_type_is_as_absent_until_it_is_needed() {
        for odd in ["7", "true", "{}", "[7]", "null"] {
            let members = [
                "introspection_endpoint",
                "jwks_uri",
                "token_endpoint_auth_methods_supported",
                "token_endpoint_auth_signing_alg_values_supported",
                "scopes_supported",
                "authorization_details_types_supported",
                "grant_types_supported",
                "dpop_signing_alg_values_supported",
                "mtls_endpoint_aliases",
            ];
            let members = members.map(|name| format!(r#","{name}":{odd}"#)).concat();
            let json = format!(
                r#"{{"issuer":"https://a.example","tls_client_certificate_bound_access_tokens":"true","token_endpoint":"https://a.example/t"{members}}}"#
            );
            let metadata = read(&json).unwrap();
            assert_eq!(metadata.token_endpoint(), Some("https://a.example/t"));
            assert_eq!(metadata.jwks_uri(), None);
            assert_eq!(metadata.mtls_alias("token_endpoint"), None);
            assert_eq!(metadata.supports_assertion_algorithm("ES256"), None);
            assert_eq!(metadata.supports_authorization_details_type("a"), None);
            assert_eq!(metadata.scopes().count(), 0);
            assert!(!metadata.binds_tokens_to_certificates());
            metadata.require("token_endpoint").unwrap();
            for name in [
                "introspection_endpoint",
                "token_endpoint_auth_methods_supported",
            ] {
                let needed = metadata.require(name);
                let Err(error) = needed else {
                    assert_eq!(odd, "null", "{name}");
                    continue;
                };
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }

    // covers: F-12, F-14
    #[test]
    fn a_member_that_is_there_twice_is_as_absent_until_it_is_needed() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let metadata = read(&format!(
            r#"{{"issuer":"https://a.example","token_endpoint":"https://a.example/t","jwks_uri":{deep},
                "scopes_supported":["a"],"scopes_supported":["b"],
                "revocation_endpoint":"https://a.example/r","revocation_endpoint":"https://a.example/CANARY",
                "tls_client_certificate_bound_access_tokens":true,
                "tls_client_certificate_bound_access_tokens":false}}"#
        ));
        let metadata = metadata.unwrap();
        assert_eq!(metadata.token_endpoint(), Some("https://a.example/t"));
        assert_eq!(metadata.scopes().count(), 0);
        assert_eq!(metadata.jwks_uri(), None);
        assert_eq!(metadata.revocation_endpoint(), None);
        assert!(!metadata.binds_tokens_to_certificates());
        metadata.require("token_endpoint").unwrap();
        let error = metadata.require("revocation_endpoint").unwrap_err();
        assert!(error.to_string().contains("appears twice"), "{error}");
        assert!(!error.to_string().contains("CANARY"), "{error}");
    }

    // covers: F-02, F-12, F-13
    #[test]
    fn what_is_no_metadata_is_refused_and_not_quoted() {
        for (json, transient) in [
            ("", true),
            (r#"{"issuer":"CANARY"#, true),
            ("CANARY", false),
            (r#"["CANARY"]"#, false),
            (r#"{"token_endpoint":"CANARY"}"#, false),
            (r#"{"issuer":7,"x":"CANARY"}"#, false),
            (r#"{"issuer":"CANARY","issuer":"https://a.example"}"#, false),
        ] {
            let error = read(json).unwrap_err();
            assert_eq!(error.is_transient(), transient, "{json}");
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        }
        assert!(read("\u{feff}{\"issuer\":\"https://a.example\"}").is_ok());
    }
}
