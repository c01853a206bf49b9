//! States in which a server answers with an error: starting, busy, unable to save, protected by a password.

use std::path::Path;

use hallpass_cache::TokenStore as _;
use hallpass_redis::{RedisStoreError, RedisStoreErrorKind, RedisTokenStore};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{redis_server::RedisServer, support::*};

#[tokio::test]
async fn a_server_that_runs_a_script_is_used_afterwards() {
    let Some(server) = RedisServer::start(&["--", "--busy-reply-threshold", "1"]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    let mut other = Admin::new(&server).await;
    let running = tokio::spawn(async move { other.eval("while true do end").await });
    let busy = "Redis is busy with a script (BUSY)";
    eventually(async || {
        let error = store.look_up(&key("one")).await.err();
        error.is_some_and(|error| error.to_string() == busy)
    })
    .await;
    assert_own_request(&store, busy).await;
    let () = admin.run("SCRIPT KILL").await;
    running.await.unwrap().unwrap_err();
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
}

/// A replica loads the data of its primary, a hundred keys a second.
#[tokio::test]
async fn a_server_that_loads_its_data_is_used_afterwards() {
    let Some(primary) = RedisServer::start(&[]) else {
        return;
    };
    let mut admin = Admin::new(&primary).await;
    let fill = "for i = 1, 300 do redis.call('SET', i, string.rep('x', 100)) end";
    admin.eval(fill).await.unwrap();
    let password = primary.text("default_password").to_owned();
    let server = primary.another(&[
        "--",
        "--masterauth",
        &password,
        "--key-load-delay",
        "10000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    let replicate = format!("REPLICAOF 127.0.0.1 {}", primary.number("port"));
    let () = admin.run(&replicate).await;
    let loading = "Redis is loading its data (LOADING)";
    eventually(async || {
        let error = store.look_up(&key("one")).await.err();
        error.is_some_and(|error| error.to_string() == loading)
    })
    .await;
    assert_own_request(&store, loading).await;
    eventually(async || store.look_up(&key("one")).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_cannot_save_is_read_and_not_written() {
    let Some(server) = RedisServer::start(&["--", "--save", "3600 1"]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    store.put(&key("one"), b"entry", HOUR, None).await.unwrap();
    // The file of the data cannot replace a directory. It is removed first, so that the server can save when it stops.
    let folder = Path::new(server.text("ca")).parent().unwrap();
    let mut dump = tempfile::Builder::new();
    let _dump = dump
        .prefix("dump.rdb")
        .rand_bytes(0)
        .tempdir_in(folder)
        .unwrap();
    let _: String = admin.run("BGSAVE").await;
    let failed = "Redis cannot persist its data and refuses writes (MISCONF)";
    eventually(async || {
        let error = store.put(&key("two"), b"entry", HOUR, None).await.err();
        error.is_some_and(|error| error.to_string() == failed)
    })
    .await;
    assert!(store.look_up(&key("one")).await.unwrap().is_some());
    assert_own_request(&store, failed).await;
    let () = admin.run("CONFIG SET stop-writes-on-bgsave-error no").await;
    store.put(&key("two"), b"entry", HOUR, None).await.unwrap();
}

#[tokio::test]
async fn a_required_and_an_unexpected_password_are_reported() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let url = format!("redis://127.0.0.1:{}", server.number("port"));
    let store = |password: Option<&str>| {
        let builder = RedisTokenStore::builder(&url).keys(secret(KEY));
        let builder = match password {
            Some(password) => builder.password(secret(password)),
            None => builder,
        };
        builder.build().unwrap()
    };
    let without = store(None);
    assert_own_request(&without, "Redis requires a password (NOAUTH)").await;
    let error = without.look_up(&key("one")).await.unwrap_err();
    let error: &RedisStoreError = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), RedisStoreErrorKind::PasswordRequired);

    let mut admin = Admin::new(&server).await;
    let () = admin.run("ACL SETUSER default on nopass").await;
    let unprotected = store(None);
    assert!(unprotected.look_up(&key("one")).await.unwrap().is_none());
}

/// Starts a server that greets each connection, and then sends the next one of these replies to each command.
async fn scripted(replies: [&'static str; 2]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for reply in replies {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut next = "%1\r\n$5\r\nproto\r\n:3\r\n";
                while stream
                    .read(&mut [0; 4_096])
                    .await
                    .is_ok_and(|read| read > 0)
                {
                    stream.write_all(next.as_bytes()).await.unwrap();
                    next = reply;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_connection_that_lost_its_login_is_replaced() {
    let url = scripted(["-NOAUTH Authentication required.\r\n", "_\r\n"]).await;
    let store = RedisTokenStore::builder(url).keys(secret(KEY));
    let store = store.build().unwrap();
    let error = store.look_up(&key("one")).await.unwrap_err();
    assert!(error.to_string().contains("NOAUTH"), "{error}");
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
}
