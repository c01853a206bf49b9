//! Reloading the file.

use std::sync::{Arc, Mutex, mpsc};

use hallpass_core::{ErrorKind, TokenRequest, TokenSource as _};
use hallpass_profiles::{Reload, Tenants};
use tokio::task::spawn_blocking;

use crate::tenants::support::{Setup, token};

fn summary(reload: &Reload) -> [Vec<String>; 3] {
    let failed = reload.failed.iter().map(|(name, _)| name.clone());
    [
        reload.changed.clone(),
        reload.removed.clone(),
        failed.collect(),
    ]
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test]
async fn unchanged_tenants_keep_their_tokens() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load();
    let a = tenants.source("a").unwrap();
    let first = token(&a).await.unwrap();
    // The profile moves within the file, and another one changes.
    setup.write(&(setup.profile("b", "scope = 'read'") + "\n\n" + &setup.profile("a", "")));
    let reload = tenants.reload().await.unwrap();
    assert_eq!(summary(&reload), [const { Vec::<String>::new() }; 3]);
    assert!(token(&a).await.unwrap().is_same(&first));
    assert!(Arc::ptr_eq(&a, &tenants.source("a").unwrap()));
    assert_eq!(setup.server.token_request_count(), 1);
}

#[tokio::test]
async fn a_changed_tenant_has_a_new_source_under_its_handle() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load();
    let [a, b] = ["a", "b"].map(|name| tenants.source(name).unwrap());
    assert_eq!(token(&a).await.unwrap().scopes().as_str(), "read write");
    token(&b).await.unwrap();
    let epoch = a.credential_epoch();
    setup.write(&(setup.profile("a", "scope = 'read'") + &setup.profile("b", "")));
    let reload = tenants.reload().await.unwrap();
    assert_eq!(summary(&reload), [names(&["a"]), vec![], vec![]]);
    assert_eq!(token(&a).await.unwrap().scopes().as_str(), "read");
    assert_ne!(a.credential_epoch(), epoch);
    token(&b).await.unwrap();
    assert_eq!(setup.server.token_request_count(), 3);
}

#[tokio::test]
async fn a_file_that_does_not_parse_changes_nothing() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load();
    let a = tenants.source("a").unwrap();
    token(&a).await.unwrap();
    assert!(tenants.reload_error().is_none());
    setup.write("[profile.a\nclient_secret = CANARY");
    let error = tenants.reload().await.unwrap_err().to_string();
    assert!(error.contains("line 1: invalid TOML") && !error.contains("CANARY"));
    assert_eq!(tenants.reload_error().unwrap().to_string(), error);
    token(&a).await.unwrap();
    // A tenant that was not in use has its old settings.
    token(&tenants.source("b").unwrap()).await.unwrap();
    assert_eq!(setup.server.token_request_count(), 2);
    std::fs::remove_file(setup.path()).unwrap();
    assert!(tenants.reload().await.is_err());
    token(&a).await.unwrap();
    setup.write(&setup.profiles(&["a", "b"]));
    tenants.reload().await.unwrap();
    assert!(tenants.reload_error().is_none());
    token(&a).await.unwrap();
    assert_eq!(setup.server.token_request_count(), 2);
}

#[tokio::test]
async fn a_tenant_whose_profile_has_an_error_keeps_its_settings() {
    let setup = Setup::start(&["a", "b"]).await;
    let tenants = setup.load();
    let a = tenants.source("a").unwrap();
    token(&a).await.unwrap();
    setup.write(&(setup.profile("a", "scopes = 'read'") + &setup.profile("b", "scope = 'read'")));
    let reload = tenants.reload().await.unwrap();
    assert_eq!(summary(&reload), [vec![], vec![], names(&["a"])]);
    let error = reload.failed[0].1.to_string();
    assert!(error.contains("unknown setting `scopes`"), "{error}");
    token(&a).await.unwrap();
    let b = tenants.source("b").unwrap();
    assert_eq!(token(&b).await.unwrap().scopes().as_str(), "read");
    assert_eq!(setup.server.token_request_count(), 2);
}

