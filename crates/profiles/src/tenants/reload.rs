//! Reloading the configuration file.

use std::{
    collections::HashMap,
    future::poll_fn,
    path::PathBuf,
    sync::{Arc, PoisonError},
    task::Poll,
};

use super::{
    registry::{Origin, Registry},
    source::{Tenant, TenantSource},
};
use crate::{
    error::ProfileError, lazy::run_blocking, profiles::Profiles, selection::Selection,
    source::ProfileSource,
};

/// The tenants in use that a reload changed, by name.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Reload {
    /// The tenants whose settings changed. Each has a new source; its old tokens are dropped.
    pub changed: Vec<String>,
    /// The tenants whose profiles were removed. Their sources refuse, and their caches are shut down.
    pub removed: Vec<String>,
    /// The tenants whose profiles have an error. They keep their settings.
    pub failed: Vec<(String, ProfileError)>,
}

/// A reload whose tenants have their settings.
struct Applied {
    reload: Reload,
    removed: Vec<Arc<Tenant>>,
    /// The sources whose files of certificate authorities were replaced.
    outdated: Vec<(String, Arc<ProfileSource>)>,
}

impl Registry {
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<Reload, ProfileError> {
        let reloading = self.reloading.clone().lock_owned().await;
        let registry = self.clone();
        // In one piece, so that a cancelled caller leaves nothing half done.
        let applied = run_blocking(move || {
            let applied = registry.apply();
            (reloading, applied)
        });
        let applied = applied
            .await
            .map_err(|error| ProfileError::new(error.to_string()));
        let (_reloading, applied) = applied?;
        let mut applied = applied?;
        shut_down(applied.removed).await;
        for (name, source) in applied.outdated {
            // It is built from files, without the network.
            if let Err(error) = source.rebuild().await {
                applied
                    .reload
                    .fail(&name, ProfileError::new(error.to_string()));
            }
        }
        Ok(applied.reload)
    }

    /// Reads the file, and applies it to the tenants in use.
    fn apply(&self) -> Result<Applied, ProfileError> {
        let result = self.load().map(|profiles| self.apply_profiles(profiles));
        let error = result.as_ref().err().cloned();
        let last = self.reload_error.lock();
        let last = &mut *last.unwrap_or_else(PoisonError::into_inner);
        let text = |error: &Option<ProfileError>| error.as_ref().map(ToString::to_string);
        match &error {
            // The watch tries again at each poll.
            Some(error) if text(last).as_ref() == Some(&error.to_string()) => {
                tracing::debug!(%error, "profiles not reloaded");
            }
            Some(error) => tracing::warn!(%error, "profiles not reloaded"),
            None => {}
        }
        *last = error;
        result
    }

    fn load(&self) -> Result<Option<Arc<Profiles>>, ProfileError> {
        let Origin::Profiles(builder) = &self.origin else {
            return Ok(None);
        };
        let profiles = builder.clone().load()?;
        let before = self.read().profiles.clone();
        let lost = before.is_some_and(|before| before.has_file()) && !profiles.has_file();
        if let Some(path) = profiles.path().filter(|_| lost) {
            // The user's default file, without which a program may start.
            let message = format!("the configuration file {} no longer exists", path.display());
            return Err(ProfileError::new(message));
        }
        Ok(Some(Arc::new(profiles)))
    }

    fn apply_profiles(&self, profiles: Option<Arc<Profiles>>) -> Applied {
        let mut applied = Applied {
            reload: Reload::default(),
            removed: Vec::new(),
            outdated: Vec::new(),
        };
        let Some(profiles) = profiles else {
            return applied;
        };
        let sources: Vec<_> = {
            let mut state = self.write();
            state.profiles = Some(profiles.clone());
            state.reloads += 1;
            state.tenants.values().cloned().collect()
        };
        let mut files = CertificateFiles::default();
        for source in sources {
            self.apply_to(&source, &profiles, &mut files, &mut applied);
        }
        // A removed tenant that somebody holds comes back with its profile.
        let held = |source: &Arc<TenantSource>| Arc::strong_count(source) > 1;
        let mut state = self.write();
        state
            .tenants
            .retain(|_, source| !source.is_removed() || held(source));
        drop(state);
        let Reload {
            changed,
            removed,
            failed,
        } = &mut applied.reload;
        changed.sort_unstable();
        removed.sort_unstable();
        let (changed, removed, failed) = (changed.len(), removed.len(), failed.len());
        tracing::info!(changed, removed, failed, "profiles reloaded");
        applied
    }

    fn apply_to(
        &self,
        source: &TenantSource,
        profiles: &Profiles,
        files: &mut CertificateFiles,
        applied: &mut Applied,
    ) {
        let name = source.name();
        let current = source.current();
        if !profiles.has(name) {
            if let Some(tenant) = source.replace(None) {
                applied.removed.push(tenant);
                applied.reload.removed.push(name.to_owned());
            }
            return;
        }
        let settings = match profiles.settings(&Selection::new().profile(name)) {
            Ok(settings) => settings,
            Err(error) => return applied.reload.fail(name, error),
        };
        let profile = current.as_ref().and_then(|tenant| tenant.profile.as_ref());
        if let Some(profile) = profile
            && profile.settings().is_equivalent(&settings)
        {
            if files.changed(profile) {
                applied.outdated.push((name.to_owned(), profile.clone()));
            }
            return;
        }
        match self.profile_tenant(name, settings) {
            Ok(tenant) => {
                if self.replace(source, tenant) {
                    applied.reload.changed.push(name.to_owned());
                }
            }
            Err(error) => applied.reload.fail(name, error),
        }
    }

    /// Replaces the cache of a tenant, unless it was removed meanwhile: the registry then has another source, or none.
    fn replace(&self, source: &TenantSource, tenant: Arc<Tenant>) -> bool {
        let state = self.read();
        let known = state.tenants.get(source.name());
        let is_known = known.is_some_and(|known| std::ptr::eq(&raw const **known, source));
        if is_known {
            source.replace(Some(tenant));
        }
        is_known
    }
}

impl Reload {
    fn fail(&mut self, name: &str, error: ProfileError) {
        tracing::warn!(profile = name, %error, "profile not reloaded");
        self.failed.push((name.to_owned(), error));
    }
}

/// Shuts the caches of tenants down: all at the first poll, also if the caller is cancelled later.
pub(crate) async fn shut_down(tenants: impl IntoIterator<Item = Arc<Tenant>>) {
    let shutdown = |tenant: Arc<Tenant>| Box::pin(async move { tenant.cache.shutdown().await });
    let mut shutdowns: Vec<_> = tenants.into_iter().map(shutdown).collect();
    let all = poll_fn(|context| {
        shutdowns.retain_mut(|shutdown| shutdown.as_mut().poll(context).is_pending());
        match &*shutdowns {
            [] => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    all.await;
}

/// The files of certificate authorities, each read once in a reload.
#[derive(Default)]
struct CertificateFiles(HashMap<PathBuf, Option<Vec<u8>>>);

impl CertificateFiles {
    /// Returns true if the source is built with other certificates than the file has now. A file that cannot be read
    /// counts as changed, so that the error is reported.
    fn changed(&mut self, source: &ProfileSource) -> bool {
        let settings = source.settings();
        let (Some(path), Some(used)) = (&settings.ca_file, source.ca_certificates_in_use()) else {
            return false;
        };
        let known = self.0.entry(path.clone());
        let now = known.or_insert_with(|| settings.ca_certificates().ok().flatten());
        now.as_ref() != Some(&used)
    }
}
