//! Fuzz targets for parsers of untrusted input: responses, headers, keys, entries of stores, settings.
//!
//! Each target states an invariant that holds for every input. `fuzz/README.md` lists them and explains how to run them.

mod seeds;
mod support;
mod targets;

use targets::{
    address, authorization_details, certificate, challenge, client_identity, ecdsa_signature,
    environment, error_response, introspection, jwks, jwt_svid, metadata, origin, private_key,
    profiles, public_key, redis_entry, resource_metadata, response_headers, scope, secret,
    secret_reference, signed_introspection, store_entry, text_filter, token_response,
};

/// A parser with its invariant.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, which is that of its module and of its directory in `fuzz/corpus`.
    pub name: &'static str,
    /// Checks the invariant for one input, and panics if it does not hold.
    pub run: fn(&[u8]),
    /// Returns inputs from the tables of the tests, which the fuzzer changes and combines.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that the parser knows.
    pub words: &'static [&'static str],
}

/// Returns a target from its module, which has its name.
macro_rules! target {
    ($name:ident) => {
        Target {
            name: stringify!($name),
            run: $name::run,
            seeds: $name::seeds,
            words: $name::WORDS,
        }
    };
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    target!(address),
    target!(authorization_details),
    target!(certificate),
    target!(challenge),
    target!(client_identity),
    target!(ecdsa_signature),
    target!(environment),
    target!(error_response),
    target!(introspection),
    target!(jwks),
    target!(jwt_svid),
    target!(metadata),
    target!(origin),
    target!(private_key),
    target!(profiles),
    target!(public_key),
    target!(redis_entry),
    target!(resource_metadata),
    target!(response_headers),
    target!(scope),
    target!(secret),
    target!(secret_reference),
    target!(signed_introspection),
    target!(store_entry),
    target!(text_filter),
    target!(token_response),
];

/// Returns the target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
