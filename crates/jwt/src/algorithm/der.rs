use der::{Decode as _, Reader as _, SliceReader, asn1::UintRef};
use hallpass_core::TokenError;

use super::Algorithm;

impl Algorithm {
    /// Converts an ECDSA signature from DER to the concatenated r and s of a JWS (RFC 7518 section 3.4).
    ///
    /// Most KMS and libraries return DER (`ECDSA-Sig-Value`, RFC 3279 section 2.2.3). Use it for
    /// [`Es256`](Self::Es256) and [`Es384`](Self::Es384); a JWS takes signatures by other algorithms as they are.
    ///
    /// ```
    /// use hallpass_jwt::Algorithm;
    ///
    /// let (r, s) = ([0x7f; 32], [0x05]);
    /// let der = [&[0x30, 0x25, 0x02, 0x20][..], &r, &[0x02, 0x01], &s].concat();
    /// let joined = Algorithm::Es256.signature_from_der(&der)?;
    /// assert_eq!(joined, [&r[..], &[0; 31], &s].concat());
    /// # Ok::<(), hallpass_core::TokenError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Configuration`](hallpass_core::ErrorKind::Configuration) if the signature is anything but two positive
    /// integers in strict DER, no longer than the curve allows, with nothing after them; or if the algorithm is no
    /// ECDSA.
    pub fn signature_from_der(self, signature: &[u8]) -> Result<Vec<u8>, TokenError> {
        let width = match self {
            Self::Es256 => 32,
            Self::Es384 => 48,
            Self::EdDsa | Self::Ps256 | Self::Rs256 => {
                let message = format!(
                    "a signature with {self} is not an ECDSA signature, and has no r and s"
                );
                return Err(TokenError::configuration(message)
                    .with_hint("use it unchanged: a JWS requires this form"));
            }
        };
        joined(signature, width).ok_or_else(|| {
            let message = format!("the signature is not the DER encoding of r and s for {self}");
            let hint = "check that the key is on this algorithm's curve, and that the signer answers in DER";
            TokenError::configuration(message).with_hint(hint)
        })
    }
}

fn joined(signature: &[u8], width: usize) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(signature).ok()?;
    let decoded: der::Result<_> = reader.sequence(|parts| {
        let r = UintRef::decode(parts)?;
        Ok((r, UintRef::decode(parts)?))
    });
    let (r, s) = decoded.ok()?;
    reader.finish().ok()?;
    let mut joined = vec![0; 2 * width];
    let (left, right) = joined.split_at_mut(width);
    for (part, number) in [(left, r), (right, s)] {
        let bytes = number.as_bytes();
        if bytes == [0] {
            return None;
        }
        let from = width.checked_sub(bytes.len())?;
        part[from..].copy_from_slice(bytes);
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED,
            ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED, EcdsaKeyPair, KeyPair as _,
            UnparsedPublicKey,
        },
    };
    use hallpass_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn refused(algorithm: Algorithm, der: &[u8]) {
        let error = algorithm.signature_from_der(der).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.hint().is_some() && error.to_string().contains(algorithm.name()));
    }

    /// Returns a `SEQUENCE` of these bytes.
    fn sequence(parts: &[u8]) -> Vec<u8> {
        let length = u8::try_from(parts.len()).unwrap();
        [&[0x30, length], parts].concat()
    }

    const ONES: [u8; 6] = [2, 1, 1, 2, 1, 1];

    #[test]
    fn only_strict_der_is_accepted() {
        let good = sequence(&ONES);
        let joined = Algorithm::Es256.signature_from_der(&good).unwrap();
        assert!(joined.len() == 64 && joined[31] == 1 && joined[63] == 1);

        let long = [&[2, 33][..], &[1; 33], &[2, 1, 1]].concat();
        let cases: [(&str, Vec<u8>); 15] = [
            ("nothing", vec![]),
            ("cut", good[..7].to_vec()),
            ("a byte behind it", [&good[..], &[0]].concat()),
            ("one integer", sequence(&ONES[..3])),
            ("three integers", sequence(&[2, 1, 1, 2, 1, 1, 2, 1, 1])),
            ("another tag", [&[0x31], &good[1..]].concat()),
            ("no integer", sequence(&[4, 1, 1, 2, 1, 1])),
            ("a negative one", sequence(&[2, 1, 0x81, 2, 1, 1])),
            ("a zero", sequence(&[2, 1, 1, 2, 1, 0])),
            ("an empty one", sequence(&[2, 0, 2, 1, 1])),
            ("a zero too many", sequence(&[2, 2, 0, 1, 2, 1, 1])),
            ("a longer one than the curve has", sequence(&long)),
            (
                "a length in the long form",
                [&[0x30, 0x81, 6], &ONES[..]].concat(),
            ),
            ("no end", [&[0x30, 0x80], &ONES[..], &[0, 0]].concat()),
            ("r and s joined", vec![1; 64]),
        ];
        for (name, der) in cases {
            let taken = Algorithm::Es256.signature_from_der(&der).is_ok();
            assert!(!taken, "{name}");
            refused(Algorithm::Es256, &der);
        }
        // The signature is too long for the curve.
        assert!(
            Algorithm::Es384
                .signature_from_der(&sequence(&long))
                .is_ok()
        );
    }

    #[test]
    fn only_ecdsa_signatures_are_converted() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Ps256, Algorithm::Rs256] {
            refused(algorithm, &sequence(&ONES));
        }
    }

    proptest! {
        #[test]
        fn a_converted_signature_verifies_as_a_jws(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            for (algorithm, signing, fixed) in [
                (Algorithm::Es256, &ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_FIXED),
                (Algorithm::Es384, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_FIXED),
            ] {
                let pair = EcdsaKeyPair::generate(signing).unwrap();
                let der = pair.sign(&SystemRandom::new(), &message).unwrap();
                let joined = algorithm.signature_from_der(der.as_ref()).unwrap();
                algorithm.check(&joined).unwrap();
                let public = UnparsedPublicKey::new(fixed, pair.public_key().as_ref());
                public.verify(&message, &joined).unwrap();
            }
        }

        #[test]
        fn any_bytes_are_handled(der in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(joined) = Algorithm::Es256.signature_from_der(&der) {
                prop_assert_eq!(joined.len(), 64);
            }
        }
    }
}
