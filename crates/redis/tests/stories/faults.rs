//! Failures of Redis, of which no caller fails.

use std::{pin::pin, time::Duration};

use hallpass_cache::TokenStore as _;

use crate::{redis_server::RedisServer, support::*};

const TTL: Duration = Duration::from_secs(60);

/// Returns the reason why a look-up fails.
async fn reason(store: &hallpass_redis::RedisTokenStore) -> String {
    store.look_up(&key("one")).await.unwrap_err().to_string()
}

// covers: F-87
#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_used_once_it_is_up() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    server.kill();
    let store = store(&server);
    let refused = "Redis cannot be reached: connection refused";
    assert_eq!(reason(&store).await, refused);
    assert_own_request(&store, refused).await;
    let _server = server.replace();
    eventually(async || store.look_up(&key("one")).await.is_ok()).await;
}

// covers: F-90, F-91
#[tokio::test]
async fn a_server_that_is_killed_and_replaced_is_used_again() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, key) = (store(&server), key("one"));
    let first = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    server.kill();
    assert!(store.look_up(&key).await.is_err());
    let _server = server.replace();
    eventually(async || store.look_up(&key).await.is_ok()).await;
    // It has lost the counter.
    let second = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    assert!(second.fence() > first.fence());
    assert!(!store.extend(&key, &first, TTL).await.unwrap());
}

// covers: F-88
#[tokio::test]
async fn a_server_that_hangs_delays_no_caller_for_long() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let store = builder(&server).response_timeout(Duration::from_millis(200));
    let store = store.build().unwrap();
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    server.signal("STOP");
    assert_eq!(reason(&store).await, "Redis did not answer in time");
    assert_own_request(&store, "Redis did not answer in time").await;
    server.signal("CONT");
    eventually(async || store.look_up(&key("one")).await.is_ok()).await;
}

