//! The registry: one source for each tenant, bounds, isolation, shared connections.

use std::sync::Arc;

use hallpass_core::{ErrorKind, TokenRequest, TokenSource as _};
use hallpass_profiles::{Profiles, TenantMetrics, Tenants};
use hallpass_testkit::raw::{self, RawServer};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::tenants::support::{Setup, profile, token};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_first_callers_of_a_tenant_get_one_source() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load();
    let mut callers = JoinSet::new();
    for number in 0..100 {
        let tenants = tenants.clone();
        callers.spawn(async move {
            let source = tenants.source(["a", "b"][number % 2]).unwrap();
            token(&source).await.unwrap();
            source
        });
    }
    let sources = callers.join_all().await;
    assert_eq!(setup.server.token_request_count(), 2);
    for source in sources {
        let same = tenants.source(source.name()).unwrap();
        assert!(Arc::ptr_eq(&source, &same));
    }
    assert_eq!(tenants.len(), 2);
}

#[tokio::test]
async fn an_unknown_tenant_takes_no_place() {
    let setup = Setup::start(&["acme"]).await;
    let tenants = setup.load();
    let error = tenants.source("acne").unwrap_err();
    assert_eq!(error.hint(), Some("a similar name exists: `acme`"));
    assert!(tenants.is_empty());
}

#[tokio::test]
async fn the_idle_tenant_that_was_used_least_recently_is_evicted() {
    let setup = Setup::start(&["a", "b", "c"]).await;
    let tenants = setup.load_with(Tenants::builder().max_tenants(2));
    for name in ["a", "b", "a", "c"] {
        token(&tenants.source(name).unwrap()).await.unwrap();
    }
    assert_eq!(tenants.len(), 2);
    assert_eq!(setup.server.token_request_count(), 3);
    // `b` was evicted, and `a` was not.
    for (name, requests) in [("a", 3), ("c", 3), ("b", 4)] {
        token(&tenants.source(name).unwrap()).await.unwrap();
        assert_eq!(setup.server.token_request_count(), requests, "{name}");
    }
}

#[tokio::test]
async fn a_tenant_that_the_program_holds_is_not_evicted() {
    let setup = Setup::start(&["a", "b", "c"]).await;
    let tenants = setup.load_with(Tenants::builder().max_tenants(1));
    let held = ["a", "b"].map(|name| tenants.source(name).unwrap());
    for source in &held {
        token(source).await.unwrap();
    }
    drop(tenants.source("c").unwrap());
    assert_eq!(tenants.len(), 3);
    for source in &held {
        let same = tenants.source(source.name()).unwrap();
        assert!(Arc::ptr_eq(source, &same));
    }
    drop(held);
    // The next new one makes room: all that are idle go.
    let tenant = tenants.source("c").unwrap();
    drop(tenant);
    assert_eq!(tenants.len(), 3);
    tenants.remove("b").await;
    let b = tenants.source("b").unwrap();
    assert_eq!(tenants.len(), 1);
    token(&b).await.unwrap();
    assert_eq!(setup.server.token_request_count(), 3);
}

#[tokio::test]
async fn a_handle_of_an_evicted_tenant_stays_usable() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load_with(Tenants::builder().max_tenants(1));
    let cache = tenants.source("a").unwrap().cache().unwrap();
    let bound = cache.bind(TokenRequest::default());
    let first = bound.access_token().await.unwrap();
    drop(cache);
    drop(tenants.source("b").unwrap());
    assert_eq!(tenants.sources()[0].name(), "b");
    assert!(bound.access_token().await.unwrap().is_same(&first));
    assert_eq!(setup.server.token_request_count(), 1);
}

#[tokio::test]
async fn a_removed_tenant_refuses_and_others_do_not() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load();
    let [a, b] = ["a", "b"].map(|name| tenants.source(name).unwrap());
    token(&a).await.unwrap();
    token(&b).await.unwrap();
    let cache = a.cache().unwrap();
    assert!(tenants.remove("a").await);
    assert!(!tenants.remove("a").await);
    let error = token(&a).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("the tenant `a` was removed"));
    assert!(a.cache().is_err() && a.ready_token(&TokenRequest::default()).is_none());
    // The cache is shut down: it starts no fetch.
    let other = TokenRequest::new().with_scopes("read".parse().unwrap());
    let error = cache.token(&other).await.unwrap_err();
    assert!(error.to_string().contains("shut down"), "{error}");
    token(&b).await.unwrap();
    assert_eq!(setup.server.token_request_count(), 2);
    // Another use creates it again; the handle of the removed one stays refused.
    let again = tenants.source("a").unwrap();
    token(&again).await.unwrap();
    assert!(token(&a).await.is_err());
    assert_eq!(setup.server.token_request_count(), 3);
}

