//! The tenants in use, with what makes them.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use hallpass_cache::{CacheBuilder, CachedTokenSource};
use hallpass_core::TokenSource;
use tokio::task::AbortHandle;

use super::{
    function::{BuildSource, FunctionSource},
    source::{Tenant, TenantSource},
};
use crate::{
    error::ProfileError,
    profiles::{Profiles, ProfilesBuilder},
    selection::Selection,
    settings::Settings,
    shared::Shared,
    source::ProfileSource,
};

/// The label of tenants' metrics: [`TenantsBuilder::metrics`](crate::TenantsBuilder::metrics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TenantMetrics {
    /// One set of series for all tenants, with the label `tenants`.
    #[default]
    Shared,
    /// A set of series for each tenant, with its name as the label. For a small, fixed number of tenants.
    PerTenant,
    /// No metrics.
    None,
}

/// A change of a tenant's cache.
pub(crate) type ChangeCache = dyn Fn(&str, CacheBuilder<Arc<dyn TokenSource>>) -> CacheBuilder<Arc<dyn TokenSource>>
    + Send
    + Sync;

pub(crate) struct Registry {
    pub(crate) origin: Origin,
    pub(crate) max_tenants: usize,
    pub(crate) metrics: TenantMetrics,
    pub(crate) change_cache: Option<Box<ChangeCache>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: RwLock<State>,
    /// Counts uses, so that the tenant that was not used for the longest time is known.
    pub(crate) uses: AtomicU64,
    /// Held during a reload.
    pub(crate) reloading: Arc<tokio::sync::Mutex<()>>,
    /// The error of the last reload.
    pub(crate) reload_error: Mutex<Option<ProfileError>>,
    /// The task that watches the file.
    pub(crate) watcher: Mutex<Option<AbortHandle>>,
}

/// The origin of the tenants' sources.
pub(crate) enum Origin {
    Profiles(ProfilesBuilder),
    Function(Arc<BuildSource>),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) tenants: HashMap<Arc<str>, Arc<TenantSource>>,
    /// None if a function builds the sources.
    pub(crate) profiles: Option<Arc<Profiles>>,
    /// The number of reloads.
    pub(crate) reloads: u64,
    /// The tenants to evict next, with the time of their last use: finding them reads all.
    pub(crate) victims: VecDeque<(u64, Arc<str>)>,
}

impl Registry {
    pub(crate) fn source(&self, name: &str) -> Result<Arc<TenantSource>, ProfileError> {
        loop {
            let (profiles, reloads) = {
                let state = self.read();
                if let Some(source) = state.in_use(name) {
                    return Ok(self.used(source));
                }
                (state.profiles.clone(), state.reloads)
            };
            // Without the lock: this calls code of the program.
            let name: Arc<str> = name.into();
            let tenant = self.tenant(&name, profiles.as_deref())?;
            let mut state = self.write();
            if state.reloads != reloads {
                continue;
            }
            if let Some(source) = state.in_use(&name) {
                return Ok(self.used(source));
            }
            let source = match state.tenants.get(&name) {
                Some(source) => {
                    source.replace(Some(tenant));
                    source.clone()
                }
                None => Arc::new(TenantSource::new(name.clone(), tenant)),
            };
            let source = self.used(&source);
            state.tenants.insert(name, source.clone());
            let evicted = state.shrink(self.max_tenants);
            drop(state);
            if !evicted.is_empty() {
                tracing::debug!(tenants = evicted.len(), "tenants evicted");
            }
            return Ok(source);
        }
    }

    fn used(&self, source: &Arc<TenantSource>) -> Arc<TenantSource> {
        source.use_at(self.uses.fetch_add(1, Ordering::Relaxed));
        source.clone()
    }

    /// Creates the cache of a tenant, whose source is built when it is first used.
    fn tenant(
        &self,
        name: &Arc<str>,
        profiles: Option<&Profiles>,
    ) -> Result<Arc<Tenant>, ProfileError> {
        match (&self.origin, profiles) {
            (Origin::Function(build), _) => {
                let source = FunctionSource::new(name.clone(), build.clone());
                let source: Arc<dyn TokenSource> = Arc::new(source);
                self.cached(name, CachedTokenSource::builder(source), None)
            }
            (Origin::Profiles(_), Some(profiles)) => {
                let settings = profiles.settings(&Selection::new().profile(&**name))?;
                self.profile_tenant(name, settings)
            }
            // A registry of profiles has loaded some.
            (Origin::Profiles(_), None) => Err(ProfileError::new("no profiles were loaded")),
        }
    }

    pub(crate) fn profile_tenant(
        &self,
        name: &str,
        settings: Settings,
    ) -> Result<Arc<Tenant>, ProfileError> {
        let settings = Arc::new(settings);
        let profile = ProfileSource::new(settings.clone()).sharing(self.shared.clone());
        let profile = Arc::new(profile);
        let source: Arc<dyn TokenSource> = profile.clone();
        let cache = settings.shared_cache_of(source, &self.shared.stores)?;
        self.cached(name, cache, Some(profile))
    }

    fn cached(
        &self,
        name: &str,
        cache: CacheBuilder<Arc<dyn TokenSource>>,
        profile: Option<Arc<ProfileSource>>,
    ) -> Result<Arc<Tenant>, ProfileError> {
        let cache = cache.name(name);
        let cache = match self.metrics {
            TenantMetrics::Shared => cache.metrics_label("tenants"),
            TenantMetrics::PerTenant => cache,
            TenantMetrics::None => cache.without_metrics(),
        };
        let cache = match &self.change_cache {
            // Caught, so that a reload applies the file to the other tenants.
            Some(change) => {
                catch_unwind(AssertUnwindSafe(|| change(name, cache))).map_err(|_| {
                    ProfileError::new("the function of `TenantsBuilder::cache` panicked")
                })?
            }
            None => cache,
        };
        let cache = Arc::new(cache.build());
        Ok(Arc::new(Tenant { cache, profile }))
    }

    /// Ends this task with the registry.
    pub(crate) fn end_with_it(&self, task: AbortHandle) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *watcher = Some(task);
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let watcher = self.watcher.get_mut();
        if let Some(watcher) = watcher.unwrap_or_else(PoisonError::into_inner) {
            watcher.abort();
        }
    }
}

/// Returns true if nobody holds the source: one reference is the map's own.
fn is_idle(source: &Arc<TenantSource>) -> bool {
    Arc::strong_count(source) == 1
}

impl State {
    fn in_use(&self, name: &str) -> Option<&Arc<TenantSource>> {
        self.tenants.get(name).filter(|source| !source.is_removed())
    }

    /// Takes tenants out until at most `limit` are left: those that nobody holds, first the one that was not used for the
    /// longest time.
    fn shrink(&mut self, limit: usize) -> Vec<Arc<TenantSource>> {
        let mut evicted = Vec::new();
        while self.tenants.len() > limit {
            let Some((last_used, name)) = self.victims.pop_front() else {
                self.find_victims();
                if self.victims.is_empty() {
                    break;
                }
                continue;
            };
            let source = self.tenants.get(&name);
            if source.is_some_and(|source| is_idle(source) && source.last_used() == last_used) {
                evicted.extend(self.tenants.remove(&name));
            }
        }
        evicted
    }

    fn find_victims(&mut self) {
        const AT_ONCE: usize = 64;
        let idle = self.tenants.iter().filter(|(_, source)| is_idle(source));
        let mut idle: Vec<_> = idle
            .map(|(name, source)| (source.last_used(), name.clone()))
            .collect();
        idle.sort_unstable();
        idle.truncate(AT_ONCE);
        self.victims = idle.into();
    }
}
