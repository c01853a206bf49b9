//! X.509 certificates (RFC 5280): the parts that say which key a certificate is for, and who issued it.

use der::{AnyRef, Decode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};
use hallpass_endpoint::BuildError;
use zeroize::Zeroizing;

use crate::pem::certificates;

/// The maximum number of certificates in a chain.
const MAX_CERTIFICATES: usize = 10;
/// The maximum length of a chain in DER: it is sent with each assertion.
const MAX_CHAIN_BYTES: usize = 32 << 10;

struct Certificate<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    /// The SubjectPublicKeyInfo.
    key: &'a [u8],
}

impl<'a> Certificate<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let outer = AnyRef::decode(&mut reader).ok()?;
        reader.finish().ok()?;
        let mut parts = SliceReader::new(sequence(outer)?).ok()?;
        let signed = AnyRef::decode(&mut parts).ok()?;
        let mut parts = SliceReader::new(sequence(signed)?).ok()?;
        let first = AnyRef::decode(&mut parts).ok()?;
        let version = Tag::ContextSpecific {
            constructed: true,
            number: TagNumber(0),
        };
        if first.tag() == version {
            // The serial number.
            AnyRef::decode(&mut parts).ok()?;
        }
        let _algorithm = AnyRef::decode(&mut parts).ok()?;
        let issuer = sequence(AnyRef::decode(&mut parts).ok()?)?;
        let _validity = AnyRef::decode(&mut parts).ok()?;
        let subject = sequence(AnyRef::decode(&mut parts).ok()?)?;
        let key = parts.tlv_bytes().ok()?;
        Some(Self {
            issuer,
            subject,
            key,
        })
    }
}

fn sequence(value: AnyRef<'_>) -> Option<&[u8]> {
    (value.tag() == Tag::Sequence).then(|| value.value())
}

/// Returns the SubjectPublicKeyInfo of a certificate; `None` if the certificate is damaged.
pub(crate) fn key_of(der: &[u8]) -> Option<&[u8]> {
    Some(Certificate::read(der)?.key)
}

/// Returns the certificates of a PEM text in DER: the key's own one first, and each certificate issued by the next.
///
/// Only names are compared; the server verifies the signatures. `is_own` says whether a SubjectPublicKeyInfo is that of the
/// key.
///
/// # Errors
///
/// A [`BuildError`] if the chain has another order, belongs to another key, is damaged or is too long.
pub(crate) fn chain(pem: &str, is_own: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, BuildError> {
    let invalid = |why: String| BuildError::new("certificate", why);
    let chain = certificates(pem)?;
    let length: usize = chain.iter().map(|der| der.len()).sum();
    if chain.len() > MAX_CERTIFICATES || length > MAX_CHAIN_BYTES {
        let length = length.div_ceil(1024);
        return Err(invalid(format!(
            "the chain has {} certificates in {length} KiB; at most {MAX_CERTIFICATES} in {} KiB are sent",
            chain.len(),
            MAX_CHAIN_BYTES >> 10
        )));
    }
    let mut parsed = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        let read = Certificate::read(der);
        let number = index + 1;
        parsed.push(
            read.ok_or_else(|| invalid(format!("certificate {number} of the chain is damaged")))?,
        );
        if chain[..index].contains(der) {
            return Err(invalid(format!(
                "certificate {number} of the chain is there twice"
            )));
        }
    }
    if !is_own(parsed[0].key) {
        let elsewhere = parsed.iter().position(|found| is_own(found.key));
        return Err(invalid(match elsewhere {
            Some(index) => format!(
                "the key's own certificate must come first in the chain, and it is certificate {}",
                index + 1
            ),
            None => "the text contains no certificate of this key; use the PEM certificate issued for it".to_owned(),
        }));
    }
    for (index, pair) in parsed.windows(2).enumerate() {
        if pair[0].issuer != pair[1].subject {
            return Err(invalid(format!(
                "certificate {} of the chain did not issue certificate {}; after the key's own certificate, put that of its issuer, and so on",
                index + 2,
                index + 1
            )));
        }
    }
    // Certificates are public.
    Ok(chain
        .iter()
        .map(|der: &Zeroizing<Vec<u8>>| der.to_vec())
        .collect())
}

#[cfg(test)]
mod tests;
