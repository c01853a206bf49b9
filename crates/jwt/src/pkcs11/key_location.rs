//! The lookup of the token and the key in it.

use std::{fmt::Write as _, path::PathBuf};

use cryptoki::{
    context::Pkcs11,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    slot::Slot,
};
use hallpass_core::{SecretSource, TextFilter, TokenError};

use super::error::Pkcs11Error;
use crate::Algorithm;

/// The selection of a key: its module, token and object, and the PIN for it.
#[derive(Debug)]
pub(super) struct KeyLocation {
    pub(super) module: PathBuf,
    pub(super) selector: TokenSelector,
    pub(super) label: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) algorithm: Algorithm,
    pub(super) pin: Box<dyn SecretSource>,
}

/// The selection of one of the module's tokens.
#[derive(Debug)]
pub(super) enum TokenSelector {
    Only,
    Label(String),
    Slot(u64),
}

/// The object identifiers of curves, as DER (RFC 5480 section 2.1.1.1, RFC 8410 section 3).
const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
/// The curve by its name, which PKCS#11 3.0 section 2.3.10 allows too.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

impl KeyLocation {
    /// Returns the token's slot. A token that was `seen` before is reported as removed, not as misnamed.
    pub(super) fn slot(&self, module: &Pkcs11, seen: bool) -> Result<Slot, Pkcs11Error> {
        let mut slots = module.get_slots_with_token()?;
        let label = match &self.selector {
            TokenSelector::Slot(number) => {
                slots.retain(|slot| slot.id() == *number);
                None
            }
            TokenSelector::Label(label) => Some(label),
            TokenSelector::Only => None,
        };
        // A slot without information on its token is skipped: it may be a different one.
        slots.retain(|slot| {
            let token = module.get_token_info(*slot);
            token.is_ok_and(|token| {
                token.token_initialized() && label.is_none_or(|label| token.label() == label)
            })
        });
        match slots.as_slice() {
            [slot] => Ok(*slot),
            [] if seen => Err(
                TokenError::unavailable(format!("{} was removed", self.token()))
                    .with_local(true)
                    .into(),
            ),
            [] => Err(TokenError::configuration(format!(
                "the module `{}` has no {}",
                self.module.display(),
                self.selector.description()
            ))
            .with_hint("check its label or slot, that it is connected, and that it is initialized")
            .into()),
            more => Err(TokenError::configuration(format!(
                "the module `{}` has {} matching tokens",
                self.module.display(),
                more.len()
            ))
            .with_hint("select one with `token_label` or `slot`")
            .into()),
        }
    }

    /// Finds the private key, if it is of the algorithm's kind.
    pub(super) fn key(&self, session: &Session) -> Result<ObjectHandle, Pkcs11Error> {
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        if let Some(label) = &self.label {
            template.push(Attribute::Label(label.clone().into_bytes()));
        }
        if let Some(id) = &self.id {
            template.push(Attribute::Id(id.clone()));
        }
        let (key, hint) = match session.find_objects(&template)?.as_slice() {
            [key] => {
                self.check_kind(session, *key)?;
                return Ok(*key);
            }
            [] => (
                "no private key",
                "check its label and id, and that the user of this PIN has access to it",
            ),
            _ => (
                "more than one private key",
                "select one with both `object_label` and `object_id`",
            ),
        };
        let message = format!("{} has {key}{}", self.token(), self.object());
        Err(TokenError::configuration(message).with_hint(hint).into())
    }

    fn check_kind(&self, session: &Session, key: ObjectHandle) -> Result<(), Pkcs11Error> {
        let queried = [
            AttributeType::KeyType,
            AttributeType::EcParams,
            AttributeType::Modulus,
        ];
        if can_sign(&session.get_attributes(key, &queried)?, self.algorithm) {
            return Ok(());
        }
        let message = format!(
            "the private key{} in {} cannot sign with {}",
            self.object(),
            self.token(),
            self.algorithm
        );
        let hint = "ES256 needs an EC key on P-256, ES384 one on P-384, EdDSA an Ed25519 key, and RS256 and PS256 an RSA key of at least 2048 bits";
        Err(TokenError::configuration(message).with_hint(hint).into())
    }

