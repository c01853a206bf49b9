//! Entries that cannot be decrypted: ignored, counted, overwritten.

use std::time::Duration;

use hallpass_cache::{CachedTokenSource, StoreKey, TokenStore as _};
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource, async_trait};
use hallpass_testkit::leak::Capture;

use crate::{redis_server::RedisServer, support::*};

const OTHER_KEY: &str = "a2V5IHR3byBrZXkgdHdvIGtleSB0d28ga2V5IHR3byA=";
const TTL: Duration = Duration::from_secs(60);

// covers: F-93
#[tokio::test]
async fn different_keys_in_one_fleet_fail_no_caller() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (one, other) = (store(&server), builder(&server).keys(secret(OTHER_KEY)));
    let other = other.build().unwrap();
    let source = source(2);
    let capture = Capture::start();
    for (store, expected) in [(&one, "t1"), (&other, "t2"), (&other, "t2")] {
        let cache = cache(&source, store);
        let token = cache.token(&TokenRequest::new()).await.unwrap();
        assert_eq!(token.expose(), expected);
        cache.shutdown().await;
    }
    assert_eq!(source.calls(), 2);
    assert_eq!(one.ignored_entries(), 0);
    assert_eq!(other.ignored_entries(), 1);
    let text = capture.text();
    assert!(text.contains("token store entry ignored"), "{text}");
    assert!(text.contains("encrypted with an unknown key"), "{text}");
}

// covers: F-94
#[tokio::test]
async fn an_entry_that_is_copied_to_another_key_is_ignored() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    store.put(&key("one"), b"entry", TTL, None).await.unwrap();
    let name = |key: &StoreKey| format!("hallpass:{{{}}}:entry", key.as_str());
    let copy = format!("COPY {} {}", name(&key("one")), name(&key("two")));
    assert!(admin.run::<bool>(&copy).await);
    assert!(store.look_up(&key("one")).await.unwrap().is_some());
    assert!(store.look_up(&key("two")).await.unwrap().is_none());
    assert_eq!(store.ignored_entries(), 1);
}

// covers: F-92
#[tokio::test]
async fn a_damaged_entry_is_ignored_and_overwritten() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    let source = source(2);
    let first = cache(&source, &store);
    first.token(&TokenRequest::new()).await.unwrap();
    first.shutdown().await;
    let name = admin.name("entry").await;
    let _: usize = admin.run(&format!("SETRANGE {name} 60 damaged")).await;
    let second = cache(&source, &store);
    let token = second.token(&TokenRequest::new()).await.unwrap();
    assert_eq!(token.expose(), "t2");
    second.shutdown().await;
    let third = cache(&source, &store);
    let token = third.token(&TokenRequest::new()).await.unwrap();
    assert_eq!(token.expose(), "t2");
}

#[tokio::test]
async fn a_store_in_clear_ignores_encrypted_entries_and_vice_versa() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let clear = hallpass_redis::RedisTokenStore::builder(server.text("url"));
    let clear = clear.danger_store_in_clear().build().unwrap();
    let encrypted = store(&server);
    encrypted
        .put(&key("one"), b"entry", TTL, None)
        .await
        .unwrap();
    assert!(clear.look_up(&key("one")).await.unwrap().is_none());
    clear.put(&key("two"), b"entry", TTL, None).await.unwrap();
    let found = clear.look_up(&key("two")).await.unwrap().unwrap();
    assert_eq!(found.bytes(), b"entry");
    assert!(encrypted.look_up(&key("two")).await.unwrap().is_none());
}

/// A source whose credentials are refused.
struct Refused;

/// The digest of its credentials, from which a weak secret could be guessed.
const DIGEST: [u8; 32] = *b"CANARY-digest-of-the-credentials";

#[async_trait]
impl TokenSource for Refused {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Err(TokenError::credentials_refused("CANARY-message"))
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        Some(DIGEST)
    }
}

#[tokio::test]
async fn a_shared_refusal_hides_the_digest_of_the_credentials() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut admin = Admin::new(&server).await;
    let clear = hallpass_redis::RedisTokenStore::builder(server.text("url"));
    let clear = clear.danger_store_in_clear().build().unwrap();
    let digest = format!("{DIGEST:?}").replace(' ', "");
    for (store, is_shown) in [(store(&server), false), (clear, true)] {
        let () = admin.run("FLUSHALL").await;
        let cache = CachedTokenSource::builder(Refused)
            .store(store, "issuer client")
            .store_timeout(Duration::from_secs(2))
            .build();
        cache.token(&TokenRequest::new()).await.unwrap_err();
        cache.shutdown().await;
        let name = admin.name("entry").await;
        let stored: Vec<u8> = admin.run(&format!("GET {name}")).await;
        let stored = String::from_utf8_lossy(&stored).into_owned();
        for canary in [&*digest, "CANARY-message"] {
            assert_eq!(stored.contains(canary), is_shown, "{canary}");
        }
    }
}
