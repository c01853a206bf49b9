//! X.509-SVIDs as PEM (RFC 7468).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use der::{Reader as _, SliceReader};

/// The maximum number of certificates in a chain.
const MAX_CERTIFICATES: usize = 16;
/// The bytes in a line of 64 characters.
const LINE_BYTES: usize = 48;

/// Returns the certificates of a chain that is DER, one after the other; `None` if it is damaged or too long.
pub(crate) fn split(chain: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = SliceReader::new(chain).ok()?;
    let mut certificates = Vec::new();
    while !reader.is_finished() {
        certificates.push(reader.tlv_bytes().ok()?);
        if certificates.len() > MAX_CERTIFICATES {
            return None;
        }
    }
    Some(certificates)
}

/// Returns the sections as PEM, in a text that never grows: growing would leave copies of a private key behind.
pub(crate) fn write(certificates: &[&[u8]], key: &[u8]) -> String {
    let certificates = certificates.iter().map(|der| ("CERTIFICATE", *der));
    let sections: Vec<_> = certificates.chain([("PRIVATE KEY", key)]).collect();
    let length = |(label, der): &(&str, &[u8])| {
        let characters = der.len().div_ceil(3) * 4;
        "-----BEGIN -----\n-----END -----\n".len()
            + 2 * label.len()
            + characters
            + der.len().div_ceil(LINE_BYTES)
    };
    let mut text = String::with_capacity(sections.iter().map(length).sum());
    for (label, der) in sections {
        for part in ["-----BEGIN ", label, "-----\n"] {
            text.push_str(part);
        }
        for line in der.chunks(LINE_BYTES) {
            BASE64_STANDARD.encode_string(line, &mut text);
            text.push('\n');
        }
        for part in ["-----END ", label, "-----\n"] {
            text.push_str(part);
        }
    }
    text
}
