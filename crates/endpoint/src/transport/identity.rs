use std::{
    fmt,
    sync::{Arc, Weak},
    time::SystemTime,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::{Binding, Hint, Secret};
use rustls::{
    InconsistentKeys,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{PemObject as _, SectionKind},
    },
    sign::CertifiedKey,
};
use x509_cert::{
    certificate::{Certificate, Version},
    der::Decode as _,
};
use zeroize::Zeroizing;

use crate::{BuildError, hints};

/// A client's certificate, its chain without the root, and the private key: cheap to clone, never shown.
///
/// The text is wiped from memory when the last clone is dropped. Copies that the TLS library makes, to check the key
/// and for its connections, are not.
#[derive(Clone)]
pub struct ClientIdentity(Arc<Inner>);

struct Inner {
    /// The certificates, the client's own first, and the key; other parts of the text are dropped.
    pem: Secret,
    valid_until: Option<SystemTime>,
    #[cfg(feature = "unstable-spiffe")]
    spiffe_id: Option<Box<str>>,
    /// Ends when another certificate replaces this one.
    binding: Binding,
}

/// An error in a PEM text.
#[derive(Debug)]
pub(crate) enum InvalidIdentity {
    /// Certificate and key are each valid, but do not match.
    Mismatch,
    Unusable(Part, &'static str),
}

/// The text with the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Certificate and key are in one text.
    Both,
    Certificate,
    Key,
}

impl ClientIdentity {
    /// Parses certificates and key from one PEM text, the client's own certificate before the others.
    ///
    /// For a custom [`ClientAuthentication`](crate::ClientAuthentication); [`MutualTls`](crate::MutualTls) reads it
    /// from its source.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the missing, damaged or mismatched part, without quoting the text.
    pub fn from_pem(pem: &str) -> Result<Self, BuildError> {
        Self::read(pem, None).map_err(|fault| BuildError::new("certificate_and_key", fault.text()))
    }

    /// Parses the certificates, and the key in the same text or in its own.
    pub(crate) fn read(pem: &str, separate_key: Option<&str>) -> Result<Self, InvalidIdentity> {
        let (certificate_part, key_part) = match separate_key {
            None => (Part::Both, Part::Both),
            Some(_) => (Part::Certificate, Part::Key),
        };
        let key_text = separate_key.unwrap_or(pem);
        let (mut certificates, mut keys) = (Vec::new(), Vec::new());
        let texts = [(certificate_part, Some(pem)), (key_part, separate_key)];
        for (part, text) in texts {
            for section in sections(text.unwrap_or_default(), part) {
                let (kind, der) = section?;
                match kind {
                    SectionKind::Certificate => certificates.push(CertificateDer::from(der)),
                    SectionKind::PrivateKey
                    | SectionKind::RsaPrivateKey
                    | SectionKind::EcPrivateKey => keys.push((kind, Zeroizing::new(der))),
                    _ => {}
                }
            }
        }
        let [(kind, key)] = keys.as_slice() else {
            let why = match keys.len() {
                0 if is_encrypted(key_text) => ENCRYPTED,
                0 => "there is no private key in the PEM text (`-----BEGIN PRIVATE KEY-----`)",
                _ => "there is more than one private key in the PEM text; leave the client's own",
            };
            return Err(InvalidIdentity::Unusable(key_part, why));
        };
        let in_certificate = |why| InvalidIdentity::Unusable(certificate_part, why);
        let Some(own) = certificates.first() else {
            return Err(in_certificate(
                "there is no certificate in the PEM text (`-----BEGIN CERTIFICATE-----`)",
            ));
        };
        let parsed = parse(own);
        if parsed
            .as_ref()
            .is_some_and(|own| own.tbs_certificate().version() == Version::V1)
        {
            return Err(in_certificate(VERSION_1));
        }
        #[cfg(feature = "unstable-spiffe")]
        let spiffe_id = parsed.as_ref().and_then(super::spiffe::spiffe_id);
        let valid_until = parsed.map(|own| {
            own.tbs_certificate()
                .validity()
                .not_after
                .to_unix_duration()
        });
        let valid_until = valid_until.and_then(|end| SystemTime::UNIX_EPOCH.checked_add(end));
        let text = write(&certificates, *kind, key);
        check(certificates, *kind, key, certificate_part, key_part)?;
        // Cannot fail: the text is not empty.
        let pem = Secret::new(text).map_err(|_| in_certificate(DAMAGED))?;
        Ok(Self(Arc::new(Inner {
            pem,
            valid_until,
            #[cfg(feature = "unstable-spiffe")]
            spiffe_id,
            binding: Binding::new(),
        })))
    }

    /// Returns certificates and key as PEM, for the client of an API that accepts tokens bound to this certificate.
    pub fn expose_pem(&self) -> &str {
        self.0.pem.expose()
    }

    /// Returns when the client's own certificate expires; `None` if that cannot be determined.
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.0.valid_until
    }

    /// Returns the SPIFFE ID of a certificate that is an X.509-SVID: its only URI among the alternative names. `None` for
    /// the certificate of an authority, and for any other one.
    #[cfg(feature = "unstable-spiffe")]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.0.spiffe_id.as_deref()
    }

    /// Returns true if both are clones of one identity, so a client built for one need not be rebuilt for the other.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the binding of tokens that were fetched with it. It ends when another certificate replaces this one.
    pub fn binding(&self) -> &Binding {
        &self.0.binding
    }

    pub(crate) fn pem(&self) -> &Secret {
        &self.0.pem
    }

    pub(crate) fn downgrade(&self) -> WeakIdentity {
        WeakIdentity(Arc::downgrade(&self.0))
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("valid_until", &self.0.valid_until)
            .finish_non_exhaustive()
    }
}

