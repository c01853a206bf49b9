//! The configuration file and the environment, read once.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hallpass_cache::CachedTokenSource;
use hallpass_core::TokenSource;

use crate::{
    environment::{self, Variables},
    error::ProfileError,
    file::{self, Choice, FileContents, FileStamp},
    layer::Layer,
    paths::{self, ConfigFile},
    provider::{Provider, ProviderSettings},
    security,
    selection::Selection,
    server,
    settings::Settings,
    shared::Shared,
    source::ProfileSource,
};

/// The profiles of a configuration file, and the environment.
///
/// The file is read by [`load`](Self::load) or [`ProfilesBuilder::load`]; load again after a change. A secret is read
/// when a token is requested, so it can be rotated meanwhile.
pub struct Profiles {
    variables: Variables,
    file: ConfigFile,
    contents: Option<FileContents>,
    providers: Vec<Provider>,
    shared: Arc<Shared>,
}

impl Profiles {
    /// Reads the configuration file that `HALLPASS_CONFIG` names, or the user's `hallpass/config.toml` if it exists.
    /// Blocks for the time of a small file: call it when the program starts.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the file cannot be read. Errors in a profile are reported when the profile is used.
    pub fn load() -> Result<Self, ProfileError> {
        Self::builder().load()
    }

    /// Reads the text of a configuration file, if there is one.
    #[cfg(feature = "internals")]
    pub(crate) fn of_text(text: Option<&str>, variables: Variables) -> Result<Self, ProfileError> {
        let path = Path::new("config.toml");
        let contents = text.map(|text| FileContents::of_text(path, text));
        Ok(Self {
            variables,
            file: ConfigFile {
                path: Some(path.to_owned()),
                named_by: None,
            },
            contents: contents.transpose()?,
            providers: Vec::new(),
            shared: Arc::default(),
        })
    }

    /// Creates a builder, for another file.
    pub fn builder() -> ProfilesBuilder {
        ProfilesBuilder {
            file: None,
            set_by: "ProfilesBuilder::file",
            providers: Vec::new(),
        }
    }

    /// Creates the cached source of this profile, which has precedence over the environment. No I/O: TLS is set
    /// up, and files are read, by the first token request. Sources with equal settings for it share their connections.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the profile does not exist, or its settings are wrong or need a feature that is missing.
    pub fn source(
        &self,
        profile: &str,
    ) -> Result<Arc<CachedTokenSource<ProfileSource>>, ProfileError> {
        self.cached(&Selection::new().profile(profile))
    }

    /// Creates the cached source of the profile that `HALLPASS_PROFILE` names, or of the profile `default`, with the
    /// settings of the environment over it. Neither file nor profile is required if the environment is sufficient.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the settings are wrong or incomplete.
    pub fn default_source(&self) -> Result<Arc<CachedTokenSource<ProfileSource>>, ProfileError> {
        self.cached(&Selection::new())
    }

    fn cached(
        &self,
        selection: &Selection,
    ) -> Result<Arc<CachedTokenSource<ProfileSource>>, ProfileError> {
        self.source_of(Arc::new(self.settings(selection)?))
    }

    /// Creates the cached source of these settings.
    pub(crate) fn source_of(
        &self,
        settings: Arc<Settings>,
    ) -> Result<Arc<CachedTokenSource<ProfileSource>>, ProfileError> {
        let source = ProfileSource::new(settings).sharing(self.shared.clone());
        Ok(Arc::new(source.shared_cache_builder()?.build()))
    }

    /// Returns the effective settings of a selection.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if they are wrong or incomplete.
    pub fn settings(&self, selection: &Selection) -> Result<Settings, ProfileError> {
        let profile = self.layer(selection.profile.as_deref())?;
        let environment = environment::read_layer(&self.variables, profile.is_some())?;
        let (name, profile) = match profile {
            Some((name, layer)) => (Some(name), layer),
            None => (None, Layer::default()),
        };
        // A variable set in the shell does not change a profile that is chosen explicitly.
        let (one, other) = if selection.profile.is_some() {
            (profile, environment)
        } else {
            (environment, profile)
        };
        let layer = selection.layer.clone().over(one).over(other);
        if selection.danger_allow_mixed_settings {
            tracing::warn!("settings from different sources are allowed");
        } else {
            layer.client.check(&layer.server)?;
        }
        let settings = Settings::new(name, self.file.path.clone(), layer, &self.providers)?;
        security::check(&settings)?;
        Ok(settings)
    }

