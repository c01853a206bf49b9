//! The sources of many tenants in one process.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use crate::{error::ProfileError, profiles::Profiles};

mod builder;
mod function;
mod registry;
mod reload;
mod source;
mod watcher;

pub use builder::TenantsBuilder;
pub use registry::TenantMetrics;
pub use reload::Reload;
pub use source::{TenantCache, TenantSource};

use registry::Registry;

/// The token sources of many tenants by name: each is a profile of the configuration file, or is built by a function.
///
/// ```no_run
/// use hallpass_core::{TokenRequest, TokenSourceExt};
/// use hallpass_profiles::Tenants;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants = Tenants::load()?;
/// let token = tenants.source("acme")?.access_token(&TokenRequest::default()).await?;
/// # let _ = token;
/// # Ok(())
/// # }
/// ```
///
/// - **Built on first use.** [`source`](Self::source) returns at once; a tenant's first token request reads files and sets
///   up TLS, on a thread for work that blocks.
/// - **One transport** for profiles with equal settings for it: one pool of connections, one set of root certificates.
///   Client certificates have their own connections.
/// - **Bounded**: beyond [`max_tenants`](TenantsBuilder::max_tenants), the tenant that was not used for the longest time
///   is evicted, unless the program holds its source.
/// - **Reloaded** by [`reload`](Self::reload), or when [the file changes](TenantsBuilder::watch). Tenants whose settings
///   are the same keep their tokens.
/// - **Separate**: tenants share neither tokens, failures, back-off nor the number of concurrent fetches, and an error in
///   one profile is one of this tenant.
/// - **Small**: a tenant takes at most 4 KiB, without its token.
///
/// Clones share their tenants. When the last one is dropped, the sources that the program holds remain usable, and are no
/// longer reloaded.
#[derive(Clone)]
pub struct Tenants(Arc<Registry>);

impl Tenants {
    /// Returns the cached source of this tenant. No I/O, and no request: a wrong credential fails the tenant's calls, and no
    /// others. All callers of one tenant share one source and its token.
    ///
    /// Names should come from a list of known tenants: with a function that builds sources, each new name takes a place.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the profile does not exist, or its settings are wrong or need a feature that is missing.
    pub fn source(&self, tenant: &str) -> Result<Arc<TenantSource>, ProfileError> {
        self.0.source(tenant)
    }

    /// Returns the sources of the tenants with a cache, in no order; some may have been removed by a reload.
    pub fn sources(&self) -> Vec<Arc<TenantSource>> {
        self.0.read().tenants.values().cloned().collect()
    }

    /// Returns the number of tenants with a cache.
    pub fn len(&self) -> usize {
        self.0.read().tenants.len()
    }

    /// Returns true if no tenant has a cache.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the profiles as they were loaded last, for their names and warnings; none if a function builds the sources.
    pub fn profiles(&self) -> Option<Arc<Profiles>> {
        self.0.read().profiles.clone()
    }

    /// Reads the configuration file again, and applies it to the tenants in use. Tenants whose settings are the same keep
    /// their sources and tokens; a replaced file of certificate authorities is used for new connections. A changed tenant
    /// gets a new source under the handle that the program holds, and fetches a token with its next call. If a profile has
    /// an error, its tenant keeps its settings.
    ///
    /// Without effect if a function builds the sources: [`remove`](Self::remove) a tenant after a change.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the file cannot be read or is not valid TOML: all tenants keep their settings. It is also
    /// logged, as a warning the first time, and returned by [`reload_error`](Self::reload_error) until a reload succeeds.
    ///
    /// # Cancellation
    ///
    /// Once the file is being read, the reload ends nevertheless; only replaced files of certificate authorities may be
    /// left to the next one.
    pub async fn reload(&self) -> Result<Reload, ProfileError> {
        self.0.reload().await
    }

    /// Returns the error of the last reload; none if it succeeded, or there was none.
    pub fn reload_error(&self) -> Option<ProfileError> {
        let error = self.0.reload_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes a tenant, shuts its cache down, and returns true if it had one. Calls of its source fail from then on; the
    /// next call of [`source`](Self::source) creates a new one, if the tenant still exists.
    ///
    /// # Cancellation
    ///
    /// The tenant is removed, and its cache is shut down nevertheless.
    pub async fn remove(&self, tenant: &str) -> bool {
        let source = self.0.write().tenants.remove(tenant);
        let Some(tenant) = source.and_then(|source| source.replace(None)) else {
            return false;
        };
        reload::shut_down([tenant]).await;
        true
    }

    /// Shuts all caches down, as [`CachedTokenSource::shutdown`](hallpass_cache::CachedTokenSource::shutdown) does: call it
    /// before the program exits, if tenants share tokens through a store. Afterwards only a tenant without a cache, or one
    /// that a reload changes, gets a new cache, which fetches.
    ///
    /// # Cancellation
    ///
    /// The caches are shut down nevertheless.
    pub async fn shutdown(&self) {
        let sources = self.sources().into_iter();
        reload::shut_down(sources.filter_map(|source| source.current())).await;
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants")
            .field("tenants", &self.len())
            .field("max_tenants", &self.0.max_tenants)
            .finish_non_exhaustive()
    }
}
