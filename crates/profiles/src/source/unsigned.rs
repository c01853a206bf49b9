//! The same without the features `jwt` and `jwt-ring`: an error.

use std::sync::Arc;

use hallpass_core::SecretSource;
use hallpass_endpoint::ClientAuthentication;

use crate::{error::ProfileError, settings::Settings};

type NotBuilt = Result<Arc<dyn ClientAuthentication>, ProfileError>;

pub(crate) fn client_secret_jwt(_: &Settings, _: Arc<dyn SecretSource>) -> NotBuilt {
    not_built("client_secret_jwt")
}

pub(crate) fn private_key_jwt(_: &Settings, _: Arc<dyn SecretSource>) -> NotBuilt {
    not_built("private_key_jwt")
}

pub(crate) fn workload_identity(_: Arc<dyn SecretSource>) -> NotBuilt {
    not_built("workload_identity")
}

fn not_built(method: &str) -> NotBuilt {
    Err(ProfileError::new(format!(
        "`authentication` is `{method}`, but this program was built without the feature `jwt`"
    ))
    .with_hint("build it with the feature `jwt` of `hallpass`"))
}
