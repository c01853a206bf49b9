use std::sync::Arc;

use hallpass::cache::TokenStore;

use crate::{
    config::{RedisSettings, Settings},
    failure::Failure,
};

pub(crate) fn open(_: &Settings, redis: &RedisSettings) -> Result<Arc<dyn TokenStore>, Failure> {
    Err(not_built(redis))
}

#[allow(clippy::unused_async)] // As with the feature.
pub(crate) async fn check(_: &Settings, redis: &RedisSettings) -> Result<String, Failure> {
    Err(not_built(redis))
}

fn not_built(redis: &RedisSettings) -> Failure {
    Failure::configuration(format!(
        "{}: `redis`: this command was built without the feature `redis`",
        redis.location
    ))
    .with_remedy("install it with `cargo install --locked hallpass-cli --features redis`")
}
