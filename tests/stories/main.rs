//! Stories that cross crates: one file each, in one binary.

// Tests and their helpers panic on anything unexpected, and format output directly.
#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod assertions;
mod authorization_details;
mod blocking;
mod builders;
mod building;
mod cached;
mod clocks;
mod compression;
mod conformance;
mod discovery;
mod discovery_refresh;
mod dpop;
mod endings;
mod fapi;
mod federation;
mod formats;
mod grants;
mod integrations;
mod leaks;
mod lost_connections;
mod main_job;
mod management;
mod management_responses;
mod mtls;
#[cfg(unix)] // Symbolic links are swapped.
mod mtls_rotation;
mod mtls_server;
#[cfg(unix)] // Some events report the modes of files.
mod observability;
mod oidc_assertions;
mod oidc_dpop;
mod oidc_fapi;
mod oidc_grants;
mod oidc_mtls;
mod oidc_pkcs11;
mod oidc_provider;
mod one_request;
mod peer;
mod presets;
mod proofs;
mod protected_resource;
mod redirects;
mod reference;
mod responses;
mod retries;
mod revoke_on_shutdown;
mod rotation;
mod secrets;
mod server_text;
mod servers;
mod shared;
mod shared_refusals;
mod shared_tokens;
mod signed_introspection;
mod soak;
mod support;
mod tenants;
mod tls;
#[path = "../shared/tls_server.rs"]
mod tls_server;
mod transport;
mod vault;
