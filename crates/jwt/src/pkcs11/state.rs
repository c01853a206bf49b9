//! The session with the token, and the outcome of earlier ones.

use cryptoki::{
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::ObjectHandle,
    session::{Session, UserType},
    types::AuthPin,
};
use hallpass_core::{Secret, TokenError};

use super::{
    error::{self, Pkcs11Error},
    key_location::KeyLocation,
    module,
};
use crate::Algorithm;

#[derive(Default)]
pub(super) struct State {
    open: Option<OpenSession>,
    /// True if the token was present before: if it is not found now, it was removed and not misnamed.
    seen: bool,
    refused: Option<Secret>,
}

impl State {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Signs in the open session; returns `None` if it has ended.
    pub(super) fn sign(
        &mut self,
        location: &KeyLocation,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, TokenError> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        match open.sign(location, message) {
            Err(error) if error.ends_session() => Ok(None),
            signed => {
                self.open = Some(open);
                signed.map(Some).map_err(|error| location.describe(error))
            }
        }
    }

    /// Opens a session with this PIN, unless the token has refused it.
    pub(super) fn open(
        &mut self,
        location: &KeyLocation,
        pin: Secret,
    ) -> Result<&OpenSession, TokenError> {
        let refused = self.refused.as_ref();
        if refused.is_some_and(|refused| refused.matches(&pin)) {
            return Err(error::pin_refused());
        }
        match OpenSession::new(location, &pin, self.seen) {
            Ok(open) => {
                self.seen = true;
                self.refused = None;
                Ok(self.open.insert(open))
            }
            Err(error) => {
                if error.is_pin_refused() {
                    location.pin.refused(&pin);
                    self.refused = Some(pin);
                }
                Err(location.describe(error))
            }
        }
    }
}

/// A session with a logged-in user, and the key that was found in it.
pub(super) struct OpenSession {
    session: Session,
    key: ObjectHandle,
}

impl OpenSession {
    fn new(location: &KeyLocation, pin: &Secret, seen: bool) -> Result<Self, Pkcs11Error> {
        let module = module::load(&location.module)?;
        let slot = location.slot(&module, seen)?;
        let session = module.open_ro_session(slot)?;
        let pin = AuthPin::from(pin.expose().to_owned());
        match session.login(UserType::User, Some(&pin)) {
            // Another session of this process has logged in: the login applies to the whole process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(error.into()),
        }
        let key = location.key(&session)?;
        Ok(Self { session, key })
    }

    pub(super) fn sign(
        &self,
        location: &KeyLocation,
        message: &[u8],
    ) -> Result<Vec<u8>, Pkcs11Error> {
        let sign = |mechanism, data: &[u8]| self.session.sign(&mechanism, self.key, data);
        let signature = match location.algorithm {
            algorithm @ (Algorithm::Es256 | Algorithm::Es384) => {
                // Not every token hashes.
                let hash = algorithm.hash(message);
                sign(Mechanism::Ecdsa, hash.as_deref().unwrap_or(message))
            }
            Algorithm::EdDsa => {
                let params = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                sign(Mechanism::Eddsa(params), message)
            }
            Algorithm::Rs256 => sign(Mechanism::Sha256RsaPkcs, message),
            Algorithm::Ps256 => {
                // The salt is as long as the hash (RFC 7518 section 3.5).
                let params = PkcsPssParams {
                    hash_alg: MechanismType::SHA256,
                    mgf: PkcsMgfType::MGF1_SHA256,
                    s_len: 32.into(),
                };
                sign(Mechanism::Sha256RsaPkcsPss(params), message)
            }
        };
        Ok(signature?)
    }
}
