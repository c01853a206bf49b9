//! A primary, a replica, and a sentinel that knows them.

use std::{
    collections::HashMap, fs, process::Child, process::Command, process::Stdio, time::Duration,
};

use hallpass_cache::TokenStore as _;
use tempfile::TempDir;

use crate::{redis_server::RedisServer, support::*};

const TTL: Duration = Duration::from_secs(60);

/// A sentinel, stopped on drop.
struct Sentinel {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Sentinel {
    fn start(primary: &RedisServer) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let settings = folder.path().join("sentinel.conf");
        let text = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass sentinel-password\ndir {}\n\
             sentinel monitor mymaster 127.0.0.1 {} 1\nsentinel auth-pass mymaster {}\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 2000\n",
            folder.path().display(),
            primary.number("port"),
            primary.text("default_password"),
        );
        fs::write(&settings, text).unwrap();
        let process = Command::new("redis-server")
            .arg(settings)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn();
        Self {
            process: process.unwrap(),
            port,
            _folder: folder,
        }
    }
}

impl Sentinel {
    /// Waits until it can promote a replica.
    async fn knows_a_replica(&self) {
        let url = format!("redis://:sentinel-password@127.0.0.1:{}", self.port);
        let client = redis::Client::open(url).unwrap();
        let connection = client.get_multiplexed_async_connection().await;
        let mut connection = connection.unwrap();
        loop {
            let mut command = redis::cmd("SENTINEL");
            command.arg("MASTER").arg("mymaster");
            let state: HashMap<String, String> =
                command.query_async(&mut connection).await.unwrap();
            if state["num-slaves"] == "1" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
    let down = "redis://127.0.0.1:1";
    let store = hallpass_redis::RedisTokenStore::builder(down)
        .sentinel("mymaster", [format!("redis://127.0.0.1:{}", sentinel.port)])
        .sentinel_credentials(None, secret("sentinel-password"))
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

    sentinel.knows_a_replica().await;
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
async fn a_primary_that_the_sentinels_do_not_know_is_named() {
    let Some(primary) = RedisServer::start(&[]) else {
        return;
    };
    let sentinel = Sentinel::start(&primary);
    let store =
        hallpass_redis::RedisTokenStore::builder(format!("redis://127.0.0.1:{}", sentinel.port))
            .sentinel("other", [""; 0])
            .sentinel_credentials(None, secret("sentinel-password"))
            .keys(secret(KEY))
            .build()
            .unwrap();
    let unknown = "the sentinel does not know a primary of this name";
    eventually(async || {
        let reason = store.look_up(&key("one")).await.unwrap_err().to_string();
        reason == unknown
    })
    .await;
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
