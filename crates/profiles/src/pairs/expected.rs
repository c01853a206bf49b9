//! The pairs of settings that exclude each other although a server and a client support both, and the effects that
//! cannot be seen in a pair.

use super::rows::Sample;

/// The numbers of pairs of settings that always work, that work with some values, and that are always refused.
pub(super) const COUNTS: [usize; 3] = [1_102, 30, 44];

/// Settings, or one value of a setting.
const EXCLUDED: &[(&str, &[&str])] = &[
    ("assertion_audience", &["danger_token_endpoint_as_audience"]),
    ("bound_tokens = true", &["redis"]),
    ("cache", &["redis"]),
    ("default_lifetime", &["expiry_format", "expiry_member"]),
    ("dpop", &["token_type_name"]),
    (
        "issuer = 'https://other.example'",
        &["assertion_audience", "danger_token_endpoint_as_audience"],
    ),
    ("provider = 'auth0'", &["resource"]),
    ("provider = 'keycloak'", &["audience", "resource"]),
    ("variables", &["audience", "resource"]),
    (
        "security_profile",
        &[
            "assertion_audience",
            "danger_allow_http_on_loopback",
            "danger_token_endpoint_as_audience",
            "expiry_format",
            "expiry_member",
            "grant_type",
            "json_requests",
            "lenient_responses",
            "token_member",
            "token_type_name",
        ],
    ),
];

/// The settings whose own effect is not seen beside another, which works nevertheless, and the reason.
const UNSEEN: &[(&str, &[&str], &str)] = &[
    (
        "danger_allow_http_on_loopback",
        &[
            "authentication = 'self_signed_tls_client_auth'",
            "authentication = 'tls_client_auth'",
            "bound_tokens",
        ],
        "a certificate is presented in TLS only",
    ),
    (
        "danger_allow_http_on_loopback",
        &["variables"],
        "the address of a provider is an `https` URL",
    ),
];

/// Returns true if the two exclude each other.
pub(super) fn is_excluded(one: &Sample, other: &Sample) -> bool {
    let lists = |one: &Sample, other: &Sample| {
        let mut rows = EXCLUDED.iter();
        rows.any(|(name, others)| is(one, name) && others.iter().any(|name| is(other, name)))
    };
    lists(one, other) || lists(other, one)
}

/// Returns true if the first one's effect cannot be seen beside the other.
pub(super) fn is_unseen(one: &Sample, other: &Sample) -> bool {
    let mut rows = UNSEEN.iter();
    rows.any(|(name, others, _)| is(one, name) && others.iter().any(|name| is(other, name)))
        || is_excluded(one, other)
}

fn is(sample: &Sample, name: &str) -> bool {
    name == sample.key || name == format!("{} = {}", sample.key, sample.value)
}
