use sha2::{Digest as _, Sha256};

/// Returns a digest of these parts, for [`ClientAuthentication::digest`](crate::ClientAuthentication::digest) and
/// [`AssertionSource::digest`](crate::AssertionSource::digest): the same in each process, and another one if a part or
/// the number of parts differs.
///
/// `method` names the authentication method, so that one secret has another digest for each. A secret among the parts
/// cannot be computed from the digest, but a weak one can be guessed: the digest must be stored encrypted.
///
/// ```
/// use hallpass_endpoint::credential_digest;
///
/// let digest = credential_digest("client_secret_basic", &[b"orders-service", b"s3cr3t"]);
/// assert_ne!(digest, credential_digest("client_secret_post", &[b"orders-service", b"s3cr3t"]));
/// ```
pub fn credential_digest(method: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [b"hallpass credential", method.as_bytes()]
        .into_iter()
        .chain(parts.iter().copied())
    {
        // Length-prefixed, so that no two inputs collide.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::credential_digest;

    #[test]
    fn each_part_and_the_method_change_the_digest() {
        let digests = [
            credential_digest("a", &[b"bc", b"d"]),
            credential_digest("a", &[b"b", b"cd"]),
            credential_digest("a", &[b"bcd"]),
            credential_digest("ab", &[b"c", b"d"]),
            credential_digest("a", &[b"bc", b"d", b""]),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
        assert_eq!(digests[0], credential_digest("a", &[b"bc", b"d"]));
    }
}
