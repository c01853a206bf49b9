//! The checks about leases.

use std::{future, pin::pin, sync::Arc, task::Poll};

use super::{
    checks::{MINUTE, PAST_TTL, SHORT_TTL, ensure, expect, failed, find, key, lease, put},
    subject::Subject,
};
use crate::{EntryOrLease, LeaseOutcome, StoreKey, TokenStore};

type Finding = Result<(), String>;

pub(super) async fn grants_one_lease(subject: &Subject) -> Finding {
    for round in 0..10 {
        let key = key(&round.to_string());
        let mut tasks = Vec::new();
        for number in 0..50 {
            let store = [&subject.one, &subject.other][number % 2].clone();
            let key = key.clone();
            tasks.push(tokio::spawn(async move { store.lease(&key, MINUTE).await }));
        }
        let (mut granted, mut held) = (Vec::new(), Vec::new());
        for task in tasks {
            let outcome = task.await.map_err(|_| "a call panicked".to_owned())?;
            match outcome.map_err(failed)? {
                LeaseOutcome::Granted(lease) => granted.push(lease.fence()),
                LeaseOutcome::Held { fence } => held.extend(fence),
            }
        }
        ensure(granted.len() == 1, || {
            format!("{} of 50 processes got the lease", granted.len())
        })?;
        // Another number is that of another process.
        ensure(held.iter().all(|fence| *fence == granted[0]), || {
            let granted = granted[0];
            format!("the lease in force has the fence {granted}, and others were named: {held:?}")
        })?;
    }
    Ok(())
}

pub(super) async fn expires_leases(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    lease(one, &key, SHORT_TTL).await?;
    let outcome = other.lease(&key, MINUTE).await.map_err(failed)?;
    ensure(outcome.into_lease().is_none(), || {
        "a lease in force was granted again".to_owned()
    })?;
    subject.wait(PAST_TTL).await;
    lease(other, &key, MINUTE).await.map(drop)
}

pub(super) async fn extends_leases(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    let first = lease(one, &key, SHORT_TTL).await?;
    let extended = one
        .extend(&key, &first, SHORT_TTL * 4)
        .await
        .map_err(failed)?;
    ensure(extended, || "a lease in force was not extended".to_owned())?;
    subject.wait(SHORT_TTL * 2).await;
    let outcome = other.lease(&key, MINUTE).await.map_err(failed)?;
    ensure(outcome.into_lease().is_none(), || {
        "an extended lease ended at its first time".to_owned()
    })?;
    subject.wait(SHORT_TTL * 3).await;
    let extended = one.extend(&key, &first, MINUTE).await.map_err(failed)?;
    ensure(!extended, || "an expired lease was extended".to_owned())?;
    let second = lease(other, &key, MINUTE).await?;
    let extended = one.extend(&key, &first, MINUTE).await.map_err(failed)?;
    ensure(!extended, || {
        "a lease was extended that another process had taken over".to_owned()
    })?;
    let extended = other
        .extend(&key, &second, SHORT_TTL)
        .await
        .map_err(failed)?;
    ensure(extended, || "a lease in force was not extended".to_owned())?;
    subject.wait(PAST_TTL).await;
    // Counted from the last extension, even if that was shorter.
    lease(one, &key, MINUTE).await.map(drop)
}

pub(super) async fn releases_own_leases(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    let first = lease(one, &key, MINUTE).await?;
    one.release(&key, &first).await.map_err(failed)?;
    let second = lease(other, &key, MINUTE).await?;
    one.release(&key, &first).await.map_err(failed)?;
    let outcome = one.lease(&key, MINUTE).await.map_err(failed)?;
    ensure(outcome.into_lease().is_none(), || {
        "an earlier holder released the lease of another process".to_owned()
    })?;
    other.release(&key, &second).await.map_err(failed)?;
    lease(one, &key, MINUTE).await.map(drop)
}

pub(super) async fn increases_fences(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    let mut fences = Vec::new();
    for _ in 0..3 {
        let released = put(one, &key, b"entry", MINUTE).await?;
        fences.push(released.fence());
        one.remove(&key, released.fence()).await.map_err(failed)?;
        fences.push(lease(other, &key, SHORT_TTL).await?.fence());
        // Neither lease nor entry is left.
        subject.wait(PAST_TTL).await;
    }
    let increase = fences.windows(2).all(|pair| pair[0] < pair[1]);
    ensure(increase, || format!("the fences were {fences:?}"))
}

