//! The source of one tenant.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};

use crate::{source::ProfileSource, values::quoted_name};

/// The cache of a tenant's tokens.
pub type TenantCache = CachedTokenSource<Arc<dyn TokenSource>>;

/// The cached token source of one tenant, from [`Tenants::source`](crate::Tenants::source).
///
/// It follows a reload: a program can hold it as long as it serves the tenant. A call that is in progress when the
/// tenant's settings change ends with the old ones; if it fails then, it is repeated with the new ones. After the
/// removal of the tenant each call fails with [`ErrorKind::Configuration`](hallpass_core::ErrorKind::Configuration).
///
/// A hit reads one pointer more than one of [`CachedTokenSource`], and allocates nothing.
pub struct TenantSource {
    name: Arc<str>,
    /// None once the tenant was removed.
    current: ArcSwapOption<Tenant>,
    /// The number of replacements.
    replaced: AtomicU64,
    /// The registry's time of the last use.
    last_used: AtomicU64,
}

/// The cache of a tenant's current settings.
pub(crate) struct Tenant {
    pub(crate) cache: Arc<TenantCache>,
    /// None if a function builds the source.
    pub(crate) profile: Option<Arc<ProfileSource>>,
}

impl TenantSource {
    pub(crate) fn new(name: Arc<str>, tenant: Arc<Tenant>) -> Self {
        Self {
            name,
            current: ArcSwapOption::new(Some(tenant)),
            replaced: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    /// Returns the tenant's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the cache of the current settings, for its [readiness](CachedTokenSource::readiness),
    /// [`warm_up`](CachedTokenSource::warm_up), [`stats`](CachedTokenSource::stats) and
    /// [handles](CachedTokenSource::bind). It does not follow a reload, and neither do its handles: get it for each use.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] if the tenant was removed.
    pub fn cache(&self) -> Result<Arc<TenantCache>, TokenError> {
        Ok(self.tenant()?.cache.clone())
    }

    pub(crate) fn current(&self) -> Option<Arc<Tenant>> {
        self.current.load_full()
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.current.load().is_none()
    }

    /// Replaces the cache for later calls, or removes the tenant; returns the old one.
    pub(crate) fn replace(&self, tenant: Option<Arc<Tenant>>) -> Option<Arc<Tenant>> {
        self.replaced.fetch_add(1, Ordering::Relaxed);
        self.current.swap(tenant)
    }

    pub(crate) fn use_at(&self, time: u64) {
        self.last_used.store(time, Ordering::Relaxed);
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn tenant(&self) -> Result<Arc<Tenant>, TokenError> {
        self.current().ok_or_else(|| self.removed())
    }

    fn removed(&self) -> TokenError {
        let name = quoted_name(&self.name);
        TokenError::configuration(format!("the tenant {name} was removed"))
            .with_hint("if it exists again, get its source again with `Tenants::source`")
    }

    /// Returns true if the tenant still has these settings.
    fn is_current(&self, tenant: &Arc<Tenant>) -> bool {
        let current = self.current.load();
        current.as_ref().is_some_and(|now| Arc::ptr_eq(now, tenant))
    }
}

#[async_trait]
impl TokenSource for TenantSource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        loop {
            let tenant = self.tenant()?;
            let result = tenant.cache.token(request).await;
            if result.is_ok() || self.is_current(&tenant) {
                return result;
            }
        }
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.current.load().as_ref()?.cache.ready_token(request)
    }

    fn invalidate(&self, token: &AccessToken) {
        if let Some(tenant) = self.current() {
            tenant.cache.invalidate(token);
        }
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.tenant()?.cache.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        let epoch = self.current().map(|tenant| tenant.cache.credential_epoch());
        let replaced = self.replaced.load(Ordering::Relaxed);
        // A number far from those of one source, which count its changes.
        epoch.unwrap_or_default().wrapping_add(replaced << 32)
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        self.current()?.cache.credential_digest().await
    }

    fn binds_tokens(&self) -> bool {
        let tenant = self.current();
        tenant.is_some_and(|tenant| tenant.cache.binds_tokens())
    }
}

impl fmt::Debug for TenantSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantSource")
            .field("name", &self.name)
            .field("is_removed", &self.is_removed())
            .finish_non_exhaustive()
    }
}
