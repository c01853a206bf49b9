//! Providers of other crates, which a program registers.

mod settings;
mod table;

use std::{fmt, sync::Arc};

use hallpass_core::TokenSource;

use crate::error::ProfileError;

pub use settings::ProviderSettings;
pub(crate) use settings::ServerContext;
pub(crate) use table::{Table, Value};

/// A provider that the program registered: a name, and the function that builds a source from the settings of a profile.
#[derive(Clone)]
pub(crate) struct Provider {
    name: Arc<str>,
    build: Arc<BuildSource>,
}

type BuildSource =
    dyn Fn(&mut ProviderSettings<'_>) -> Result<Arc<dyn TokenSource>, ProfileError> + Send + Sync;

impl Provider {
    pub(crate) fn new(
        name: &str,
        build: impl Fn(&mut ProviderSettings<'_>) -> Result<Arc<dyn TokenSource>, ProfileError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            build: Arc::new(build),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Builds the source of a profile with these settings, each of which must have an effect.
    pub(crate) fn build(
        &self,
        table: &Table,
        context: &dyn ServerContext,
    ) -> Result<Arc<dyn TokenSource>, ProfileError> {
        let mut settings = ProviderSettings::new(&self.name, table, context);
        let source = (self.build)(&mut settings)?;
        settings.check_effects()?;
        Ok(source)
    }
}

/// Two registrations are equal only if they are the same one: functions cannot be compared.
impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.build, &other.build)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.name).finish()
    }
}