/// A weak reference, to check whether an identity is still in use.
pub(crate) struct WeakIdentity(Weak<Inner>);

impl WeakIdentity {
    pub(crate) fn refers_to(&self, identity: &ClientIdentity) -> bool {
        self.0.as_ptr() == Arc::as_ptr(&identity.0)
    }

    pub(crate) fn is_in_use(&self) -> bool {
        let identity = self.0.upgrade();
        identity.is_some_and(|identity| !identity.binding.has_ended())
    }
}

const ENCRYPTED: &str = "the private key is encrypted, which is not supported; decrypt it with `openssl pkey -in key.pem`";
const DAMAGED: &str =
    "the PEM text is damaged or incomplete; copy all of it, with its BEGIN and END lines";
const VERSION_1: &str = "the certificate is X.509 version 1, which the TLS library does not support; issue it as version 3, with at least one extension (`openssl x509 -req` with `-extfile`)";

impl InvalidIdentity {
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::Mismatch => {
                "certificate and private key do not belong together; the client's own certificate comes first in the text"
            }
            Self::Unusable(_, text) => text,
        }
    }

    /// Returns the hint that names the text with the error, if there are two.
    pub(crate) fn hint(&self) -> Option<Hint> {
        match self {
            Self::Mismatch | Self::Unusable(Part::Both, _) => None,
            Self::Unusable(Part::Certificate, _) => Some(hints::CERTIFICATE_TEXT),
            Self::Unusable(Part::Key, _) => Some(hints::KEY_TEXT),
        }
    }
}

/// Returns the PEM sections of a text.
fn sections(
    pem: &str,
    part: Part,
) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), InvalidIdentity>> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
    // The library's error may quote the text.
    sections.map(move |section| {
        section.map_err(|_| {
            let why = if is_encrypted(pem) {
                ENCRYPTED
            } else {
                DAMAGED
            };
            InvalidIdentity::Unusable(part, why)
        })
    })
}

/// Returns true if the key is encrypted: PKCS#8 has it in the section's name, the older forms in a line below it.
fn is_encrypted(pem: &str) -> bool {
    pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED")
}

/// Parses a certificate's version and validity. The TLS library, which accepts more, makes the final decision.
fn parse(certificate: &[u8]) -> Option<Certificate> {
    Certificate::from_der(certificate).ok()
}

/// Checks that the key matches, with the library that will use it.
fn check(
    certificates: Vec<CertificateDer<'static>>,
    kind: SectionKind,
    key: &Zeroizing<Vec<u8>>,
    certificate_part: Part,
    key_part: Part,
) -> Result<(), InvalidIdentity> {
    let key = match kind {
        SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(key.as_slice().into()),
        SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(key.as_slice().into()),
        _ => PrivateKeyDer::Pkcs8(key.as_slice().into()),
    };
    let ours = || Arc::new(aws_lc_rs::default_provider());
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(ours);
    let signer = provider.key_provider.load_private_key(key.clone_key());
    let signer = signer.map_err(|_| {
        InvalidIdentity::Unusable(
            key_part,
            "the private key is damaged, or of a kind that TLS does not support: use RSA, EC or Ed25519",
        )
    })?;
    match CertifiedKey::new(certificates, signer).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(InvalidIdentity::Mismatch),
        Err(_) => Err(InvalidIdentity::Unusable(
            certificate_part,
            "the certificate is damaged: its PEM section is not an X.509 certificate",
        )),
    }
}

/// The number of bytes in a line of 64 characters.
const PEM_LINE_BYTES: usize = 48;

/// Writes only the necessary parts as PEM: the TLS library refuses a text with anything else in it.
fn write(
    certificates: &[CertificateDer<'_>],
    kind: SectionKind,
    key: &Zeroizing<Vec<u8>>,
) -> String {
    let label = match kind {
        SectionKind::RsaPrivateKey => "RSA PRIVATE KEY",
        SectionKind::EcPrivateKey => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let own = certificates.iter().map(|der| ("CERTIFICATE", &**der));
    let sections: Vec<_> = own.chain([(label, key.as_slice())]).collect();
    // The exact final length: never reallocated, also when it becomes a secret, so no copy remains in memory.
    let length = |(label, der): &(&str, &[u8])| {
        let line = |bytes: &[u8]| bytes.len().div_ceil(3) * 4 + 1;
        let lines: usize = der.chunks(PEM_LINE_BYTES).map(line).sum();
        "-----BEGIN -----\n-----END -----\n".len() + 2 * label.len() + lines
    };
    let capacity = sections.iter().map(length).sum();
    let mut text = String::with_capacity(capacity);
    for (label, der) in sections {
        text.push_str("-----BEGIN ");
        text.push_str(label);
        text.push_str("-----\n");
        for line in der.chunks(PEM_LINE_BYTES) {
            BASE64_STANDARD.encode_string(line, &mut text);
            text.push('\n');
        }
        text.push_str("-----END ");
        text.push_str(label);
        text.push_str("-----\n");
    }
    debug_assert_eq!(text.len(), capacity);
    text
}
