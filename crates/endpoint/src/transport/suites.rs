//! The cipher suites of TLS connections, for security profiles.

use std::sync::Arc;

use rustls::{
    CipherSuite, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    version::TLS13,
};

/// The cipher suites of TLS 1.2 that RFC 9325 section 4.2 (BCP 195) recommends, and two others of the same strength that
/// TLS libraries offer too.
const ALLOWED: [CipherSuite; 6] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Returns the cryptography of this process's connections: the one that the program has installed, or the default.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let installed = CryptoProvider::get_default().cloned();
    installed.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()))
}

/// Returns the first cipher suite that a profile excludes. Those of TLS 1.3 are all allowed.
pub(super) fn excluded(provider: &CryptoProvider) -> Option<CipherSuite> {
    let older = provider.cipher_suites.iter();
    let older = older.filter(|suite| suite.version() != &TLS13);
    let mut names = older.map(SupportedCipherSuite::suite);
    names.find(|name| !ALLOWED.contains(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rustls::{Tls12CipherSuite, crypto::CipherSuiteCommon};

    use super::*;

    #[test]
    fn fapi_allows_the_suites_of_the_tls_library() {
        let provider = provider();
        assert_eq!(excluded(&provider), None);
        let name = |suite: CipherSuite| format!("{suite:?}");
        let older = provider.cipher_suites.iter();
        let older = older.filter(|suite| suite.version() != &TLS13);
        let offered: BTreeSet<_> = older.map(|suite| name(suite.suite())).collect();
        let allowed: BTreeSet<_> = ALLOWED.into_iter().map(name).collect();
        assert_eq!(offered, allowed);
    }

    #[test]
    fn fapi_refuses_other_cryptography_with_weaker_suites() {
        let mut provider = (*provider()).clone();
        let mut older = provider.cipher_suites.iter();
        let suite = older.find_map(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => Some(*suite),
            SupportedCipherSuite::Tls13(_) => None,
        });
        let suite = suite.unwrap();
        let weaker = CipherSuite::TLS_RSA_WITH_AES_128_GCM_SHA256;
        let weaker_suite = Tls12CipherSuite {
            common: CipherSuiteCommon {
                suite: weaker,
                hash_provider: suite.common.hash_provider,
                confidentiality_limit: suite.common.confidentiality_limit,
            },
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: suite.aead_alg,
        };
        let weaker_suite = Box::leak(Box::new(weaker_suite));
        let suites = &mut provider.cipher_suites;
        suites.push(SupportedCipherSuite::Tls12(weaker_suite));
        assert_eq!(excluded(&provider), Some(weaker));
    }
}