    /// Converts an error of the module into one for the caller.
    pub(super) fn describe(&self, error: Pkcs11Error) -> TokenError {
        error.into_token_error(&self.token(), self.algorithm)
    }

    /// Describes the token for errors: ``the token with the label `services` ``.
    fn token(&self) -> String {
        format!("the {}", self.selector.description())
    }

    fn object(&self) -> String {
        let mut text = String::new();
        if let Some(label) = &self.label {
            let _ = write!(text, " with the label `{}`", TextFilter::new().clean(label));
        }
        if let Some(id) = &self.id {
            text.push_str(if self.label.is_some() {
                " and"
            } else {
                " with"
            });
            text.push_str(" the id ");
            for byte in id {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }
}

/// Returns true if a key with these attributes signs with this algorithm, as far as the token reports them.
fn can_sign(key: &[Attribute], algorithm: Algorithm) -> bool {
    let mut kind = None;
    // The signature's length reveals what the token does not report.
    let (mut curve, mut bits) = (None, None);
    for attribute in key {
        match attribute {
            Attribute::KeyType(known) => kind = Some(*known),
            Attribute::EcParams(known) if !known.is_empty() => curve = Some(known.as_slice()),
            Attribute::Modulus(known) if !known.is_empty() => bits = Some(known.len() * 8),
            _ => {}
        }
    }
    let on = |curves: &[&[u8]]| curve.is_none_or(|known| curves.contains(&known));
    match algorithm {
        Algorithm::Es256 => kind == Some(KeyType::EC) && on(&[P256]),
        Algorithm::Es384 => kind == Some(KeyType::EC) && on(&[P384]),
        Algorithm::EdDsa => kind == Some(KeyType::EC_EDWARDS) && on(&[ED25519, ED25519_NAME]),
        Algorithm::Ps256 | Algorithm::Rs256 => {
            kind == Some(KeyType::RSA) && bits.is_none_or(|bits| bits >= 2048)
        }
    }
}

impl TokenSelector {
    fn description(&self) -> String {
        match self {
            Self::Only => "token".to_owned(),
            Self::Label(label) => {
                format!("token with the label `{}`", TextFilter::new().clean(label))
            }
            Self::Slot(number) => format!("token in slot {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_with_the_algorithms_of_its_kind() {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
        let curve = |name: &[u8]| Attribute::EcParams(name.to_vec());
        let modulus = |bytes: usize| Attribute::Modulus(vec![0xff; bytes]);
        let (ec, ed, rsa) = (KeyType::EC, KeyType::EC_EDWARDS, KeyType::RSA);
        for (kind, more, algorithms) in [
            (ec, curve(P256), &[Es256][..]),
            (ec, curve(P384), &[Es384]),
            (ec, curve(ED25519), &[]),
            (ed, curve(ED25519), &[EdDsa]),
            (ed, curve(ED25519_NAME), &[EdDsa]),
            (ed, curve(P256), &[]),
            (rsa, modulus(256), &[Ps256, Rs256]),
            (rsa, modulus(255), &[]),
            (ec, modulus(256), &[Es256, Es384]),
            // The token does not report it.
            (ec, curve(b""), &[Es256, Es384]),
            (ed, curve(b""), &[EdDsa]),
            (rsa, modulus(0), &[Ps256, Rs256]),
            (KeyType::AES, curve(P256), &[]),
            (KeyType::AES, modulus(256), &[]),
        ] {
            let key = [Attribute::KeyType(kind), more];
            for &algorithm in Algorithm::ALL {
                let expected = algorithms.contains(&algorithm);
                assert_eq!(can_sign(&key, algorithm), expected, "{key:?} {algorithm}");
            }
        }
    }
}
