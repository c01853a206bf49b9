use std::{path::PathBuf, sync::Arc};

use hallpass_core::SecretSource;
use hallpass_endpoint::BuildError;

use super::{
    key_location::{KeyLocation, TokenSelector},
    signer::Pkcs11Signer,
};
use crate::Algorithm;

/// A builder of a [`Pkcs11Signer`]; see [`Pkcs11Signer::builder`].
#[derive(Debug)]
#[must_use]
pub struct Pkcs11SignerBuilder {
    location: KeyLocation,
    token_label: Option<String>,
    slot: Option<u64>,
    key_id: Option<String>,
}

impl Pkcs11SignerBuilder {
    pub(super) fn new(module: PathBuf, algorithm: Algorithm, pin: Box<dyn SecretSource>) -> Self {
        let location = KeyLocation {
            module,
            algorithm,
            pin,
            selector: TokenSelector::Only,
            label: None,
            id: None,
        };
        Self {
            location,
            token_label: None,
            slot: None,
            key_id: None,
        }
    }

    /// Selects the token by its label. Default, without [`slot`](Self::slot): the only token present.
    pub fn token_label(mut self, label: impl Into<String>) -> Self {
        self.token_label = Some(label.into());
        self
    }

    /// Selects the token by its slot number instead of its [label](Self::token_label). Some modules renumber their slots
    /// at each start.
    pub fn slot(mut self, slot: u64) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Selects the private key by its label (`CKA_LABEL`).
    pub fn object_label(mut self, label: impl Into<String>) -> Self {
        self.location.label = Some(label.into());
        self
    }

    /// Selects the private key by its id (`CKA_ID`), bytes that pair it with its public key. With a label too, the key
    /// must match both.
    pub fn object_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.location.id = Some(id.into());
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
    /// label may have, both label and slot of the token are set, or neither label nor id of the key is set.
    pub fn build(self) -> Result<Pkcs11Signer, BuildError> {
        let mut location = self.location;
        if !location.module.is_absolute() {
            return Err(BuildError::new(
                "module",
                "it is not an absolute path; with a file name alone, the environment would decide which library is loaded",
            ));
        }
        location.selector = match (self.token_label, self.slot) {
            (Some(_), Some(_)) => {
                return Err(BuildError::new(
                    "token_label",
                    "`slot` selects the token too; set one of the two",
                ));
            }
            (Some(label), None) if label.len() > 32 => {
                return Err(BuildError::new(
                    "token_label",
                    "it is longer than 32 bytes, the maximum length of a token's label",
                ));
            }
            (Some(label), None) => TokenSelector::Label(label),
            (None, Some(slot)) => TokenSelector::Slot(slot),
            (None, None) => TokenSelector::Only,
        };
        if location.label.is_none() && location.id.is_none() {
            return Err(BuildError::new(
                "object_label",
                "no key is selected; set `object_label`, `object_id` or both",
            ));
        }
        Ok(Pkcs11Signer {
            location: Arc::new(location),
            key_id: self.key_id,
            state: Arc::default(),
        })
    }
}

impl Pkcs11Signer {
    /// Creates a builder of a signer from the module (the vendor's library) by its absolute path, the signature algorithm, and the
    /// source of the PIN.
    ///
    /// ECDSA uses `CKM_ECDSA` over a hash that is computed here, which every token supports; RSA uses
    /// `CKM_SHA256_RSA_PKCS` and `CKM_SHA256_RSA_PKCS_PSS`; Ed25519 uses `CKM_EDDSA`.
    pub fn builder(
        module: impl Into<PathBuf>,
        algorithm: Algorithm,
        pin: impl SecretSource + 'static,
    ) -> Pkcs11SignerBuilder {
        Pkcs11SignerBuilder::new(module.into(), algorithm, Box::new(pin))
    }
}
