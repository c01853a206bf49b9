//! The settings of builders that exclude each other, and the effects that are not seen although both work.

use super::method::Method;

/// The clients that are built, each in a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Grant {
    ClientCredentials,
    TokenExchange,
    JwtBearer,
    RefreshToken,
    IdentityAssertion,
    IdJagProvider,
    /// Introspection and revocation.
    Management,
    SignedAssertion,
    /// The same for a server whose issuer is discovered.
    SignedForIssuer,
}

/// A setting, and those that it excludes.
const EXCLUDED: &[(&str, &[&str])] = &[
    (
        "Discovery::danger_allow_http_on_loopback",
        &["Discovery::refuse_local_issuer"],
    ),
    ("danger_allow_http_on_loopback", &["refuse_local_endpoint"]),
    ("default_lifetime", &["expiry_member"]),
    ("dpop", &["token_type_name"]),
    (
        "security_profile",
        &[
            "Endpoint::with_introspection_endpoint",
            "Endpoint::with_mtls_alias",
            "Endpoint::with_revocation_endpoint",
            "allow_utf8_credentials",
            "authentication",
            "danger_allow_http_on_loopback",
            "expiry_member",
            "grant_type",
            "json_requests",
            "lenient_responses",
            "token_endpoint",
            "token_member",
            "token_type_name",
        ],
    ),
];

type Names = &'static [&'static str];
type IsOne = fn(Grant) -> bool;

/// Settings that have no effect beside another one, and the reason.
const UNSEEN_BESIDE: &[(Names, &str, &str)] = &[
    (
        &[
            "Discovery::clock",
            "Discovery::lifetime",
            "Discovery::openid_location",
            "Discovery::transport",
            "Endpoint::with_introspection_endpoint",
            "Endpoint::with_mtls_alias",
            "Endpoint::with_revocation_endpoint",
        ],
        "token_endpoint",
        "the endpoint is replaced as a whole",
    ),
    (
        &["Endpoint::with_mtls_alias"],
        "authentication",
        "the client has no certificate any more",
    ),
];

/// Settings that have no effect with some grants, and the reason.
const UNSEEN_WITH: &[(Names, IsOne, &str)] = &[
    (
        &["clock", "default_lifetime", "expiry_member", "max_lifetime"],
        |grant| grant == Grant::IdJagProvider,
        "an ID-JAG is used at once",
    ),
    (
        &["retry"],
        |grant| grant == Grant::IdJagProvider,
        "the retries are those of the `IdentityAssertion`",
    ),
    (
        &["token_type_name"],
        |grant| grant == Grant::IdJagProvider,
        "the `token_type` is that of a token which is not an access token",
    ),
    (
        &[
            "Endpoint::with_introspection_endpoint",
            "Endpoint::with_revocation_endpoint",
        ],
        |grant| grant != Grant::Management,
        "a source requests tokens only",
    ),
    (
        &["Endpoint::with_mtls_alias"],
        |grant| grant == Grant::Management,
        "it is one of the token endpoint",
    ),
];

/// A call, as far as it decides what is excluded.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) settings: &'a [&'static str],
    pub(super) method: Method,
    pub(super) grant: Grant,
    pub(super) is_discovered: bool,
}

impl Case<'_> {
    fn has(&self, name: &str) -> bool {
        self.settings.contains(&name)
    }

    /// Returns the pairs of names that exclude each other.
    pub(super) fn excluded(&self) -> Vec<(&'static str, &'static str)> {
        let pairs = EXCLUDED
            .iter()
            .flat_map(|(one, others)| others.iter().map(|other| (*one, *other)));
        let mut pairs: Vec<_> = pairs
            .filter(|(one, other)| self.has(one) && self.has(other))
            .collect();
        let is_replaced = self.has("token_endpoint");
        let rules = [
            ("security_profile", "token_endpoint", !self.is_discovered),
            (
                "security_profile",
                "authentication",
                !self.method.is_strong(),
            ),
            (
                "security_profile",
                "grant_type",
                ![
                    Grant::ClientCredentials,
                    Grant::RefreshToken,
                    Grant::Management,
                ]
                .contains(&self.grant),
            ),
            (
                "require_signed_responses",
                "Endpoint::discover",
                !self.is_discovered,
            ),
        ];
        let rules = rules
            .into_iter()
            .filter(|(name, _, applies)| *applies && self.has(name));
        pairs.extend(rules.map(|(name, other, _)| (name, other)));
        if self.grant == Grant::IdentityAssertion && self.has("audience") {
            pairs.push(("audience", "IdJagProvider"));
        }
        let is_for_issuer = self.method == Method::SignedForIssuer && !self.has("authentication");
        if is_for_issuer && (!self.is_discovered || is_replaced) {
            pairs.push(("authentication", "Endpoint::discover"));
        }
        if self.grant == Grant::SignedForIssuer && (!self.is_discovered || is_replaced) {
            pairs.push(("assertion", "Endpoint::discover"));
        }
        pairs
    }

    /// Returns true if this setting has no effect.
    pub(super) fn is_unseen(&self, name: &str) -> bool {
        let mut beside = UNSEEN_BESIDE.iter();
        let mut with = UNSEEN_WITH.iter();
        beside.any(|(names, other, _)| names.contains(&name) && self.has(other))
            || with.any(|(names, applies, _)| names.contains(&name) && applies(self.grant))
    }
}
