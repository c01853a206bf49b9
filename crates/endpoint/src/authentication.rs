//! Client authentication (RFC 6749 section 2.3).

mod assertion;
mod client_secret;
pub(crate) mod context;
pub(crate) mod credentials;
mod digest;
mod method;
mod mtls;
mod none;
pub(crate) mod profile;
mod provenance;
mod strongest;
mod with_certificate;

pub use assertion::{Assertion, AssertionSource, SecretAssertion};
pub use client_secret::{ClientSecretBasic, ClientSecretPost};
pub use context::AuthenticationContext;
pub use credentials::Credentials;
pub use digest::credential_digest;
pub use method::ClientAuthentication;
pub use mtls::MutualTls;
pub use none::{Anonymous, PublicClient};
pub use strongest::Strongest;
pub use with_certificate::WithCertificate;