    /// Returns the name and the settings of this profile, or of the default one.
    fn layer(&self, profile: Option<&str>) -> Result<Option<(String, Layer)>, ProfileError> {
        let variable;
        let chosen = if let Some(name) = profile {
            Some(Choice {
                name,
                variable: None,
            })
        } else {
            variable = self.variables.text("HALLPASS_PROFILE")?;
            variable.as_deref().map(|name| Choice {
                name,
                variable: Some("HALLPASS_PROFILE"),
            })
        };
        file::profile(&self.file, self.contents.as_ref(), chosen)
    }

    /// Returns true if the file has a profile of this name, with or without an error.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.contents
            .as_ref()
            .is_some_and(|contents| contents.has(name))
    }

    /// Returns the path of the file, whether it exists or not.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.path.as_deref()
    }

    /// Returns true if the file exists.
    pub(crate) fn has_file(&self) -> bool {
        self.contents.is_some()
    }

    /// Returns the stamp of the file that was read.
    pub(crate) fn stamp(&self) -> Option<FileStamp> {
        self.contents.as_ref()?.stamp
    }

    /// Returns the names of the file's profiles, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contents.iter().flat_map(FileContents::names)
    }

    /// Returns warnings about the file, each a sentence for a person: another user can write to it, for example.
    /// [`load`](Self::load) does not log them.
    pub fn warnings(&self) -> &[String] {
        self.contents
            .as_ref()
            .map_or(&[], |contents| &contents.warnings)
    }
}

impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The file's text may contain a secret in the wrong place.
        f.debug_struct("Profiles")
            .field("file", &self.file.path)
            .finish_non_exhaustive()
    }
}

/// A builder of [`Profiles`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ProfilesBuilder {
    file: Option<PathBuf>,
    set_by: &'static str,
    providers: Vec<Provider>,
}

impl ProfilesBuilder {
    /// Sets the configuration file, which must exist.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Sets the name that errors use for the setting of the file, such as a flag: `--config`.
    pub fn file_set_by(mut self, flag: &'static str) -> Self {
        self.set_by = flag;
        self
    }

    /// Registers a provider of another crate: profiles with `provider = "NAME"` get the source that `build` returns.
    ///
    /// `build` runs at the first token request of each source, and again after an error, on a thread for blocking work.
    /// It sends no request; its source caches no token.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use hallpass_core::TokenSource;
    /// use hallpass_profiles::{ProfileError, Profiles, ProviderSettings};
    ///
    /// /// Acme's token endpoint is named by a region.
    /// fn acme(settings: &mut ProviderSettings<'_>) -> Result<Arc<dyn TokenSource>, ProfileError> {
    ///     let region = settings.required_text("region")?;
    ///     let endpoint = format!("https://{region}.login.acme.example/token");
    ///     Ok(Arc::new(settings.client_credentials(endpoint)?.build()?))
    /// }
    ///
    /// let profiles = Profiles::builder().provider("acme", acme);
    /// ```
    ///
    /// ```toml
    /// [profile.orders]
    /// provider = "acme"
    /// provider_settings = { region = "eu" }
    /// client_id = "orders-service"
    /// client_secret = "file:/run/secrets/orders"
    /// ```
    pub fn provider(
        mut self,
        name: &str,
        build: impl Fn(&mut ProviderSettings<'_>) -> Result<Arc<dyn TokenSource>, ProfileError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.providers.push(Provider::new(name, build));
        self
    }

    /// Reads the file. Blocks for the time of a small file.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the file cannot be read, or a registered provider has the name of another one.
    pub fn load(self) -> Result<Profiles, ProfileError> {
        self.load_with(Variables::of_this_process())
    }

    pub(crate) fn load_with(self, variables: Variables) -> Result<Profiles, ProfileError> {
        server::check_registered(&self.providers)?;
        let file = paths::config_file(self.file.map(|path| (path, self.set_by)), &variables);
        let contents = match &file.path {
            Some(path) => file::read_file(path, file.named_by)?,
            None => None,
        };
        Ok(Profiles {
            variables,
            file,
            contents,
            providers: self.providers,
            shared: Arc::default(),
        })
    }
}
