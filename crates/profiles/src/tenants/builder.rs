use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, RwLock, atomic::AtomicU64},
    time::Duration,
};

use hallpass_cache::CacheBuilder;
use hallpass_core::TokenSource;
use tokio::runtime::Handle;

use super::{
    Tenants,
    registry::{ChangeCache, Origin, Registry, State, TenantMetrics},
    watcher,
};
use crate::{
    error::ProfileError,
    profiles::{Profiles, ProfilesBuilder},
};

/// A builder of [`Tenants`].
#[must_use]
pub struct TenantsBuilder {
    max_tenants: usize,
    metrics: TenantMetrics,
    change_cache: Option<Box<ChangeCache>>,
    watch: Option<Duration>,
}

impl TenantsBuilder {
    pub(crate) fn new() -> Self {
        Self {
            max_tenants: 10_000,
            metrics: TenantMetrics::Shared,
            change_cache: None,
            watch: None,
        }
    }

    /// Sets the maximum number of tenants with a cache; beyond it, the one that was not used for the longest time is
    /// evicted with its token. A tenant whose source the program holds is not evicted, so that their number may exceed
    /// this one. Default: 10,000.
    pub fn max_tenants(mut self, tenants: usize) -> Self {
        self.max_tenants = tenants.max(1);
        self
    }

    /// Sets the label of the tenants' metrics. Default: one for all tenants.
    pub fn metrics(mut self, metrics: TenantMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets a function that changes the settings of a tenant's cache, such as its shared store or its label in metrics.
    /// It takes the tenant's name, and is called when the cache is created; it must not block.
    ///
    /// ```
    /// use hallpass_profiles::Tenants;
    ///
    /// let builder = Tenants::builder().cache(|_tenant, cache| cache.max_keys(100));
    /// ```
    pub fn cache(
        mut self,
        change: impl Fn(&str, CacheBuilder<Arc<dyn TokenSource>>) -> CacheBuilder<Arc<dyn TokenSource>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.change_cache = Some(Box::new(change));
        self
    }

    /// Reloads the profiles when their file has changed. At this interval, a background task compares the metadata of the
    /// file, and of the files of certificate authorities, with those of the last poll: a change is applied at the second
    /// poll that sees it, so that a file is not read while it is being written. The task ends with the registry, or with
    /// the runtime in which it was loaded. Default: no reload but by [`Tenants::reload`].
    ///
    /// Without effect on [`build`](Self::build), whose tenants come from no file.
    ///
    /// Ten seconds suit most programs. Intervals below 100 ms count as 100 ms.
    pub fn watch(mut self, interval: Duration) -> Self {
        self.watch = Some(interval.max(Duration::from_millis(100)));
        self
    }

    /// Loads the profiles: each is a tenant. Blocks for the time of a small file, so call it when the program starts.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the file cannot be read, or if it is to be [watched](Self::watch) and there is no tokio
    /// runtime. Errors in a profile are reported when its source is requested.
    pub fn load(self, profiles: ProfilesBuilder) -> Result<Tenants, ProfileError> {
        let runtime = self.watch.map(|_| runtime()).transpose()?;
        let interval = self.watch;
        let loaded = profiles.clone().load()?;
        let registry = self.registry(Origin::Profiles(profiles), Some(Arc::new(loaded)));
        if let Some((runtime, interval)) = runtime.zip(interval) {
            watcher::start(&registry, &runtime, interval);
        }
        Ok(Tenants(registry))
    }

    /// Creates tenants whose sources this function builds. It takes the name of a tenant, and returns a source without a
    /// cache, or an error: a [`TokenError`](hallpass_core::TokenError) as it is, any other as one of the configuration,
    /// whose text must not contain a secret. It is called by a tenant's first token request, on a thread for work that
    /// blocks.
    ///
    /// See [`Tenants::from_fn`] for an example.
    pub fn build<F, S, E>(self, function: F) -> Tenants
    where
        F: Fn(&str) -> Result<S, E> + Send + Sync + 'static,
        S: TokenSource + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let build = move |tenant: &str| -> Result<Arc<dyn TokenSource>, _> {
            let source = function(tenant).map_err(Into::into)?;
            Ok(Arc::new(source))
        };
        Tenants(self.registry(Origin::Function(Arc::new(build)), None))
    }

    fn registry(self, origin: Origin, profiles: Option<Arc<Profiles>>) -> Arc<Registry> {
        Arc::new(Registry {
            origin,
            max_tenants: self.max_tenants,
            metrics: self.metrics,
            change_cache: self.change_cache,
            shared: Arc::default(),
            state: RwLock::new(State {
                profiles,
                ..State::default()
            }),
            uses: AtomicU64::new(0),
            reloading: Arc::default(),
            reload_error: Mutex::default(),
            watcher: Mutex::default(),
        })
    }
}

impl Tenants {
    /// Loads the profiles of the configuration file that `HALLPASS_CONFIG` names, or of the user's `hallpass/config.toml`;
    /// [`TenantsBuilder::load`] takes another file. Blocks for the time of a small file.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the file cannot be read.
    pub fn load() -> Result<Self, ProfileError> {
        Self::builder().load(Profiles::builder())
    }

    /// Creates tenants whose sources this function builds, with the default settings: [`TenantsBuilder::build`].
    ///
    /// Give all sources one [`HttpTransport`](hallpass_endpoint::HttpTransport), so that they share its connections:
    ///
    /// ```
    /// use hallpass_core::Secret;
    /// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, HttpTransport};
    /// use hallpass_profiles::Tenants;
    ///
    /// # fn client_of(tenant: &str) -> Result<(String, Secret), hallpass_core::SecretError> {
    /// #     Ok((format!("client-{tenant}"), Secret::new("s3cr3t")?))
    /// # }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let transport = HttpTransport::builder().build()?;
    /// let tenants = Tenants::from_fn(move |tenant| {
    ///     let (id, secret) = client_of(tenant)?; // from a database, for example
    ///     let source = ClientCredentials::builder("https://login.example/token", id, ClientSecretBasic::new(secret));
    ///     source.transport(transport.clone()).build().map_err(Box::<dyn std::error::Error + Send + Sync>::from)
    /// });
    /// # let _ = tenants;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_fn<F, S, E>(function: F) -> Self
    where
        F: Fn(&str) -> Result<S, E> + Send + Sync + 'static,
        S: TokenSource + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::builder().build(function)
    }

    /// Creates a builder, for other settings than the default ones.
    pub fn builder() -> TenantsBuilder {
        TenantsBuilder::new()
    }
}

/// Returns the runtime of the task that watches the file.
fn runtime() -> Result<Handle, ProfileError> {
    Handle::try_current().map_err(|_| {
        ProfileError::new("the configuration file cannot be watched outside of a tokio runtime")
            .with_hint("call `TenantsBuilder::load` from within a tokio runtime")
    })
}

impl fmt::Debug for TenantsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantsBuilder")
            .field("max_tenants", &self.max_tenants)
            .field("metrics", &self.metrics)
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}
