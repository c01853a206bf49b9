//! Settings of TLS servers with an explicit cryptography provider: with all features, rustls has two, and no default.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier,
    crypto::aws_lc_rs::default_provider,
    server::{ClientCertVerifierBuilder, WebPkiClientVerifier},
};

/// Returns the settings of a server, without its certificate.
pub(crate) fn server_config() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// Returns a verifier of client certificates from these roots.
pub(crate) fn client_verifier(roots: RootCertStore) -> ClientCertVerifierBuilder {
    let provider = Arc::new(default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
}
