//! A store whose notifications are worthless.

use std::sync::Arc;

use hallpass_cache::TokenStore as _;

use super::waiting::most_questions;
use crate::{
    distant::{Distant, MILLISECOND, default_key, process},
    support::{HOUR, MINUTE, Mint, SECOND, name, settle, spawn_ask},
};

#[tokio::test(start_paused = true)]
async fn endless_notifications_do_not_cause_endless_lookups() {
    for ends in [true, false] {
        let mint = Mint::hourly().latency(20 * SECOND);
        let store = Distant::new(&mint);
        let holder = process(&mint, &store);
        let noisy = store.clone();
        let noisy = if ends {
            noisy.notifying_endlessly()
        } else {
            noisy.panicking_notifications()
        };
        let waiting = process(&mint, &noisy);
        let (first, second) = tokio::join!(name(&holder), async {
            tokio::time::sleep(SECOND).await;
            name(&waiting).await
        });
        assert_eq!((first.as_str(), second.as_str()), ("t1", "t1"));
        // As many as with notifications, and one for each change that is used.
        let asked = store.questions() - store.asked("extend");
        let most = most_questions(20 * SECOND, true) + if ends { 50 } else { 0 };
        assert!(asked <= most + 5, "{asked}");
        assert_eq!(mint.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_uses_fifty_changes_and_then_listens_to_none() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint).notifying();
    let (key, entries) = (default_key(), &store.inner);
    let lease = entries.lease(&key, HOUR).await.unwrap();
    assert!(lease.into_lease().is_some(), "its holder hangs");
    let waiting = spawn_ask(&Arc::new(process(&mint, &store)));
    // The first poll, and a pause.
    tokio::time::sleep(60 * MILLISECOND).await;
    for change in 1..=60 {
        assert_eq!(store.listeners(), usize::from(change <= 50), "{change}");
        let ttl = MINUTE + change * SECOND;
        entries.put(&key, b"", ttl, None).await.unwrap();
        // A pause of up to 20 ms, and two calls: for the entry, which cannot be used, and for any other one.
        tokio::time::sleep(30 * MILLISECOND).await;
    }
    waiting.abort();
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn endless_notifications_cause_few_lookups_of_a_held_key() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let cache = process(&mint, &store.clone().notifying_endlessly());
    name(&cache).await;
    tokio::time::sleep(30 * MINUTE).await;
    // Eight within half a second each, then one in fifteen seconds on average.
    let asked = store.asked("look_up");
    assert!((8..=8 + 160).contains(&asked), "{asked}");
    assert_eq!(mint.calls(), 1);
}
