//! The promises of a store, with a real server and two handles that have a connection each.

#![allow(clippy::unused_async, clippy::unwrap_used)]

use hallpass_cache::conformance::Subject;
use hallpass_redis::RedisTokenStore;

#[path = "../../../tests/shared/redis_server.rs"]
#[allow(dead_code)]
mod redis_server;
#[path = "stories/support.rs"]
#[allow(dead_code)]
mod support;

use redis_server::RedisServer;

async fn subject() -> Option<Subject> {
    let server = RedisServer::start(&[])?;
    let (one, other) = (support::store(&server), support::store(&server));
    Some(Subject::new(one, other).keep_alive(server))
}

/// A user that calls functions and runs no scripts.
async fn function_subject() -> Option<Subject> {
    let server = RedisServer::start(&[])?;
    let mut admin = support::Admin::new(&server).await;
    let library = RedisTokenStore::function_library();
    admin.load_functions(library).await;
    let () = admin
        .run("ACL SETUSER hallpass -eval -evalsha +fcall")
        .await;
    let store = || support::builder(&server).functions().build().unwrap();
    let (one, other) = (store(), store());
    Some(Subject::new(one, other).keep_alive(server))
}

hallpass_cache::store_conformance!(redis, subject());
hallpass_cache::store_conformance!(functions, function_subject());
