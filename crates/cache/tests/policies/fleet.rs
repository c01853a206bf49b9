//! Many processes on one store: one request for all of them, at any server latency, and no result is lost.

mod complete;
mod credentials;
mod jobs;
mod noisy;
mod refused;
mod refused_requests;
mod waiting;
mod watches;

use crate::{
    distant::{Distant, process},
    support::{Mint, name},
};

/// Lets a hundred processes ask at once: all get the token of one request.
async fn a_hundred_processes_share_one_fetch(mint: &Mint, store: &Distant) {
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let cache = process(mint, &store.connection());
        processes.spawn(async move { name(&cache).await });
    }
    let tokens = processes.join_all().await;
    assert!(tokens.iter().all(|token| token == "t1"));
    assert_eq!(mint.calls(), 1);
}
