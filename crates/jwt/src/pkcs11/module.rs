//! The vendors' libraries, each loaded and initialized once per process.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};

use super::error::Pkcs11Error;

/// The loaded modules. A module's state belongs to the whole process: it is neither finalized, which would end the
/// sessions of others, nor unloaded, since its own threads may run.
static LOADED: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

/// Loads and initializes the module at this path.
pub(super) fn load(path: &Path) -> Result<Pkcs11, Pkcs11Error> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = loaded.iter().find(|(known, _)| known == path);
    let module = if let Some((_, module)) = known {
        module.clone()
    } else {
        let module = Pkcs11::new(path).map_err(|error| Pkcs11Error::not_loaded(path, error))?;
        loaded.push((path.to_owned(), module.clone()));
        module
    };
    // Each time, since other code in this process may have finalized it.
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(error) => Err(error.into()),
    }
}
