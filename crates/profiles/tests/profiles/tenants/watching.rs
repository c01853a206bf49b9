//! Watching the file, in virtual time and without the network.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use hallpass_profiles::{Profiles, Tenants};
use tempfile::TempDir;
use tokio::{runtime::Handle, time};

const INTERVAL: Duration = Duration::from_secs(10);

fn profile(name: &str) -> String {
    let secret = "client_secret = 'env:SECRET'";
    format!("[profile.{name}]\nissuer = 'https://login.example'\nclient_id = '{name}'\n{secret}\n")
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_file_is_applied_within_two_polls() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tenants.toml");
    std::fs::write(&path, profile("a")).unwrap();
    let tenants = Tenants::builder().watch(INTERVAL);
    let tenants = tenants.load(Profiles::builder().file(&path)).unwrap();
    let a = tenants.source("a").unwrap();
    let unchanged = a.cache().unwrap();
    time::sleep(INTERVAL * 3).await;
    assert!(tenants.source("b").is_err());
    std::fs::write(&path, profile("a") + &profile("b")).unwrap();
    // The first poll may see a file that is being written.
    time::sleep(INTERVAL).await;
    assert!(tenants.source("b").is_err());
    time::sleep(INTERVAL + INTERVAL / 2).await;
    assert!(tenants.source("b").is_ok());
    assert!(std::sync::Arc::ptr_eq(&a.cache().unwrap(), &unchanged));
    // An error is the state, and the next change is applied.
    std::fs::write(&path, "[").unwrap();
    time::sleep(INTERVAL * 3).await;
    assert!(tenants.reload_error().is_some() && tenants.source("b").is_ok());
    std::fs::write(&path, profile("b")).unwrap();
    time::sleep(INTERVAL * 3).await;
    assert!(tenants.reload_error().is_none());
    assert!(a.cache().is_err());
}

#[tokio::test]
async fn the_watch_ends_with_the_registry() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tenants.toml");
    std::fs::write(&path, profile("a")).unwrap();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let tenants = Tenants::builder().watch(INTERVAL);
    let tenants = tenants.load(Profiles::builder().file(&path)).unwrap();
    let clone = tenants.clone();
    drop(tenants);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), before + 1);
    drop(clone);
    // At once, and not at the next poll.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tasks(), before);
}

#[test]
fn a_file_is_not_watched_without_a_runtime() {
    let error = Tenants::builder().watch(INTERVAL).load(Profiles::builder());
    let error = error.unwrap_err();
    assert!(error.to_string().contains("outside of a tokio runtime"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_for_one_tenant_does_not_affect_others_or_the_watch() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tenants.toml");
    let with_scope = |name: &str, scope: &str| profile(name) + &format!("scope = '{scope}'\n");
    std::fs::write(&path, profile("a") + &profile("b")).unwrap();
    let created = AtomicUsize::new(0);
    let tenants = Tenants::builder()
        .watch(INTERVAL)
        .cache(move |name, cache| {
            let second = name == "a" && created.fetch_add(1, Ordering::Relaxed) == 1;
            assert!(!second, "a fault of the program");
            cache
        });
    let tenants = tenants.load(Profiles::builder().file(&path)).unwrap();
    let [a, b] = ["a", "b"].map(|name| tenants.source(name).unwrap());
    for scope in ["read", "write"] {
        let before = [&a, &b].map(|source| source.cache().unwrap());
        std::fs::write(&path, with_scope("a", scope) + &with_scope("b", scope)).unwrap();
        time::sleep(INTERVAL * 3).await;
        let after = [&a, &b].map(|source| source.cache().unwrap());
        let changed = [0, 1].map(|tenant| !std::sync::Arc::ptr_eq(&before[tenant], &after[tenant]));
        assert_eq!(changed, [scope == "write", true]);
    }
}
