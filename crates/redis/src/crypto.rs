//! The cryptographic library: aws-lc-rs, or ring if only that is enabled. No cryptography is implemented here.

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs as library;
#[cfg(not(feature = "aws-lc-rs"))]
use ring as library;

use std::sync::Arc;

use library::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest,
    rand::{SecureRandom as _, SystemRandom},
};
use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

/// The length of a key in bytes.
pub(crate) const KEY_BYTES: usize = 32;
/// The length of a nonce in bytes.
const NONCE_BYTES: usize = NONCE_LEN;

/// A key of AES-256-GCM.
pub(crate) struct AeadKey(LessSafeKey);

impl AeadKey {
    /// Creates a key; the library keeps a copy of its own.
    pub(crate) fn new(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Appends a random nonce, the ciphertext and the tag; `None` if the system has no random bytes.
    pub(crate) fn seal(&self, out: &mut Vec<u8>, aad: &[u8], plain: &[u8]) -> Option<()> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(plain);
        let aad = Aad::from(aad);
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(unique, aad, &mut *sealed)
            .ok()?;
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Some(())
    }

    /// Returns the plain text, or `None` if it was not sealed by this key for this associated data.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(aad), &mut buffer)
            .ok()?
            .len();
        buffer.truncate(length);
        Some(buffer)
    }
}

/// Returns random bytes; `None` if the system has none.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Returns the library for TLS. It is named, so that no process-wide default is needed.
pub(crate) fn tls() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}
