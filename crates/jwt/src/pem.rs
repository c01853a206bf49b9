//! The sections of a PEM text (RFC 7468).

use hallpass_endpoint::BuildError;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use zeroize::Zeroizing;

pub(crate) mod damage;

/// The maximum length, above that of any key with a chain of certificates.
const MAX_LEN: usize = 1 << 20;

type Section = (SectionKind, Zeroizing<Vec<u8>>);

/// Returns all certificates as DER, in the order of the text, which has at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, BuildError> {
    let sections = sections(pem, "certificate")?.into_iter();
    let certificates = sections.filter(|(kind, _)| *kind == SectionKind::Certificate);
    let certificates: Vec<_> = certificates.map(|(_, der)| der).collect();
    if certificates.is_empty() {
        let reason = damage::find(pem);
        return Err(BuildError::new(
            "certificate",
            reason.unwrap_or(
                "the text contains no certificate in PEM (`-----BEGIN CERTIFICATE-----`)",
            ),
        ));
    }
    Ok(certificates)
}

pub(crate) fn sections(pem: &str, setting: &'static str) -> Result<Vec<Section>, BuildError> {
    if pem.len() > MAX_LEN {
        return Err(BuildError::new(setting, "the text is too long to be PEM"));
    }
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
    sections
        .map(|section| match section {
            Ok((kind, der)) => Ok((kind, Zeroizing::new(der))),
            // The library's error may quote the text.
            Err(_) if is_encrypted(pem) => Err(encrypted()),
            Err(_) => Err(BuildError::new(
                setting,
                damage::find(pem).unwrap_or(
                    "the PEM text is damaged or incomplete; copy all of it, with its BEGIN and END lines",
                ),
            )),
        })
        .collect()
}

/// Returns true for an encrypted key: PKCS#8 marks it in the section's name, older forms in a line below it.
pub(crate) fn is_encrypted(pem: &str) -> bool {
    pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED")
}

pub(crate) fn encrypted() -> BuildError {
    BuildError::new(
        "key",
        "it is encrypted, which is not supported; remove its password with `openssl pkey -in key.pem`, and protect it by access rights",
    )
}
