//! Each call of the store, and what is in Redis after it.

use std::time::Duration;

use hallpass_cache::{Lease, LeaseOutcome, TokenStore as _};
use hallpass_testkit::leak;

use crate::{redis_server::RedisServer, support::*};

const TTL: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_entry_is_found_with_its_fence_and_ttl() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, key) = (store(&server), key("one"));
    assert!(store.look_up(&key).await.unwrap().is_none());
    let lease = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    store
        .put(&key, b"CANARY-token", HOUR, Some(&lease))
        .await
        .unwrap();
    let entry = store.look_up(&key).await.unwrap().unwrap();
    assert_eq!(entry.bytes(), b"CANARY-token");
    assert_eq!(entry.fence(), lease.fence());
    let ttl = entry.ttl().unwrap();
    assert!(ttl <= HOUR && ttl + TTL > HOUR, "{ttl:?}");

    let mut admin = Admin::new(&server).await;
    let name = admin.name("entry").await;
    let stored: Vec<u8> = admin.run(&format!("GET {name}")).await;
    let stored = String::from_utf8_lossy(&stored).into_owned();
    assert!(leak::find("CANARY-token", "CANARY-token").is_some());
    assert!(leak::find(&stored, "CANARY-token").is_none());
    let names: Vec<String> = admin.run("KEYS *").await;
    for name in names {
        let ttl: i64 = admin.run(&format!("PTTL {name}")).await;
        assert!(ttl > 0, "{name} never expires");
    }
}

#[tokio::test]
async fn a_lease_granted_to_a_dropped_call_is_released_at_once() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    let keys = [key("lease"), key("look up or lease")];
    assert!(store.look_up(&keys[0]).await.unwrap().is_none());
    let () = admin.run("CLIENT PAUSE 300 ALL").await;
    let calls = async {
        tokio::join!(
            store.lease(&keys[0], TTL),
            store.look_up_or_lease(&keys[1], None, TTL)
        )
    };
    let dropped = tokio::time::timeout(Duration::from_millis(50), calls);
    assert!(dropped.await.is_err());
    for key in &keys {
        eventually(async || {
            // It was granted after the pause, and is released.
            let outcome = store.lease(key, TTL).await.unwrap();
            outcome.into_lease().is_some()
        })
        .await;
    }
    assert_eq!(admin.calls("del").await, 2);
}

#[test]
fn a_store_outlives_the_runtime_that_connected_it() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let store = store(&server);
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let found = runtime.block_on(store.look_up(&key("one")));
        assert!(found.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_user_without_channels_has_no_notifications() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut admin = Admin::new(&server).await;
    let () = admin.run("ACL SETUSER hallpass resetchannels").await;
    let (store, key) = (store(&server), key("one"));
    let changed = tokio::time::timeout(Duration::from_millis(300), store.changed(&key));
    assert!(changed.await.is_err());
    let lease = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    store.put(&key, b"entry", TTL, Some(&lease)).await.unwrap();
    store.release(&key, &lease).await.unwrap();
    assert!(store.look_up(&key).await.unwrap().is_some());
}

// covers: F-89
#[tokio::test]
async fn one_lease_at_a_time_and_fences_increase() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, key) = (store(&server), key("one"));
    let first = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    let held = LeaseOutcome::Held {
        fence: Some(first.fence()),
    };
    assert_eq!(store.lease(&key, TTL).await.unwrap(), held);
    assert!(store.extend(&key, &first, TTL).await.unwrap());
    let stranger = Lease::new(first.fence()).with_owner(first.owner() ^ 1);
    assert!(!store.extend(&key, &stranger, TTL).await.unwrap());
    store.release(&key, &stranger).await.unwrap();
    assert_eq!(store.lease(&key, TTL).await.unwrap(), held);
    let put = store.put(&key, b"stranger", HOUR, Some(&stranger)).await;
    put.unwrap();
    assert!(store.look_up(&key).await.unwrap().is_none());
    store.release(&key, &first).await.unwrap();
    let second = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    assert!(second.fence() > first.fence());
    store.put(&key, b"late", HOUR, Some(&first)).await.unwrap();
    assert!(store.look_up(&key).await.unwrap().is_none());
    store.put(&key, b"new", HOUR, Some(&second)).await.unwrap();
    store.remove(&key, first.fence()).await.unwrap();
    let entry = store.look_up(&key).await.unwrap().unwrap();
    assert_eq!(entry.bytes(), b"new");
    store.remove(&key, entry.fence()).await.unwrap();
    assert!(store.look_up(&key).await.unwrap().is_none());
}

#[tokio::test]
async fn fences_increase_although_the_servers_clock_moves_back() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, key) = (store(&server), key("one"));
    let first = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    store.release(&key, &first).await.unwrap();
    let mut admin = Admin::new(&server).await;
    let name = admin.name("fence").await;
    // The fence of an hour from now, as a clock wrote it that has moved back since.
    let last = first.fence() + 3_600_000_000;
    let () = admin.run(&format!("SET {name} {last:016}")).await;
    let second = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    assert_eq!(second.fence(), last + 1);
}