#[tokio::test]
async fn the_failure_of_one_tenant_is_not_that_of_another() {
    let setup = Setup::start(&["a", "b", "c"]).await;
    setup.write_secret("a", "wrong");
    let broken = "[profile.broken]\nclient_id = 7\n";
    setup.write(&(setup.profiles(&["a", "b", "c"]) + broken));
    let tenants = setup.load();
    assert!(tenants.source("broken").is_err());
    let [a, b, c] = ["a", "b", "c"].map(|name| tenants.source(name).unwrap());
    for _ in 0..5 {
        let error = token(&a).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        token(&b).await.unwrap();
    }
    // The refusal of `a` is cached for `a` alone: `c`, which starts after it, is not refused.
    token(&c).await.unwrap();
    let requests = [("a", 401), ("b", 200), ("c", 200)];
    let requests = requests.map(|(name, status)| (name.to_owned(), status));
    assert_eq!(setup.requests(), requests);
}

/// A server that does not answer occupies the fetches of its tenant, and none of another.
#[tokio::test]
async fn fetches_of_one_tenant_take_no_place_of_another() {
    let setup = Setup::start(&["b"]).await;
    let stalled = RawServer::always(raw::json(200, "{}").then_stall().delayed(HOUR)).await;
    let secret = setup.path().with_file_name("b");
    let slow = profile(&stalled.url("/token"), "a", &secret, "");
    setup.write(&(setup.profiles(&["b"]) + &slow));
    let tenants = setup.load_with(Tenants::builder().cache(|_, cache| {
        // As few places as possible.
        cache.max_concurrent_fetches(1)
    }));
    let mut waiting = JoinSet::new();
    for number in 0..10 {
        let a = tenants.source("a").unwrap();
        waiting.spawn(async move {
            let request = TokenRequest::new().with_parameter("number", &number.to_string());
            a.token(&request.unwrap()).await
        });
    }
    while stalled.connection_count() == 0 {
        tokio::task::yield_now().await;
    }
    let b = tenants.source("b").unwrap();
    let request = TokenRequest::new().with_scopes("read".parse().unwrap());
    b.token(&request).await.unwrap();
    assert!(waiting.try_join_next().is_none());
    assert_eq!(stalled.connection_count(), 1);
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

#[tokio::test]
async fn tenants_with_equal_transport_settings_share_a_connection() {
    let answer = r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#;
    let server = RawServer::always(raw::json(200, answer)).await;
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "s3cr3t").unwrap();
    let path = directory.path().join("tenants.toml");
    let profile = |number: usize, more: &str| {
        profile(&server.url("/token"), &format!("t{number}"), &secret, more)
    };
    let mut text: String = (0..20).map(|number| profile(number, "")).collect();
    text += &profile(20, "timeout = '3s'");
    std::fs::write(&path, text).unwrap();
    let tenants = Tenants::builder().metrics(TenantMetrics::None);
    let tenants = tenants.load(Profiles::builder().file(&path)).unwrap();
    for number in 0..20 {
        let source = tenants.source(&format!("t{number}")).unwrap();
        token(&source).await.unwrap();
    }
    assert_eq!((server.request_count(), server.connection_count()), (20, 1));
    // The control: another timeout is another transport.
    token(&tenants.source("t20").unwrap()).await.unwrap();
    assert_eq!((server.request_count(), server.connection_count()), (21, 2));
}

#[tokio::test]
async fn after_a_shutdown_no_tenant_fetches() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load();
    let [a, b] = ["a", "b"].map(|name| tenants.source(name).unwrap());
    token(&a).await.unwrap();
    tenants.shutdown().await;
    token(&a).await.unwrap();
    assert!(token(&b).await.is_err());
    assert_eq!(setup.server.token_request_count(), 1);
}
