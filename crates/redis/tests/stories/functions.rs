//! A user that may call functions, and neither send nor run scripts.

use std::time::Duration;

use hallpass_cache::{EntryOrLease, Lease, TokenStore as _};
use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_redis::{RedisStoreError, RedisStoreErrorKind, RedisTokenStore};

use crate::{redis_server::RedisServer, support::*};

const TTL: Duration = Duration::from_secs(60);

/// Starts a server whose user has the documented rights for functions.
async fn start() -> Option<RedisServer> {
    let server = RedisServer::start(&["--", "--maxmemory-policy", "noeviction"])?;
    let password = format!(">{}", server.text("password"));
    let rule = documented_rule("+fcall").replace(">PASSWORD", &password);
    let mut admin = Admin::new(&server).await;
    let () = admin.run(&rule.replace(" on ", " reset on ")).await;
    Some(server)
}

fn function_store(server: &RedisServer) -> RedisTokenStore {
    builder(server).functions().build().unwrap()
}

async fn load(server: &RedisServer) {
    let mut admin = Admin::new(server).await;
    let library = RedisTokenStore::function_library();
    admin.load_functions(library).await;
}

#[tokio::test]
async fn each_call_is_a_function() {
    let Some(server) = start().await else { return };
    load(&server).await;
    let (store, key) = (function_store(&server), key("one"));
    let first = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    assert!(store.lease(&key, TTL).await.unwrap().into_lease().is_none());
    assert!(store.extend(&key, &first, TTL).await.unwrap());
    store.put(&key, b"entry", TTL, Some(&first)).await.unwrap();
    let stranger = Lease::new(first.fence()).with_owner(first.owner() ^ 1);
    store.release(&key, &stranger).await.unwrap();
    assert!(store.extend(&key, &first, TTL).await.unwrap());
    store.release(&key, &first).await.unwrap();
    let second = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    assert!(second.fence() > first.fence());
    let entry = store.look_up(&key).await.unwrap().unwrap();
    assert_eq!(entry.bytes(), b"entry");
    assert_eq!(entry.fence(), first.fence());
    store.remove(&key, second.fence()).await.unwrap();
    assert!(store.look_up(&key).await.unwrap().is_some());
    store.remove(&key, first.fence()).await.unwrap();
    assert!(store.look_up(&key).await.unwrap().is_none());
    let mut admin = Admin::new(&server).await;
    assert_eq!(admin.calls("eval").await + admin.calls("evalsha").await, 0);
    // The user may not run scripts.
    let scripts = builder(&server).build().unwrap();
    let error = scripts.look_up(&key).await.unwrap_err();
    assert!(error.to_string().contains("NOPERM"), "{error}");
}

#[tokio::test]
async fn processes_share_a_token_by_functions() {
    let Some(server) = start().await else { return };
    load(&server).await;
    let source = source(2);
    for _ in 0..2 {
        let cache = cache(&source, &function_store(&server));
        let token = cache.token(&TokenRequest::new()).await.unwrap();
        assert_eq!(token.expose(), "t1");
        cache.shutdown().await;
    }
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn a_library_that_is_not_loaded_is_reported() {
    let Some(server) = start().await else { return };
    let store = function_store(&server);
    let error = store.look_up(&key("one")).await.unwrap_err();
    let text = "this version's function library is not loaded into Redis (FUNCTION LOAD)";
    assert_eq!(error.to_string(), text);
    let error: &RedisStoreError = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), RedisStoreErrorKind::FunctionsMissing);
    assert_own_request(&store, text).await;
    load(&server).await;
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_full_server_is_read_by_functions() {
    let Some(server) = start().await else { return };
    load(&server).await;
    let (store, key) = (function_store(&server), key("one"));
    let lease = store.lease(&key, TTL).await.unwrap().into_lease().unwrap();
    store.put(&key, b"entry", TTL, Some(&lease)).await.unwrap();
    let mut admin = Admin::new(&server).await;
    let () = admin.run("CONFIG SET maxmemory 1").await;
    let full = "Redis has reached its memory limit (OOM)";
    let put = store.put(&key, b"other", TTL, Some(&lease)).await;
    assert_eq!(put.unwrap_err().to_string(), full);
    let found = store.look_up_or_lease(&key, None, TTL).await.unwrap();
    assert!(matches!(found, EntryOrLease::Entry(_)));
    store.release(&key, &lease).await.unwrap();
    store.remove(&key, lease.fence()).await.unwrap();
    assert_own_request(&store, full).await;
}

/// Operators load the file.
#[test]
fn the_library_is_in_a_file() {
    let file = include_str!("../../functions.lua");
    assert_eq!(file, RedisTokenStore::function_library());
}

#[test]
fn the_documented_acl_rule_is_that_of_the_tests() {
    let script = include_str!("../../../../tests/peers/redis/start.sh");
    let rights = script.split("rights='").nth(1).unwrap();
    let rights = rights.split('\'').next().unwrap();
    let rule = format!("ACL SETUSER hallpass on >PASSWORD ~hallpass:* &hallpass:* {rights}");
    assert_eq!(documented_rule("+evalsha"), rule);
    let crate_page = include_str!("../../src/lib.rs").replace("//!", "");
    let words: Vec<&str> = crate_page.split_whitespace().collect();
    assert!(words.join(" ").contains(&rule));
}
