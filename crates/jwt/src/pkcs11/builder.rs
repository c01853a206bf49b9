use std::{path::PathBuf, sync::Arc};

use hallpass_core::SecretSource;
use hallpass_endpoint::BuildError;

use super::{
    Pkcs11Signer,
    place::{Place, Which},
};
use crate::Algorithm;

/// A builder of a [`Pkcs11Signer`]; see [`Pkcs11Signer::builder`].
#[derive(Debug)]
#[must_use]
pub struct Pkcs11SignerBuilder {
    place: Place,
    key_id: Option<String>,
}

impl Pkcs11SignerBuilder {
    pub(super) fn new(module: PathBuf, algorithm: Algorithm, pin: Box<dyn SecretSource>) -> Self {
        let place = Place {
            module,
            algorithm,
            pin,
            which: Which::Only,
            label: None,
            id: None,
        };
        Self {
            place,
            key_id: None,
        }
    }

    /// Selects the token by its label. Default, without [`slot`](Self::slot): the only token present.
    pub fn token_label(mut self, label: impl Into<String>) -> Self {
        self.place.which = Which::Label(label.into());
        self
    }

    /// Selects the token by its slot number instead of its label. Some modules renumber their slots at each start.
    pub fn slot(mut self, slot: u64) -> Self {
        self.place.which = Which::Slot(slot);
        self
    }

    /// Selects the private key by its label (`CKA_LABEL`).
    pub fn object_label(mut self, label: impl Into<String>) -> Self {
        self.place.label = Some(label.into());
        self
    }

    /// Selects the private key by its id (`CKA_ID`), bytes that pair it with its public key. With a label too, the key
    /// must match both.
    pub fn object_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.place.id = Some(id.into());
        self
    }

    /// Sets the `kid` in the header of an assertion: the key's identifier at the server. Default: none.
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Builds the signer without loading the module or contacting the token; [`Pkcs11Signer::check`] does so.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the module's path is not absolute, the token's label is longer than the 32 bytes that a
    /// label may have, or neither label nor id of the key is set.
    pub fn build(self) -> Result<Pkcs11Signer, BuildError> {
        let place = self.place;
        if !place.module.is_absolute() {
            return Err(BuildError::new(
                "module",
                "it is no absolute path; a library's name alone would be sought where the environment says",
            ));
        }
        if matches!(&place.which, Which::Label(label) if label.len() > 32) {
            return Err(BuildError::new(
                "token_label",
                "it is longer than 32 bytes, which no token's label is",
            ));
        }
        if place.label.is_none() && place.id.is_none() {
            return Err(BuildError::new(
                "object_label",
                "no key is named; set its label, its number by `object_id`, or both",
            ));
        }
        Ok(Pkcs11Signer {
            place: Arc::new(place),
            key_id: self.key_id,
            state: Arc::default(),
        })
    }
}
