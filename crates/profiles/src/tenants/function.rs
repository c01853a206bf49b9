//! A source that a function of the program builds.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};

use crate::{
    lazy::{Lazy, run_blocking},
    values::quoted_name,
};

/// A function that builds the source of a tenant.
pub(crate) type BuildSource =
    dyn Fn(&str) -> Result<Arc<dyn TokenSource>, Box<dyn Error + Send + Sync>> + Send + Sync;

/// The source of a tenant, which the first token request builds.
pub(crate) struct FunctionSource {
    tenant: Arc<str>,
    build: Arc<BuildSource>,
    built: Lazy<Arc<dyn TokenSource>>,
}

impl FunctionSource {
    pub(crate) fn new(tenant: Arc<str>, build: Arc<BuildSource>) -> Self {
        Self {
            tenant,
            build,
            built: Lazy::new(),
        }
    }

    async fn source(&self) -> Result<Arc<Arc<dyn TokenSource>>, TokenError> {
        let build = async {
            let (tenant, build) = (self.tenant.clone(), self.build.clone());
            let result = run_blocking(move || build(&tenant)).await?;
            result.map_err(|error| self.not_built(error))
        };
        self.built.get_or_build(build).await
    }

    /// Returns the error of the function: its own token error, or one of the configuration.
    fn not_built(&self, error: Box<dyn Error + Send + Sync>) -> TokenError {
        error.downcast::<TokenError>().map_or_else(
            |error| {
                let tenant = quoted_name(&self.tenant);
                let message = format!("the source of the tenant {tenant} was not built: {error}");
                TokenError::configuration(message).with_source(error)
            },
            |error| *error,
        )
    }
}

#[async_trait]
impl TokenSource for FunctionSource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.source().await?.token(request).await
    }

    fn invalidate(&self, token: &AccessToken) {
        if let Some(source) = self.built.get() {
            source.invalidate(token);
        }
    }

    /// Refuses tokens of a shared store until the source is built: its rules are not known before.
    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        let source = self.built.get();
        let source =
            source.ok_or_else(|| TokenError::unavailable("the source is not built yet"))?;
        source.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        let source = self.built.get();
        source.map_or(0, |source| source.credential_epoch())
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        self.source().await.ok()?.credential_digest().await
    }

    fn binds_tokens(&self) -> bool {
        self.built.get().is_some_and(|source| source.binds_tokens())
    }
}
