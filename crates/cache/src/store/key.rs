use std::fmt::Write as _;

use hallpass_core::TokenRequest;
use sha2::{Digest as _, Sha256};

use crate::entry::VERSION;

/// A key's name in a store: two digests in hexadecimal digits, which reveal neither client nor issuer nor request.
///
/// The first is for the namespace, so that a store can give each tenant its own prefix, encryption key or access
/// rights, and delete all of a tenant's entries. The second is for the request within the namespace and the version of
/// the entry format, so that processes of two versions do not overwrite each other's entries.
///
/// ```
/// use hallpass_cache::StoreKey;
/// use hallpass_core::TokenRequest;
///
/// let key = StoreKey::new("https://login.example/ orders", &TokenRequest::new());
/// let other = StoreKey::new("https://login.example/ billing", &TokenRequest::new());
/// assert_eq!(key.namespace().len(), 64);
/// assert_ne!(key.namespace(), other.namespace());
/// assert_ne!(key.request(), other.request());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreKey(String);

/// Returns the namespace of tokens that are bound to a key: processes with different keys do not replace each other's
/// tokens.
pub(crate) fn bound_namespace(namespace: &str, thumbprint: &str) -> String {
    format!("{namespace}\njkt:{thumbprint}")
}

/// The number of hexadecimal digits of a SHA-256 digest.
const DIGITS: usize = 64;

impl StoreKey {
    /// Creates the key that a cache with this namespace uses for this request.
    pub fn new(namespace: &str, request: &TokenRequest) -> Self {
        let mut of_request = Sha256::new();
        of_request.update(VERSION.to_be_bytes());
        // Length-prefixed, so that no two inputs collide.
        of_request.update((namespace.len() as u64).to_be_bytes());
        of_request.update(namespace.as_bytes());
        of_request.update(request.canonical());
        let of_namespace = Sha256::digest(namespace.as_bytes());
        Self::from_digests(&of_namespace.into(), &of_request.finalize().into())
    }

    /// Creates the key that a cache with this namespace uses for this request if tokens are bound to the key with this
    /// thumbprint ([`CacheBuilder::shared_prover`](crate::CacheBuilder::shared_prover)).
    pub fn bound(namespace: &str, thumbprint: &str, request: &TokenRequest) -> Self {
        Self::new(&bound_namespace(namespace, thumbprint), request)
    }

    /// Creates the key under which caches with this namespace share the server's answers to their credentials. It is not
    /// named by the credentials' digest, from which a reader of names could guess a weak secret.
    pub(crate) fn of_credentials(namespace: &str) -> Self {
        let mut of_request = Sha256::new();
        // No request's digest begins with this text: its version would be another one.
        of_request.update(b"credential state");
        of_request.update(VERSION.to_be_bytes());
        of_request.update(namespace.as_bytes());
        let of_namespace = Sha256::digest(namespace.as_bytes());
        Self::from_digests(&of_namespace.into(), &of_request.finalize().into())
    }

    /// Creates a key from its two digests: for a store that maps keys, and for entries without a request.
    pub fn from_digests(namespace: &[u8; 32], request: &[u8; 32]) -> Self {
        let mut name = String::with_capacity(2 * DIGITS + 1);
        for byte in namespace {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name.push('-');
        for byte in request {
            let _ = write!(name, "{byte:02x}");
        }
        Self(name)
    }

    /// Returns the whole name: both parts joined by a hyphen, 129 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the namespace part: 64 hexadecimal digits.
    pub fn namespace(&self) -> &str {
        &self.0[..DIGITS]
    }

    /// Returns the request part: 64 hexadecimal digits, which differ between namespaces.
    pub fn request(&self) -> &str {
        &self.0[DIGITS + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-98
    #[test]
    fn each_namespace_and_each_request_has_its_own_name() {
        let a = TokenRequest::new().with_scopes("a".parse().unwrap());
        let key = StoreKey::new("one", &a);
        assert_eq!(key, StoreKey::new("one", &a));
        assert_eq!(
            key.namespace(),
            StoreKey::new("one", &TokenRequest::new()).namespace()
        );
        let other = StoreKey::new("other", &a);
        assert_ne!(key.namespace(), other.namespace());
        assert_ne!(key.request(), other.request());
        let parts = format!("{}-{}", key.namespace(), key.request());
        assert_eq!(key.as_str(), parts);
    }

    #[test]
    fn digests_are_written_in_order() {
        let key = StoreKey::from_digests(&[0x0a; 32], &[0xf1; 32]);
        assert_eq!(key.namespace(), "0a".repeat(32));
        assert_eq!(key.request(), "f1".repeat(32));
    }
}
