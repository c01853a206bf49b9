//! A store whose notifications are worthless.

use super::waiting::most_questions;
use crate::{
    distant::{Distant, process},
    support::{MINUTE, Mint, SECOND, name},
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
