//! The same without the feature `redis`: an error.

use std::sync::Arc;

use hallpass_cache::TokenStore;

use crate::{error::ProfileError, redis::RedisSettings, settings::Settings};

#[derive(Default)]
pub(crate) struct Stores;

impl Stores {
    #[allow(clippy::unused_self)] // As with the feature.
    pub(crate) fn store(
        &self,
        _: &Settings,
        redis: &RedisSettings,
    ) -> Result<Arc<dyn TokenStore>, ProfileError> {
        Err(ProfileError::new(format!(
            "{}: `redis`: this program was built without the feature `redis`",
            redis.location
        ))
        .with_hint(
            "build it with the feature `redis` of `hallpass`, or of `hallpass-cli` for the command",
        ))
    }
}
