//! The same without the features `jwt` and `jwt-ring`: an error.

use std::sync::Arc;

use hallpass_core::{Prover, SecretSource};
use hallpass_endpoint::ClientAuthentication;

use super::not_built::{not_built, not_built_for};
use crate::{error::ProfileError, settings::Settings};

type NotBuilt = Result<Arc<dyn ClientAuthentication>, ProfileError>;

pub(crate) fn client_secret_jwt(_: &Settings, _: Arc<dyn SecretSource>) -> NotBuilt {
    Err(not_built("client_secret_jwt", "jwt"))
}

pub(crate) fn private_key_jwt(_: &Settings, _: Arc<dyn SecretSource>) -> NotBuilt {
    Err(not_built("private_key_jwt", "jwt"))
}

pub(crate) fn workload_identity(_: Arc<dyn SecretSource>) -> NotBuilt {
    Err(not_built("workload_identity", "jwt"))
}

pub(crate) fn spiffe_jwt(_: Arc<dyn SecretSource>) -> NotBuilt {
    Err(not_built("spiffe_jwt", "unstable-spiffe"))
}

pub(super) fn prover(settings: &Settings) -> Result<Option<Arc<dyn Prover>>, ProfileError> {
    match &settings.dpop {
        Some(_) => Err(not_built_for("`dpop` is set", "jwt")),
        None => Ok(None),
    }
}
