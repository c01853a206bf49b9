//! Token sources that operators configure: profiles in a file, environment variables, and references to secrets.
//!
//! A service that names a profile instead of building a source can move from a client secret to a private key, to a
//! certificate or to another authorization server without a build. The format is that of the command `hallpass`.
//!
//! ```toml
//! [profile.orders]
//! issuer = "https://login.example.com"
//! client_id = "orders-service"
//! client_secret = "file:/run/secrets/orders"
//! scope = "orders.read"
//! ```
//!
//! ```no_run
//! use hallpass_core::{TokenRequest, TokenSource};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let tokens = hallpass_profiles::load()?.source("orders")?;
//! let token = tokens.token(&TokenRequest::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The settings of a server, and those of a client, are replaced as a group: a secret is never sent to a server from
//! another source of settings, unless the program allows it.
//!
//! A profile whose method needs a feature that this program lacks is an error that names the feature: `jwt` for signed
//! assertions, `redis` for a table `redis`, `command`, `keychain` and `vault` for references to secrets.

mod audience;
mod authentication;
mod checks;
mod document;
mod environment;
mod error;
mod file;
mod format;
mod hints;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod issuer;
mod layer;
mod lazy;
mod method;
mod missing;
mod namespace;
#[cfg(all(
    test,
    feature = "command",
    feature = "gzip",
    feature = "jwt",
    feature = "redis",
    feature = "unstable-spiffe"
))]
mod pairs;
mod paths;
mod profiles;
mod provider;
mod redis;
mod security;
mod selection;
mod server;
mod settings;
mod shared;
mod source;
#[cfg(feature = "redis")]
mod store;
#[cfg(not(feature = "redis"))]
#[path = "store/absent.rs"]
mod store;
mod tenants;
mod transports;
mod unit;
mod values;

pub use audience::Audience;
pub use authentication::{AuthenticationSettings, SecretEncoding, TlsCertificate};
pub use error::ProfileError;
pub use format::FormatSettings;
pub use hints::{PROXY_CREDENTIALS_HINT, setting_hint};
pub use method::AuthenticationMethod;
pub use profiles::{Profiles, ProfilesBuilder};
pub use provider::ProviderSettings;
pub use redis::RedisSettings;
pub use selection::Selection;
pub use server::{Server, ServerAddress};
pub use settings::Settings;
pub use source::ProfileSource;
#[cfg(any(feature = "jwt", feature = "jwt-ring"))]
pub use source::parse_private_key;
pub use tenants::{Reload, TenantCache, TenantMetrics, TenantSource, Tenants, TenantsBuilder};
pub use unit::SettingSource;
pub use values::{InvalidDuration, parse_duration};

/// Reads the configuration file that `HALLPASS_CONFIG` names, or the user's `hallpass/config.toml` if it exists:
/// [`Profiles::load`].
///
/// # Errors
///
/// A [`ProfileError`] if the file cannot be read.
pub fn load() -> Result<Profiles, ProfileError> {
    Profiles::load()
}