// covers: F-97
#[tokio::test]
async fn a_full_server_is_read_and_not_written() {
    let Some(server) = RedisServer::start(&["--", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    let key = key("one");
    let lease = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    store.put(&key, b"entry", TTL, Some(&lease)).await.unwrap();
    let () = admin.run("CONFIG SET maxmemory 1").await;
    let full = "Redis has reached its memory limit (OOM)";
    let put = store.put(&key, b"other", TTL, Some(&lease)).await;
    assert_eq!(put.unwrap_err().to_string(), full);
    assert_eq!(
        store.look_up(&key).await.unwrap().unwrap().bytes(),
        b"entry"
    );
    store.release(&key, &lease).await.unwrap();
    store.remove(&key, lease.fence()).await.unwrap();
    assert!(store.look_up(&key).await.unwrap().is_none());
    assert_eq!(store.lease(&key, TTL).await.unwrap_err().to_string(), full);
    assert_own_request(&store, full).await;
}

#[tokio::test]
async fn a_flushed_server_loses_entries_leases_and_scripts_only() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    let key = key("one");
    let first = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    store.put(&key, b"entry", TTL, Some(&first)).await.unwrap();
    let () = admin.run("FLUSHALL").await;
    let () = admin.run("SCRIPT FLUSH").await;
    assert!(store.look_up(&key).await.unwrap().is_none());
    assert!(!store.extend(&key, &first, TTL).await.unwrap());
    let second = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    assert!(second.fence() > first.fence());
}

// covers: F-92
#[tokio::test]
async fn values_of_other_types_and_garbage_are_overwritten() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    let key = key("one");
    let base = format!("hallpass:{{{}}}", key.as_str());
    for garbage in [
        "RPUSH NAME x",
        "SET NAME x",
        "SET NAME 9999999999999999x",
        "HSET NAME a b",
    ] {
        let () = admin.run("FLUSHALL").await;
        for part in ["entry", "lease", "fence"] {
            let name = format!("{base}:{part}");
            let () = admin.run(&garbage.replace("NAME", &name)).await;
        }
        assert!(store.look_up(&key).await.unwrap().is_none(), "{garbage}");
        let lease = store.lease(&key, TTL).await.unwrap();
        let lease = lease.into_lease().expect(garbage);
        assert!(store.extend(&key, &lease, TTL).await.unwrap());
        store.put(&key, b"entry", TTL, Some(&lease)).await.unwrap();
        let entry = store.look_up(&key).await.unwrap().expect(garbage);
        assert_eq!(entry.bytes(), b"entry");
        store.remove(&key, entry.fence()).await.unwrap();
        let () = admin
            .run(&garbage.replace("NAME", &format!("{base}:entry")))
            .await;
        store
            .put(&key, b"without a lease", TTL, None)
            .await
            .unwrap();
        assert!(store.look_up(&key).await.unwrap().is_some(), "{garbage}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_a_corrected_one_is_used() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let password = hallpass_testkit::RotatingSecret::new("CANARY-wrong");
    let store = builder(&server).password(password.clone()).build().unwrap();
    let refused = "Redis refused username and password (WRONGPASS)";
    assert_eq!(reason(&store).await, refused);
    assert_own_request(&store, refused).await;
    password.rotate(server.text("password"));
    eventually(async || store.look_up(&key("one")).await.is_ok()).await;
}

#[tokio::test]
async fn a_missing_permission_is_reported() {
    let Some(server) = RedisServer::start(&["--prefix", "other:*"]) else {
        return;
    };
    let store = store(&server);
    let reason = reason(&store).await;
    assert!(reason.contains("lacks a permission"), "{reason}");
    assert_own_request(&store, &reason).await;
    let other = builder(&server).prefix("other:").build().unwrap();
    assert!(other.look_up(&key("one")).await.unwrap().is_none());
}

// covers: F-97
#[tokio::test]
async fn a_replica_is_read_and_its_refusal_to_write_is_reported() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    let () = admin.run("REPLICAOF 127.0.0.1 1").await;
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    let lease = store.lease(&key("one"), TTL).await.unwrap_err();
    assert_eq!(lease.to_string(), "Redis is a read-only replica (READONLY)");
    assert_own_request(&store, "Redis is a read-only replica (READONLY)").await;
}

#[tokio::test]
async fn changes_are_reported_after_an_outage() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, key) = (store(&server), key("one"));
    assert!(store.look_up(&key).await.unwrap().is_none());
    server.kill();
    let waiting = {
        let (store, key) = (store.clone(), key.clone());
        tokio::spawn(async move {
            // For the lost connection, the missed changes and the new entry; an idle process makes no other call.
            loop {
                store.changed(&key).await;
                if store.look_up(&key).await.is_ok_and(|found| found.is_some()) {
                    return;
                }
            }
        })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let server = server.replace();
    let mut admin = Admin::new(&server).await;
    let subscribed = async |admin: &mut Admin| {
        let [_, count]: [redis::Value; 2] = admin.run("PUBSUB NUMSUB hallpass:changed").await;
        count == redis::Value::Int(1)
    };
    let mut tries = 0;
    while !subscribed(&mut admin).await {
        tries += 1;
        assert!(tries < 200, "no subscription after the outage");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(store.notifies());
    let other = builder(&server).build().unwrap();
    other.put(&key, b"entry", TTL, None).await.unwrap();
    let notified = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    notified.unwrap().unwrap();
}

#[tokio::test]
async fn a_wait_that_begins_during_an_outage_ends_with_it() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    server.kill();
    let (store, key) = (store(&server), key("one"));
    let mut changed = pin!(store.changed(&key));
    let during = tokio::time::timeout(Duration::from_millis(300), &mut changed);
    assert!(during.await.is_err());
    // Nothing changes: a change before the subscription would have been missed.
    let _server = server.replace();
    let after = tokio::time::timeout(Duration::from_secs(10), changed);
    after.await.unwrap();
}
