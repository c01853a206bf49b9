//! A module for each target: `run` checks one input, `seeds` and `WORDS` help the fuzzer to find inputs.
//!
//! A panic is the report of a fault, so `unwrap` states a part of the invariant.

#![allow(clippy::unwrap_used)]

pub(crate) mod address;
pub(crate) mod authorization_details;
pub(crate) mod certificate;
pub(crate) mod challenge;
pub(crate) mod client_identity;
pub(crate) mod ecdsa_signature;
pub(crate) mod environment;
pub(crate) mod error_response;
pub(crate) mod introspection;
pub(crate) mod jwks;
pub(crate) mod jwt_svid;
pub(crate) mod metadata;
pub(crate) mod origin;
pub(crate) mod private_key;
pub(crate) mod profiles;
pub(crate) mod public_key;
pub(crate) mod redis_entry;
pub(crate) mod resource_metadata;
pub(crate) mod response_headers;
pub(crate) mod scope;
pub(crate) mod secret;
pub(crate) mod secret_reference;
pub(crate) mod signed_introspection;
pub(crate) mod store_entry;
pub(crate) mod text_filter;
pub(crate) mod token_response;
