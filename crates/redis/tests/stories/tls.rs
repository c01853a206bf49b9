//! TLS, client certificates, and invalid settings.

use std::{fs, sync::Arc};

use hallpass_cache::TokenStore as _;
use hallpass_redis::{RedisTokenStore, RedisTokenStoreBuilder};
use hallpass_testkit::{
    RotatingSecret,
    leak::{self, Capture},
};

use crate::{redis_server::RedisServer, support::*};

fn tls_builder(server: &RedisServer) -> RedisTokenStoreBuilder {
    let roots = fs::read_to_string(server.text("ca")).unwrap();
    RedisTokenStore::builder(server.text("tls_url"))
        .keys(secret(KEY))
        .tls_roots(roots)
}

async fn reason(store: &RedisTokenStore) -> String {
    store.look_up(&key("one")).await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_servers_certificate_is_verified() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let store = tls_builder(&server).build().unwrap();
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    let system = RedisTokenStore::builder(server.text("tls_url")).keys(secret(KEY));
    let reason = reason(&system.build().unwrap()).await;
    assert!(reason.contains("the TLS handshake failed"), "{reason}");
}

/// Also in a program in which no other crate enables TLS 1.2.
#[tokio::test]
async fn a_server_with_tls_1_2_only_is_reached() {
    let Some(server) = RedisServer::start(&["--", "--tls-protocols", "TLSv1.2"]) else {
        return;
    };
    let store = tls_builder(&server).build().unwrap();
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
}

#[tokio::test]
async fn root_certificates_are_read_for_each_connection() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let roots = Arc::new(RotatingSecret::new("CANARY"));
    let builder = || {
        let builder = RedisTokenStore::builder(server.text("tls_url")).keys(secret(KEY));
        builder.tls_roots_from(roots.clone()).build().unwrap()
    };
    let reason = reason(&builder()).await;
    assert!(
        reason.contains("no certificate in the PEM text"),
        "{reason}"
    );
    leak::assert_clean(&reason, "CANARY");
    roots.rotate(&fs::read_to_string(server.text("ca")).unwrap());
    assert!(builder().look_up(&key("one")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    let Some(server) = RedisServer::start(&["--mtls"]) else {
        return;
    };
    let without = tls_builder(&server).build().unwrap();
    let refused = reason(&without).await;
    let expected = [
        "the TLS handshake failed",
        "the connection to Redis was lost",
    ];
    assert!(
        expected.iter().any(|text| refused.contains(text)),
        "{refused}"
    );
    let read = |name| fs::read_to_string(server.text(name)).unwrap();
    let pem = read("client_cert") + &read("client_key");
    let with = tls_builder(&server)
        .client_certificate(secret(&pem))
        .build()
        .unwrap();
    assert!(with.look_up(&key("one")).await.unwrap().is_none());
    let useless = tls_builder(&server).client_certificate(secret("CANARY"));
    let reason = reason(&useless.build().unwrap()).await;
    assert_eq!(reason, "the client certificate or its key is unusable");
}

#[tokio::test]
async fn a_server_that_is_not_redis_is_reported() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
        }
    });
    let store = RedisTokenStore::builder(url)
        .keys(secret(KEY))
        .build()
        .unwrap();
    let reason = reason(&store).await;
    assert_eq!(reason, "the server does not speak Redis's protocol");
}

// covers: F-99, F-100, F-101
#[tokio::test]
async fn no_secret_is_in_errors_debug_output_or_traces() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let capture = Capture::start();
    let url = format!(
        "redis://hallpass:CANARY-url@127.0.0.1:{}",
        server.number("port")
    );
    let builder = RedisTokenStore::builder(url).keys(secret(KEY));
    let mut shown = format!("{builder:?}");
    let wrong = builder.build().unwrap();
    shown += &reason(&wrong).await;
    shown += &format!("{wrong:?}");
    let store = store(&server);
    store
        .put(&key("one"), b"CANARY-token", HOUR, None)
        .await
        .unwrap();
    let found = store.look_up(&key("one")).await.unwrap();
    shown += &format!("{store:?} {found:?} {}", capture.text());
    assert!(shown.contains("token store connected"), "{shown}");
    let password = server.text("password");
    for canary in ["CANARY-url", "CANARY-token", KEY, password] {
        leak::assert_clean(&shown, canary);
        assert!(leak::find(&format!("{shown} {canary}"), canary).is_some());
    }
}

#[test]
fn unsafe_and_impossible_settings_are_refused() {
    let plain = |url: &str| RedisTokenStore::builder(url).keys(secret(KEY));
    let setting = |builder: RedisTokenStoreBuilder| builder.build().unwrap_err().setting();
    assert_eq!(setting(plain("redis://redis.example")), "url");
    assert!(
        plain("redis://redis.example")
            .danger_allow_plain_text()
            .build()
            .is_ok()
    );
    assert!(plain("rediss://redis.example").build().is_ok());
    assert_eq!(
        setting(RedisTokenStore::builder("redis://localhost")),
        "keys"
    );
    assert_eq!(
        setting(plain("redis://localhost").danger_store_in_clear()),
        "keys"
    );
    for prefix in ["", "a{b", "a b", "a*", "é"] {
        assert_eq!(setting(plain("redis://localhost").prefix(prefix)), "prefix");
    }
    let cluster = plain("redis://localhost/1").cluster([""; 0]);
    assert_eq!(setting(cluster), "url");
    let mixed = plain("rediss://redis.example").cluster(["redis://localhost"]);
    assert_eq!(setting(mixed), "cluster");
    let other = plain("redis://localhost").sentinel("main", ["redis://user@localhost"]);
    assert_eq!(setting(other), "sentinel");
    assert_eq!(
        setting(plain("redis://localhost").tls_roots("none")),
        "tls_roots"
    );
}
