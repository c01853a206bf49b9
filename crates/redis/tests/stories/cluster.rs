//! A Redis Cluster of three nodes.

use std::time::Duration;

use hallpass_cache::TokenStore as _;
use hallpass_redis::RedisTokenStore;

use crate::{redis_server::RedisServer, redis_topology::cluster, support::*};

const TTL: Duration = Duration::from_secs(60);

fn cluster_store(nodes: &[RedisServer]) -> RedisTokenStore {
    let others = nodes[1..].iter();
    let others = others.map(|node| format!("redis://127.0.0.1:{}", node.number("port")));
    builder(&nodes[0]).cluster(others).build().unwrap()
}

#[tokio::test]
async fn keys_are_found_on_all_nodes_of_a_cluster() {
    let Some(nodes) = cluster() else {
        return;
    };
    let (one, other) = (cluster_store(&nodes), cluster_store(&nodes));
    let keys: Vec<_> = (0..30).map(|number| key(&number.to_string())).collect();
    for key in &keys {
        let lease = one.lease(key, TTL).await.unwrap().into_lease().unwrap();
        one.put(key, key.as_str().as_bytes(), TTL, Some(&lease))
            .await
            .unwrap();
        one.release(key, &lease).await.unwrap();
    }
    for key in &keys {
        let found = other.look_up(key).await.unwrap().unwrap();
        assert_eq!(found.bytes(), key.as_str().as_bytes());
    }
    for node in &nodes {
        let names: usize = Admin::new(node).await.run("DBSIZE").await;
        assert!(names > 0);
    }
    // A redirection is learned.
    let before = redirections(&nodes).await;
    for key in &keys {
        other.look_up(key).await.unwrap();
    }
    assert!(before > 0);
    assert_eq!(redirections(&nodes).await, before);
}

/// Returns the number of `MOVED` errors of all nodes.
async fn redirections(nodes: &[RedisServer]) -> usize {
    let mut all = 0;
    for node in nodes {
        let statistics: String = Admin::new(node).await.run("INFO errorstats").await;
        let mut lines = statistics.lines();
        let count = lines.find_map(|line| line.strip_prefix("errorstat_MOVED:count="));
        all += count.map_or(0, |count| count.parse::<usize>().unwrap());
    }
    all
}

#[tokio::test]
async fn a_slot_that_moves_to_another_node_is_followed() {
    let Some(nodes) = cluster() else {
        return;
    };
    let (store, key) = (cluster_store(&nodes), key("one"));
    let lease = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    store.put(&key, b"entry", TTL, Some(&lease)).await.unwrap();
    let mut admins = Vec::new();
    let mut ids = Vec::new();
    for node in &nodes {
        let mut admin = Admin::new(node).await;
        ids.push(admin.run::<String>("CLUSTER MYID").await);
        admins.push(admin);
    }
    let slot: u16 = admins[0]
        .run(&format!("CLUSTER KEYSLOT {{{}}}", key.as_str()))
        .await;
    // The nodes of `create` have the slots in order, a third each.
    let from = usize::from(slot / 5_462);
    let to = (from + 1) % 3;
    let (source, target) = (ids[from].clone(), ids[to].clone());
    let () = admins[to]
        .run(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}"))
        .await;
    let () = admins[from]
        .run(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}"))
        .await;
    let names: Vec<String> = admins[from].run("KEYS *").await;
    let (port, password) = (nodes[to].number("port"), nodes[to].text("default_password"));
    let migrate = format!("MIGRATE 127.0.0.1 {port}  0 5000 AUTH {password} KEYS");
    let () = admins[from]
        .run(&format!("{migrate} {}", names.join(" ")))
        .await;
    // All three names are on the other node already (ASK).
    let found = store.look_up(&key).await.unwrap().unwrap();
    assert_eq!(found.bytes(), b"entry");
    store.release(&key, &lease).await.unwrap();
    // Of a key without a lease, nobody knows where it is while its slot moves.
    let moving = store.look_up(&key).await.unwrap_err().to_string();
    assert_eq!(moving, "the cluster is moving the key (TRYAGAIN)");
    for admin in [to, from, 3 - to - from] {
        let () = admins[admin]
            .run(&format!("CLUSTER SETSLOT {slot} NODE {target}"))
            .await;
    }
    let found = store.look_up(&key).await.unwrap().unwrap();
    assert_eq!(found.bytes(), b"entry");
}

#[tokio::test]
async fn changes_are_reported_by_every_node_of_a_cluster() {
    let Some(nodes) = cluster() else {
        return;
    };
    let (one, other) = (cluster_store(&nodes), cluster_store(&nodes));
    for number in 0..5 {
        let key = key(&number.to_string());
        let waiting = {
            let (other, key) = (other.clone(), key.clone());
            tokio::spawn(async move { other.changed(&key).await })
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        one.put(&key, b"entry", TTL, None).await.unwrap();
        let notified = tokio::time::timeout(Duration::from_secs(2), waiting);
        notified.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_is_down_fails_no_caller() {
    let Some(mut nodes) = cluster() else {
        return;
    };
    let store = cluster_store(&nodes[..2]);
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    nodes.pop().unwrap().kill();
    // A third of the slots has no node: the others refuse theirs too.
    let down = "the cluster is down (CLUSTERDOWN)";
    eventually(async || {
        let reason = store.look_up(&key("one")).await.err();
        reason.is_some_and(|reason| reason.to_string() == down)
    })
    .await;
    assert_own_request(&store, down).await;
}

#[tokio::test]
async fn a_store_for_one_server_reports_a_cluster() {
    let Some(nodes) = cluster() else {
        return;
    };
    let store = builder(&nodes[0]).build().unwrap();
    let mut reasons = Vec::new();
    for number in 0..20 {
        let found = store.look_up(&key(&number.to_string())).await;
        reasons.extend(found.err().map(|error| error.to_string()));
    }
    let moved = "the server belongs to a cluster, and the key is on another node: set `cluster`";
    assert!(
        !reasons.is_empty() && reasons.iter().all(|reason| reason == moved),
        "{reasons:?}"
    );
    // Two of three nodes redirect the key of the cache.
    for node in &nodes {
        let store = builder(node).build().unwrap();
        let name =
            hallpass_cache::StoreKey::new("issuer client", &hallpass_core::TokenRequest::new());
        if store.look_up(&name).await.is_err() {
            assert_own_request(&store, moved).await;
        }
    }
}
