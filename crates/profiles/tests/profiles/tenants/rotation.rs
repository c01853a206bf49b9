//! A hundred tenants' secrets are rotated at once, under load: no call fails.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use hallpass_core::{TokenRequest, TokenSource as _, TokenSourceExt as _};
use hallpass_profiles::Tenants;
use tokio::task::JoinSet;

use crate::tenants::support::{Setup, profile};

const TENANTS: usize = 100;

/// Tasks that call for all tenants in turn, each through `Tenants::source`, until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    tasks: JoinSet<usize>,
}

impl Load {
    fn start(tenants: &Tenants, names: &[String]) -> Self {
        let (stop, rounds) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let mut tasks = JoinSet::new();
        for offset in 0..4 {
            let (tenants, stop, rounds) = (tenants.clone(), stop.clone(), Arc::clone(&rounds));
            let mut names = names.to_vec();
            names.rotate_left(offset * TENANTS / 4);
            tasks.spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) {
                    for name in &names {
                        let source = tenants.source(name).unwrap();
                        source.access_token(&TokenRequest::default()).await.unwrap();
                        calls += 1;
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                calls
            });
        }
        Self {
            stop,
            rounds,
            tasks,
        }
    }

    /// Waits until each task has called for all tenants at least once more.
    async fn settle(&self) {
        let until = self.rounds.load(Ordering::Relaxed) + 12;
        while self.rounds.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
    }

    /// Returns the number of calls. A call that failed has panicked.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().sum()
    }
}

fn names() -> Vec<String> {
    (0..TENANTS).map(|number| format!("t{number}")).collect()
}

async fn start(names: &[String]) -> Setup {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Setup::start(&names).await
}

/// The files of the secrets are replaced, and the server refuses the old secrets and the old tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_100_tenants_rotate_in_files_without_a_failed_call() {
    let names = names();
    let setup = start(&names).await;
    let tenants = setup.load();
    let load = Load::start(&tenants, &names);
    load.settle().await;
    assert_eq!(setup.server.token_request_count(), TENANTS);
    for name in &names {
        setup.write_secret(name, "rotated");
        setup.server.rotate_secret(name, "rotated");
    }
    setup.server.revoke_all_tokens();
    // An API has refused the tokens.
    for name in &names {
        let source = tenants.source(name).unwrap();
        let token = source.access_token(&TokenRequest::default()).await.unwrap();
        source.invalidate(&token);
    }
    load.settle().await;
    let requests = setup.requests();
    assert_eq!(requests.len(), 2 * TENANTS);
    assert!(requests.iter().all(|(_, status)| *status == 200));
    assert!(load.stop().await >= 8 * TENANTS);
}

/// The file names other secrets, and the server refuses the old ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_of_100_tenants_change_without_a_failed_call() {
    let names = names();
    let setup = start(&names).await;
    let tenants = setup.load();
    let load = Load::start(&tenants, &names);
    load.settle().await;
    let endpoint = setup.server.token_endpoint();
    let mut text = String::new();
    for name in &names {
        let secret = setup.path().with_file_name(format!("{name}-next"));
        std::fs::write(&secret, "rotated").unwrap();
        setup.server.rotate_secret(name, "rotated");
        text += &profile(&endpoint, name, &secret, "");
    }
    setup.server.revoke_all_tokens();
    setup.write(&text);
    let reload = tenants.reload().await.unwrap();
    assert_eq!(reload.changed.len(), TENANTS);
    load.settle().await;
    let requests = setup.requests();
    assert_eq!(requests.len(), 2 * TENANTS);
    assert!(requests.iter().all(|(_, status)| *status == 200));
    assert!(load.stop().await >= 8 * TENANTS);
}
