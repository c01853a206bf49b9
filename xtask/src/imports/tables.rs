//! The layers within crates, and the imports that are allowed until they are removed.

use std::collections::BTreeSet;

use super::graph::{Layers, Rules};

/// The crates whose modules are ordered, which is more than that they have no loops.
const LAYERS: [(&str, &Layers); 1] = [(
    "hallpass-endpoint",
    &[
        &["error", "encoding"],
        &["transport"],
        &["server"],
        &["authentication"],
        &["response"],
        &["exchange"],
        &["grant", "presets", "builder"],
        &["management"],
    ],
)];

/// Top-level modules of these crates that have no layer yet. This list only shrinks.
const UNPLACED: [(&str, &[&str]); 1] = [(
    "hallpass-endpoint",
    &[
        "address",
        "anonymous",
        "answer",
        "assertion_source",
        "client",
        "client_credentials",
        "discovery",
        "dpop",
        "endpoint",
        "fault",
        "form",
        "hints",
        "internals",
        "introspection",
        "json",
        "jwt_bearer",
        "metadata",
        "mtls",
        "public_client",
        "redact",
        "refresh_token",
        "refusal",
        "retry",
        "revoking",
        "security_token",
        "skew",
        "strongest",
        "token_exchange",
    ],
)];

/// Imports that are part of a loop or go up: crate, importing unit, imported unit. The unit of a folder's own file is
/// `crate::folder`, and that of the crate's root file is `crate`. This list only shrinks.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("hallpass-cache", "cache", "builder"),
    ("hallpass-cache", "flight", "cache"),
    ("hallpass-cache", "polls", "level2"),
    ("hallpass-camall", "crate", "builder"),
    ("hallpass-cli", "command::token", "command::credential"),
    ("hallpass-cli", "config::settings", "config::proof"),
    ("hallpass-cli", "doctor", "command"),
    ("hallpass-cli", "doctor::steps", "doctor::proof"),
    ("hallpass-cli", "store::list", "crate::store"),
    ("hallpass-core", "crate::authorize", "authorize::builder"),
    ("hallpass-core", "crate::authorize", "authorize::permit"),
    ("hallpass-core", "observer", "authorize"),
    ("hallpass-core", "token", "proof"),
    ("hallpass-endpoint", "client", "builder"),
    ("hallpass-endpoint", "endpoint", "authentication"),
    ("hallpass-endpoint", "endpoint", "discovery"),
    ("hallpass-endpoint", "endpoint", "management"),
    ("hallpass-endpoint", "grant", "client"),
    ("hallpass-endpoint", "mtls", "authentication"),
    ("hallpass-endpoint", "presets", "builder"),
    ("hallpass-endpoint", "presets", "client_credentials"),
    ("hallpass-endpoint", "refusal", "answer"),
    ("hallpass-endpoint", "refusal::words", "crate::refusal"),
    ("hallpass-endpoint", "response", "grant"),
    ("hallpass-endpoint", "response", "refusal"),
    ("hallpass-endpoint", "revoking", "management"),
    ("hallpass-endpoint", "transport", "authentication"),
    (
        "hallpass-endpoint",
        "transport::clients",
        "crate::transport",
    ),
    ("hallpass-jwt", "key::jwk", "crate::key"),
    ("hallpass-jwt", "key::pem", "crate::key"),
    ("hallpass-jwt", "pkcs11::builder", "crate::pkcs11"),
    ("hallpass-jwt", "pkcs11::place", "pkcs11::fault"),
    ("hallpass-jwt", "provider", "client_secret"),
    ("hallpass-secrets", "vault::builder", "crate::vault"),
    (
        "hallpass-testkit",
        "crate::conformance::checks",
        "conformance::checks::errors",
    ),
    (
        "hallpass-testkit",
        "crate::conformance::checks",
        "conformance::checks::requests",
    ),
    ("hallpass-testkit", "faults::bodies", "crate::faults"),
    ("hallpass-testkit", "faults::members", "crate::faults"),
    ("hallpass-testkit", "faults::refusals", "crate::faults"),
    ("hallpass-testkit", "faults::wire", "crate::faults"),
    ("hallpass-testkit", "grant", "assertion"),
    ("hallpass-testkit", "grant::jwt_bearer", "crate::grant"),
    ("hallpass-testkit", "grant::refresh_token", "crate::grant"),
    ("hallpass-testkit", "grant::token_exchange", "crate::grant"),
    ("hallpass-tower", "service", "layer"),
];

/// Returns what holds for the modules of this crate.
pub(super) fn rules(owner: &str) -> Rules {
    let layers = LAYERS.iter().find(|(layered, _)| *layered == owner);
    let unplaced = UNPLACED.iter().find(|(layered, _)| *layered == owner);
    let allowed = ALLOWED.iter().filter(|(importing, ..)| *importing == owner);
    Rules {
        layers: layers.map_or(&[], |(_, layers)| layers),
        unplaced: unplaced.map_or(&[], |(_, modules)| modules),
        allowed: allowed.map(|&(_, from, to)| (from, to)).collect(),
    }
}

/// Returns the crates that the tables name.
pub(super) fn owners() -> BTreeSet<&'static str> {
    let allowed = ALLOWED.iter().map(|(owner, ..)| *owner);
    let unplaced = UNPLACED.iter().map(|(owner, _)| *owner);
    LAYERS
        .iter()
        .map(|(owner, _)| *owner)
        .chain(unplaced)
        .chain(allowed)
        .collect()
}
