use std::{path::PathBuf, sync::Arc};

use hallpass_core::SecretSource;
use hallpass_endpoint::BuildError;

use super::{
    Pkcs11Signer,
    place::{Place, Which},
};
use crate::Algorithm;

/// Builds a [`Pkcs11Signer`]; see [`Pkcs11Signer::builder`].
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

    /// The token with this label. Without it, and without [`slot`](Self::slot), it is the only one that there is.
    pub fn token_label(mut self, label: impl Into<String>) -> Self {
        self.place.which = Which::Label(label.into());
        self
    }

    /// The token in the slot of this number, in place of one with a label. Some modules number their slots anew at
    /// each start.
    pub fn slot(mut self, slot: u64) -> Self {
        self.place.which = Which::Slot(slot);
        self
    }

    /// The private key with this label (`CKA_LABEL`).
    pub fn object_label(mut self, label: impl Into<String>) -> Self {
        self.place.label = Some(label.into());
        self
    }

    /// The private key with this number (`CKA_ID`), bytes that pair it with its public key. With a label too, the key
    /// must have both.
    pub fn object_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.place.id = Some(id.into());
        self
    }

    /// Names the key in the header of what it signs: the `kid` under which the server knows it. Default: none.
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// The signer. Neither the module nor the token is asked yet; [`Pkcs11Signer::check`] does it.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] where the module's path is not absolute, the token's label is longer than 32 bytes, which none
    /// is, or neither label nor number of the key is set.
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
