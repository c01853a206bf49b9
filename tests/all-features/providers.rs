//! All of rustls's features, two libraries of cryptography among them, without a default for the process; and a program
//! that installs the one that hallpass does not use.

use std::{env, fs, panic::catch_unwind};

use hallpass::{
    TokenRequest,
    cache::{StoreKey, TokenStore as _},
    endpoint::MutualTls,
};
use hallpass_redis::RedisTokenStore;
use rustls::{
    ClientConfig, NamedGroup,
    compress::default_cert_decompressors,
    crypto::{CryptoProvider, aws_lc_rs, ring},
};

use crate::{
    child::run_alone,
    mtls_server::{MtlsServer, ask, client},
    redis_server::RedisServer,
    support::secret,
};

const TEST: &str = "providers::an_installed_provider_is_no_obstacle";

/// Checks connections with a client certificate to a token endpoint and to Redis.
async fn connect() {
    let server = MtlsServer::start().await;
    let (_identity, pem) = client(&server, "a");
    let source = server.source(MutualTls::new(pem)).build().unwrap();
    ask(&source).await.unwrap();
    assert_eq!(server.token_requests()[0].client, "a");

    let Some(server) = RedisServer::start(&["--mtls"]) else {
        return;
    };
    let read = |name| fs::read_to_string(server.text(name)).unwrap();
    let store = RedisTokenStore::builder(server.text("tls_url"))
        .keys(secret("a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA="))
        .tls_roots(read("ca"))
        .client_certificate(secret(&(read("client_cert") + &read("client_key"))))
        .build()
        .unwrap();
    let key = StoreKey::new("one", &TokenRequest::new());
    assert!(store.look_up(&key).await.unwrap().is_none());
}

#[tokio::test]
async fn two_providers_and_no_default_are_no_obstacle() {
    // Positive control: the features are enabled, and rustls has no default.
    assert_eq!(default_cert_decompressors().len(), 2);
    let groups = aws_lc_rs::default_provider().kx_groups;
    assert_eq!(groups[0].name(), NamedGroup::X25519MLKEM768);
    assert!(catch_unwind(ClientConfig::builder).is_err());
    connect().await;
    assert!(CryptoProvider::get_default().is_none());
}

#[tokio::test]
async fn an_installed_provider_is_no_obstacle() {
    const CHILD: &str = "INSTALLED_PROVIDER";
    if env::var_os(CHILD).is_some() {
        ring::default_provider().install_default().unwrap();
        return connect().await;
    }
    // The provider is that of the whole process.
    run_alone(TEST, |child| child.env(CHILD, "1"));
}
