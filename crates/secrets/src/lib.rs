//! Secret sources of hallpass, with rotation while the service runs.
//!
//! Each source is a [`SecretSource`](hallpass_core::SecretSource), and every API that needs a secret accepts one:
//!
//! | source | location of the secret |
//! |---|---|
//! | [`EnvSecret`] | an environment variable |
//! | [`FileSecret`] | a file: Kubernetes, Docker, an agent |
//! | [`SystemdCredential`] | systemd's credentials directory |
//! | `CommandSecret`, feature `command` | the output of a command |
//! | `KeychainSecret`, feature `keychain` | the system's keychain |
//! | `VaultSecret`, feature `vault` | HashiCorp Vault or OpenBao |
//!
//! A [`FileSecret`] and a [`MemorySecret`] are also a [`SecretStore`](hallpass_core::SecretStore): a refresh token
//! that the server rotates is saved there.
//!
//! [`SecretPair`] combines two secrets, for a rotation in which both are valid for a while. A [`SecretReference`]
//! names any source in one line of text, for configuration files. [`CachedSecret`] adds a cache to a custom source.
//! [`RegularFile`] and [`read_file`] read any other file with the same care.
//!
//! ```
//! use hallpass_core::{SecretSource, SecretError};
//! use hallpass_secrets::{FileSecret, SecretReference};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mounted = FileSecret::new("/run/secrets/client");
//! // The same, from a line of a configuration file.
//! # #[cfg(unix)]
//! let mounted = "file:/run/secrets/client".parse::<SecretReference>()?.open()?;
//! # Ok(())
//! # }
//! ```

mod blocking;
mod cached_secret;
#[cfg(feature = "command")]
mod command;
mod content;
mod env;
mod file;
#[cfg(test)]
mod folder;
mod forward;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
#[cfg(feature = "keychain")]
mod keychain;
mod lock_retry;
mod memory;
mod pair;
mod reference;
mod regular_file;

mod systemd;
#[cfg(feature = "vault")]
mod vault;

pub use cached_secret::CachedSecret;
#[cfg(feature = "command")]
pub use command::CommandSecret;
pub use env::EnvSecret;
pub use file::FileSecret;
#[cfg(feature = "keychain")]
pub use keychain::KeychainSecret;
pub use memory::MemorySecret;
pub use pair::SecretPair;
pub use reference::{InvalidReference, SecretReference};
pub use regular_file::{RegularFile, UnreadableFile, read_file};
pub use systemd::SystemdCredential;
#[cfg(feature = "vault")]
pub use vault::{VaultSecret, VaultSecretBuilder};