pub(super) async fn ignores_stale_puts(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    let first = lease(one, &key, SHORT_TTL).await?;
    subject.wait(PAST_TTL).await;
    let second = lease(other, &key, MINUTE).await?;
    let put = one.put(&key, b"late", MINUTE, Some(&first)).await;
    put.map_err(failed)?;
    ensure(find(one, &key).await?.is_none(), || {
        "it was put although a later lease is in force".to_owned()
    })?;
    let put = other.put(&key, b"new", MINUTE, Some(&second)).await;
    put.map_err(failed)?;
    other.release(&key, &second).await.map_err(failed)?;
    let put = one.put(&key, b"late", MINUTE * 2, Some(&first)).await;
    put.map_err(failed)?;
    expect(one, &key, b"new").await
}

pub(super) async fn expires_abandoned_leases(subject: &Subject) -> Finding {
    let (one, other) = (&*subject.one, &*subject.other);
    // Dropped at every point up to the end.
    let keys: Vec<_> = (0..20).map(|polls| key(&polls.to_string())).collect();
    for (polls, key) in keys.iter().enumerate() {
        let mut call = pin!(one.lease(key, SHORT_TTL));
        for _ in 0..polls {
            let done = future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context)));
            if done.await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // Also after calls that reach the store late.
    tokio::time::sleep(SHORT_TTL / 2).await;
    subject.wait(PAST_TTL).await;
    for key in &keys {
        lease(other, key, MINUTE).await?;
    }
    Ok(())
}

pub(super) async fn looks_up_or_leases(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    let old = put(one, &key, b"old", MINUTE).await?;
    for (except, finds) in [
        (None, true),
        (Some(old.fence() + 1), true),
        (Some(old.fence()), false),
    ] {
        let found = other.look_up_or_lease(&key, except, SHORT_TTL).await;
        let found = found.map_err(failed)?;
        ensure(matches!(found, EntryOrLease::Entry(_)) == finds, || {
            let fence = old.fence();
            format!("the entry has the fence {fence}; all but {except:?} was requested: {found:?}")
        })?;
    }
    // The last one was granted, and is in force like any other; a process that asks for it does not extend it.
    let outcome = one.look_up_or_lease(&key, Some(old.fence()), MINUTE).await;
    let outcome = outcome.map_err(failed)?;
    let held = matches!(&outcome, EntryOrLease::Lease(LeaseOutcome::Held { .. }));
    ensure(held, || {
        format!("another process holds the lease: {outcome:?}")
    })?;
    subject.wait(PAST_TTL).await;
    let new = put(other, &key, b"new", MINUTE).await?;
    match one
        .look_up_or_lease(&key, Some(old.fence()), SHORT_TTL)
        .await
    {
        Ok(EntryOrLease::Entry(entry)) if entry.fence() == new.fence() => {
            ensure(entry.bytes() == b"new", || {
                "another entry was returned".to_owned()
            })?;
        }
        outcome => return Err(format!("there is a newer entry: {outcome:?}")),
    }
    grants_no_lease_beside_an_entry(subject).await
}

/// Of many processes, one gets the lease and puts an entry, and the others find it.
async fn grants_no_lease_beside_an_entry(subject: &Subject) -> Finding {
    for round in 0..10 {
        let mut tasks = Vec::new();
        for number in 0..50 {
            let store = [&subject.one, &subject.other][number % 2].clone();
            let key = key(&format!("round {round}"));
            tasks.push(tokio::spawn(async move {
                // One after another, so that some begin while the entry is being put.
                for _ in 0..number {
                    tokio::task::yield_now().await;
                }
                find_or_put(&store, &key).await
            }));
        }
        let mut granted = 0;
        for task in tasks {
            granted += task.await.map_err(|_| "a call panicked".to_owned())??;
        }
        ensure(granted == 1, || {
            format!("{granted} of 50 processes got a lease, although the first put an entry")
        })?;
    }
    Ok(())
}

/// Returns the number of leases that it was granted until it found an entry.
async fn find_or_put(store: &Arc<dyn TokenStore>, key: &StoreKey) -> Result<usize, String> {
    let mut granted = 0;
    loop {
        match store.look_up_or_lease(key, None, MINUTE).await {
            Ok(EntryOrLease::Entry(_)) => return Ok(granted),
            Ok(EntryOrLease::Lease(LeaseOutcome::Held { .. })) => tokio::task::yield_now().await,
            Ok(EntryOrLease::Lease(LeaseOutcome::Granted(lease))) => {
                granted += 1;
                let put = store.put(key, b"entry", MINUTE, Some(&lease)).await;
                put.map_err(failed)?;
                store.release(key, &lease).await.map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}
