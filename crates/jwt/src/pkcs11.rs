//! A signer with a key in a hardware token, by PKCS#11.

mod builder;
mod error;
mod key_location;
mod module;
mod signer;
mod state;

pub use builder::Pkcs11SignerBuilder;
pub use signer::Pkcs11Signer;

#[cfg(test)]
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod tests;
