//! Key generation, by the library's own generator.

#[cfg(feature = "aws-lc-rs")]
use library::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::KeySize,
};
use zeroize::Zeroizing;

#[cfg(feature = "aws-lc-rs")]
use super::RsaKeyPair;
use super::{Curve, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RefusalReason, SystemRandom, library};

/// A key, and its PKCS#8 form.
type New = (KeyPair, Zeroizing<Vec<u8>>);

impl KeyPair {
    pub(crate) fn generate_ec(curve: Curve) -> Result<New, RefusalReason> {
        let der = EcdsaKeyPair::generate_pkcs8(curve.signing(), &SystemRandom::new());
        let der = Zeroizing::new(der.map_err(failed)?.as_ref().to_vec());
        Ok((Self::ec_pkcs8(curve, &der)?, der))
    }

    pub(crate) fn generate_ed25519() -> Result<New, RefusalReason> {
        // The first version of PKCS#8 has no public key, and is the one that OpenSSL reads.
        #[cfg(feature = "aws-lc-rs")]
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new());
        #[cfg(not(feature = "aws-lc-rs"))]
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let der = Zeroizing::new(der.map_err(failed)?.as_ref().to_vec());
        Ok((Self::ed25519_pkcs8(&der)?, der))
    }

    /// Generates an RSA key of 2048, 3072 or 4096 bits.
    #[cfg(feature = "aws-lc-rs")]
    pub(crate) fn generate_rsa(bits: u16) -> Result<New, RefusalReason> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err("TooSmall".into()),
        };
        let pair = RsaKeyPair::generate(size).map_err(failed)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        let der = Zeroizing::new(der.as_ref().to_vec());
        Ok((Self::rsa(pair)?, der))
    }

    #[cfg(not(feature = "aws-lc-rs"))]
    pub(crate) fn generate_rsa(_: u16) -> Result<New, RefusalReason> {
        Err("ring generates no RSA keys: use `hallpass keygen` or `openssl genpkey`".into())
    }
}

fn failed(_: library::error::Unspecified) -> RefusalReason {
    "the system has no random numbers".into()
}