#[tokio::test]
async fn a_removed_profile_is_refused_until_it_returns() {
    let setup = Setup::start(&["a", "b", "c"]).await;
    let tenants = setup.load();
    let [a, b] = ["a", "b"].map(|name| tenants.source(name).unwrap());
    token(&a).await.unwrap();
    token(&b).await.unwrap();
    token(&tenants.source("c").unwrap()).await.unwrap();
    let cache = a.cache().unwrap();
    setup.write(&setup.profiles(&["b"]));
    let reload = tenants.reload().await.unwrap();
    assert_eq!(summary(&reload), [vec![], names(&["a", "c"]), vec![]]);
    let error = token(&a).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(tenants.source("a").is_err());
    let other = TokenRequest::new().with_scopes("read".parse().unwrap());
    assert!(cache.token(&other).await.is_err());
    token(&b).await.unwrap();
    // `c` was held by nobody.
    assert_eq!(tenants.len(), 2);
    setup.write(&setup.profiles(&["a", "b", "c"]));
    let reload = tenants.reload().await.unwrap();
    assert_eq!(summary(&reload), [names(&["a"]), vec![], vec![]]);
    token(&a).await.unwrap();
    assert!(Arc::ptr_eq(&a, &tenants.source("a").unwrap()));
    assert_eq!(setup.server.token_request_count(), 4);
}

/// A call that waits for the old settings gets a token of the new ones if the old ones fail.
#[tokio::test]
async fn a_call_in_progress_survives_a_change_of_a_wrong_secret() {
    let setup = Setup::start(&["a"]).await;
    setup
        .server
        .set_latency(std::time::Duration::from_millis(200));
    let file = setup.path().with_file_name("wrong");
    std::fs::write(&file, "wrong").unwrap();
    let endpoint = setup.server.token_endpoint();
    setup.write(&crate::tenants::support::profile(&endpoint, "a", &file, ""));
    let tenants = setup.load();
    let a = tenants.source("a").unwrap();
    let caller = a.clone();
    let call = tokio::spawn(async move { token(&caller).await });
    while a.cache().unwrap().stats().waiters == 0 {
        tokio::task::yield_now().await;
    }
    setup.write(&setup.profiles(&["a"]));
    tenants.reload().await.unwrap();
    call.await.unwrap().unwrap();
    let mut statuses: Vec<_> = setup
        .requests()
        .into_iter()
        .map(|(_, status)| status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test]
async fn a_tenant_that_is_removed_during_a_reload_stays_removed() {
    let setup = Setup::start(&["a"]).await;
    let (reached, wait) = mpsc::channel();
    let (resume, pause) = mpsc::channel::<()>();
    let gate = Mutex::new((0, pause));
    let tenants = setup.load_with(Tenants::builder().cache(move |_, cache| {
        let mut gate = gate.lock().unwrap();
        gate.0 += 1;
        // The reload creates the second cache.
        if gate.0 == 2 {
            reached.send(()).unwrap();
            gate.1.recv().unwrap();
        }
        cache
    }));
    let held = tenants.source("a").unwrap();
    token(&held).await.unwrap();
    setup.write(&setup.profile("a", "scope = 'read'"));
    let other = tenants.clone();
    let reload = tokio::spawn(async move { other.reload().await });
    spawn_blocking(move || wait.recv()).await.unwrap().unwrap();
    assert!(tenants.remove("a").await);
    resume.send(()).unwrap();
    let reload = reload.await.unwrap().unwrap();
    assert_eq!(summary(&reload), [names(&[]), names(&[]), names(&[])]);
    let error = token(&held).await.unwrap_err();
    assert!(error.to_string().contains("was removed"), "{error}");
    // The control: a new source has the new settings.
    token(&tenants.source("a").unwrap()).await.unwrap();
}
