//! The settings of builders that exclude each other, and the effects that are not seen although both work.

use super::{
    method::Method,
    pairs::{Exclusions, excluded},
};

/// The kinds of clients, each with its table. `Table::schedule` reads the number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ClientKind {
    ClientCredentials = 0,
    TokenExchange = 1,
    JwtBearer = 2,
    RefreshToken = 3,
    IdentityAssertion = 4,
    IdJagProvider = 5,
    /// Introspection and revocation.
    Management = 6,
    /// The JWT bearer grant with an assertion that the client signs.
    SignedAssertion = 7,
    /// The same for a server whose issuer is discovered.
    SignedForIssuer = 8,
}

const EXCLUDED: Exclusions = &[
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
type ClientPredicate = fn(ClientKind) -> bool;

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

/// Settings that have no effect with some clients, and the reason.
const UNSEEN_WITH: &[(Names, ClientPredicate, &str)] = &[
    (
        &["clock", "default_lifetime", "expiry_member", "max_lifetime"],
        |client| client == ClientKind::IdJagProvider,
        "an ID-JAG is used at once",
    ),
    (
        &["retry"],
        |client| client == ClientKind::IdJagProvider,
        "the retries are those of the `IdentityAssertion`",
    ),
    (
        &["token_type_name"],
        |client| client == ClientKind::IdJagProvider,
        "the `token_type` is that of a token which is not an access token",
    ),
    (
        &[
            "Endpoint::with_introspection_endpoint",
            "Endpoint::with_revocation_endpoint",
        ],
        |client| client != ClientKind::Management,
        "a source requests tokens only",
    ),
    (
        &["Endpoint::with_mtls_alias"],
        |client| client == ClientKind::Management,
        "it is one of the token endpoint",
    ),
];

/// The inputs that decide which settings exclude each other.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) settings: &'a [&'static str],
    pub(super) method: Method,
    pub(super) client: ClientKind,
    pub(super) is_discovered: bool,
}

impl Case<'_> {
    fn has(&self, name: &str) -> bool {
        self.settings.contains(&name)
    }

    /// Returns the pairs of names that exclude each other.
    pub(super) fn excluded(&self) -> Vec<(&'static str, &'static str)> {
        let mut pairs = excluded(EXCLUDED, |name| self.has(name));
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
                    ClientKind::ClientCredentials,
                    ClientKind::RefreshToken,
                    ClientKind::Management,
                ]
                .contains(&self.client),
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
        if self.client == ClientKind::IdentityAssertion && self.has("audience") {
            pairs.push(("audience", "IdJagProvider"));
        }
        let is_for_issuer = self.method == Method::SignedForIssuer && !self.has("authentication");
        if is_for_issuer && (!self.is_discovered || is_replaced) {
            pairs.push(("authentication", "Endpoint::discover"));
        }
        if self.client == ClientKind::SignedForIssuer && (!self.is_discovered || is_replaced) {
            pairs.push(("assertion", "Endpoint::discover"));
        }
        pairs
    }

    /// Returns true if this setting has no effect.
    pub(super) fn is_unseen(&self, name: &str) -> bool {
        let mut beside = UNSEEN_BESIDE.iter();
        let mut with = UNSEEN_WITH.iter();
        beside.any(|(names, other, _)| names.contains(&name) && self.has(other))
            || with.any(|(names, applies, _)| names.contains(&name) && applies(self.client))
    }
}
