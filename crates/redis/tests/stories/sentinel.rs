//! A primary, a replica, and a sentinel that knows them.

use std::time::Duration;

use hallpass_cache::TokenStore as _;
use hallpass_redis::{RedisStoreError, RedisStoreErrorKind, RedisTokenStoreBuilder};
use hallpass_testkit::RotatingSecret;

use crate::{
    redis_server::RedisServer,
    redis_topology::{SENTINEL_PASSWORD, SENTINEL_USER, SERVICE, Sentinel},
    support::*,
};

const TTL: Duration = Duration::from_secs(60);

/// Returns a builder for a store on the primary that the sentinel names.
fn sentinel_builder(primary: &RedisServer, sentinel: &Sentinel) -> RedisTokenStoreBuilder {
    hallpass_redis::RedisTokenStore::builder(sentinel.url())
        .sentinel(SERVICE, [""; 0])
        .sentinel_credentials(Some(SENTINEL_USER), secret(SENTINEL_PASSWORD))
        .username(primary.text("user"))
        .password(secret(primary.text("password")))
        .keys(secret(KEY))
}

// covers: F-91
#[tokio::test]
async fn the_primary_that_sentinels_name_is_used_after_a_failover() {
    let Some(primary) = RedisServer::start(&[]) else {
        return;
    };
    let password = primary.text("default_password").to_owned();
    let port = primary.number("port").to_string();
    let replica = primary.another(&[
        "--",
        "--replicaof",
        "127.0.0.1",
        &port,
        "--masterauth",
        &password,
    ]);
    let mut admin = Admin::new(&primary).await;
    let () = admin
        .run(&format!("CONFIG SET masterauth {password}"))
        .await;
    replicates(&primary, "state=online").await;
    let sentinel = Sentinel::start(&primary);
    // The first sentinel is down.
    let down = "redis://127.0.0.1:1";
    let store = hallpass_redis::RedisTokenStore::builder(down)
        .sentinel(SERVICE, [sentinel.url()])
        .sentinel_credentials(Some(SENTINEL_USER), secret(SENTINEL_PASSWORD))
        .username(primary.text("user"))
        .password(secret(primary.text("password")))
        .keys(secret(KEY))
        .build()
        .unwrap();
    eventually(async || store.look_up(&key("one")).await.is_ok()).await;
    let first = store
        .lease(&key("one"), TTL)
        .await
        .unwrap()
        .granted()
        .unwrap();
    store
        .put(&key("one"), b"entry", TTL, Some(&first))
        .await
        .unwrap();
    replicates(&replica, "role:slave").await;
    let _: usize = admin.run("WAIT 1 5000").await;

    sentinel.knows_a_replica();
    drop(primary);
    replicates(&replica, "role:master").await;
    eventually(async || store.release(&key("one"), &first).await.is_ok()).await;
    let found = store.look_up(&key("one")).await.unwrap().unwrap();
    assert_eq!(found.bytes(), b"entry");
    let second = store
        .lease(&key("one"), TTL)
        .await
        .unwrap()
        .granted()
        .unwrap();
    assert!(second.fence() > first.fence());
}

#[tokio::test]
async fn a_primary_that_the_sentinels_do_not_know_is_reported() {
    let Some(primary) = RedisServer::start(&[]) else {
        return;
    };
    let sentinel = Sentinel::start(&primary);
    let store = sentinel_builder(&primary, &sentinel).sentinel("other", [""; 0]);
    let error = store.build().unwrap().look_up(&key("one")).await;
    let error = error.unwrap_err();
    let unknown = "the sentinel does not know a primary of this name";
    assert_eq!(error.to_string(), unknown);
    let error: &RedisStoreError = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), RedisStoreErrorKind::Sentinel);
}

#[tokio::test]
async fn sentinels_have_a_password_of_their_own_which_rotates() {
    let Some(primary) = RedisServer::start(&[]) else {
        return;
    };
    let sentinel = Sentinel::start(&primary);
    let password = RotatingSecret::new("CANARY-wrong");
    let store = sentinel_builder(&primary, &sentinel)
        .sentinel_credentials(Some(SENTINEL_USER), password.clone());
    let store = store.build().unwrap();
    let error = store.look_up(&key("one")).await.unwrap_err();
    let rejected = "at the sentinel: Redis rejected username and password (WRONGPASS)";
    assert_eq!(error.to_string(), rejected);
    let error: &RedisStoreError = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), RedisStoreErrorKind::SentinelPassword);
    password.rotate(SENTINEL_PASSWORD);
    eventually(async || store.look_up(&key("one")).await.is_ok()).await;

    // The primary's user is not the sentinels'.
    let none = hallpass_redis::RedisTokenStore::builder(sentinel.url())
        .sentinel(SERVICE, [""; 0])
        .username(primary.text("user"))
        .password(secret(primary.text("password")))
        .keys(secret(KEY));
    let error = none.build().unwrap().look_up(&key("one")).await;
    let required = "at the sentinel: Redis requires a password (NOAUTH)";
    assert_eq!(error.unwrap_err().to_string(), required);
}

/// Waits until the server's replication state shows this text. A failover closes connections.
async fn replicates(server: &RedisServer, expected: &str) {
    for _ in 0..400 {
        let text: String = Admin::new(server).await.run("INFO replication").await;
        if text.contains(expected) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not show `{expected}`");
}
