//! Client authentication by signed assertions (RFC 7521, RFC 7523): no shared secret goes over the wire.
//!
//! | type | method | credential of the client |
//! |---|---|---|
//! | [`PrivateKeyJwt`] | `private_key_jwt` | a private key, in memory or behind a [`Signer`] |
//! | [`WorkloadIdentity`] | `private_key_jwt` | none: the platform issues the assertion |
//! | `ClientSecretJwt` | `client_secret_jwt` | a secret shared with the server |
//!
//! Each is a [`ClientAuthentication`](hallpass_endpoint::ClientAuthentication): pass it to
//! [`ClientCredentials::builder`](hallpass_endpoint::ClientCredentials::builder).
//!
//! [`SignedAssertion`] signs the assertion of the [JWT bearer grant](hallpass_endpoint::JwtBearer), which represents
//! the token's subject and not the client.
//!
//! `ResponseKeys` verifies the responses that a server signs, such as those of introspection (RFC 9701).
//!
//! [`Dpop`] binds tokens to a key on top of any of them (RFC 9449): it is a [`Prover`](hallpass_core::Prover).
//!
//! The features choose the signing library: `aws-lc-rs` (default) or `ring`. If both are enabled, aws-lc-rs is used.
//! Without either, `SigningKey`, `ClientSecretJwt` and `Dpop` are left out, and only a custom [`Signer`] can sign.
//! ring does not read EC keys in the SEC1 form (`BEGIN EC PRIVATE KEY`) or without its public key, or RSA keys over 4096
//! bits.
//!
//! The feature `unstable-spiffe` adds `SpiffeJwt`, client authentication with a JWT-SVID. It follows an Internet-Draft and
//! may change in any release.
//!
//! The feature `pkcs11` adds `Pkcs11Signer`, for keys in a hardware token. [`KmsSigner`] is the signer of keys in a key
//! management service.

mod algorithm;
mod assertion;
mod certificate;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod client_secret;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod dpop;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod google;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod key;
mod keys;
mod kms;
mod pem;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod private_key;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod provider;
mod public_key;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod response;
mod settings;
mod signed;
mod signer;
#[cfg(feature = "unstable-spiffe")]
mod spiffe;
mod stamp;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[cfg(test)]
mod verify;
mod workload;

pub use algorithm::Algorithm;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use algorithm::HmacAlgorithm;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use client_secret::ClientSecretJwt;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use dpop::Dpop;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use google::google_service_account;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use key::SigningKey;
pub use kms::{KmsKey, KmsSigner};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Signer, Pkcs11SignerBuilder};
pub use private_key::PrivateKeyJwt;
pub use public_key::PublicKey;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use response::ResponseKeys;
pub use settings::AssertionSettings;
pub use signed::SignedAssertion;
pub use signer::Signer;
#[cfg(feature = "unstable-spiffe")]
pub use spiffe::SpiffeJwt;
pub use workload::WorkloadIdentity;
