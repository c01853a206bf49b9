//! A primary, a replica, and a sentinel that knows them.

use std::{sync::Arc, time::Duration};

use hallpass_cache::TokenStore as _;
use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_redis::{RedisStoreError, RedisStoreErrorKind, RedisTokenStoreBuilder};
use hallpass_testkit::{Gate, RotatingSecret, ScriptedSource};

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

/// Starts a primary, its replica, and a sentinel that can promote the replica.
async fn replicated() -> Option<(RedisServer, RedisServer, Sentinel)> {
    let primary = RedisServer::start(&[])?;
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
    let () = Admin::new(&primary)
        .await
        .run(&format!("CONFIG SET masterauth {password}"))
        .await;
    replicates(&primary, "state=online").await;
    let sentinel = Sentinel::start(&primary);
    sentinel.knows_a_replica();
    Some((primary, replica, sentinel))
}

// covers: F-91
#[tokio::test]
async fn the_primary_that_sentinels_name_is_used_after_a_failover() {
    let Some((primary, replica, sentinel)) = replicated().await else {
        return;
    };
    // The first sentinel is down. The database is that of the primary.
    let down = "redis://127.0.0.1:1/3";
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
        .into_lease()
        .unwrap();
    store
        .put(&key("one"), b"entry", TTL, Some(&first))
        .await
        .unwrap();
    let mut admin = Admin::new(&primary).await;
    let keys: String = admin.run("INFO keyspace").await;
    assert!(keys.contains("db3:") && !keys.contains("db0:"), "{keys}");
    let _: usize = admin.run("WAIT 1 5000").await;

    drop(primary);
    replicates(&replica, "role:master").await;
    eventually(async || store.release(&key("one"), &first).await.is_ok()).await;
    let found = store.look_up(&key("one")).await.unwrap().unwrap();
    assert_eq!(found.bytes(), b"entry");
    let second = store
        .lease(&key("one"), TTL)
        .await
        .unwrap()
        .into_lease()
        .unwrap();
    assert!(second.fence() > first.fence());
}

// covers: F-91
#[tokio::test]
async fn a_failover_that_loses_the_lease_keeps_the_later_token() {
    let Some((primary, replica, sentinel)) = replicated().await else {
        return;
    };
    let store = || sentinel_builder(&primary, &sentinel).build().unwrap();
    let (holder_store, other_store) = (store(), store());
    let gate = Gate::new();
    let holder = Arc::new(cache(&gated_source(1, gate.clone()), &holder_store));
    // The replica gets nothing more of the primary.
    let mut admin = Admin::new(&replica).await;
    let () = admin.run("CONFIG SET masterauth wrong").await;
    let mut admin = Admin::new(&primary).await;
    let _: usize = admin.run("CLIENT KILL TYPE replica").await;
    replicates(&replica, "master_link_status:down").await;
    let waiting = {
        let holder = holder.clone();
        tokio::spawn(async move { holder.token(&TokenRequest::new()).await })
    };
    gate.arrived(1).await;
    admin.name("lease").await;
    drop(primary);
    replicates(&replica, "role:master").await;
    let leases: Vec<String> = Admin::new(&replica).await.run("KEYS *:lease").await;
    assert!(leases.is_empty(), "{leases:?}");
    eventually(async || other_store.look_up(&key("one")).await.is_ok()).await;

    let later = ScriptedSource::new([Ok(token(2))]);
    let other = cache(&later, &other_store);
    let fetched = other.token(&TokenRequest::new()).await.unwrap();
    assert_eq!((fetched.expose(), later.calls()), ("t2", 1));
    other.shutdown().await;
    gate.open();
    let held = waiting.await.unwrap().unwrap();
    assert_eq!(held.expose(), "t1");
    holder.shutdown().await;
    let unused = source(1);
    let third = cache(&unused, &other_store);
    let shared = third.token(&TokenRequest::new()).await.unwrap();
    assert_eq!((shared.expose(), unused.calls()), ("t2", 0));
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
    let refused = "at the sentinel: Redis refused username and password (WRONGPASS)";
    assert_eq!(error.to_string(), refused);
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
        // Sentinels close the connections of the server that they promote.
        let text = async {
            let mut admin = Admin::connect(server).await?;
            admin.try_run::<String>("INFO replication").await
        };
        if text.await.is_ok_and(|text| text.contains(expected)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not show `{expected}`");
}
