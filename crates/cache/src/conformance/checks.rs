//! The checks about entries.

use std::{future, task::Poll, time::Duration};

use hallpass_core::TokenRequest;

use super::subject::Subject;
use crate::{Lease, StoreEntry, StoreError, StoreKey, TokenStore};

const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Long enough for a store on the network, short enough to wait for.
pub(super) const SHORT_TTL: Duration = Duration::from_millis(300);
/// After this wait, what had [`SHORT_TTL`] to live has expired.
pub(super) const PAST_TTL: Duration = Duration::from_millis(450);
const CANARY: &str = "canary-of-the-conformance-kit";

type Finding = Result<(), String>;

pub(super) fn key(name: &str) -> StoreKey {
    StoreKey::new(name, &TokenRequest::new())
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` hands it over.
pub(super) fn failed(error: StoreError) -> String {
    format!("a call failed: {error}")
}

/// Fails with this text unless the condition holds.
pub(super) fn ensure(holds: bool, text: impl FnOnce() -> String) -> Finding {
    if holds { Ok(()) } else { Err(text()) }
}

pub(super) async fn lease(
    store: &dyn TokenStore,
    key: &StoreKey,
    ttl: Duration,
) -> Result<Lease, String> {
    let outcome = store.lease(key, ttl).await.map_err(failed)?;
    let lease = outcome.into_lease();
    lease.ok_or_else(|| "a lease that nobody holds was not granted".to_owned())
}

/// Puts an entry under a lease, which is then released.
pub(super) async fn put(
    store: &dyn TokenStore,
    key: &StoreKey,
    entry: &[u8],
    ttl: Duration,
) -> Result<Lease, String> {
    let lease = lease(store, key, MINUTE).await?;
    let put = store.put(key, entry, ttl, Some(&lease)).await;
    put.map_err(failed)?;
    store.release(key, &lease).await.map_err(failed)?;
    Ok(lease)
}

pub(super) async fn find(
    store: &dyn TokenStore,
    key: &StoreKey,
) -> Result<Option<StoreEntry>, String> {
    store.look_up(key).await.map_err(failed)
}

/// Fails unless exactly this entry is found.
pub(super) async fn expect(store: &dyn TokenStore, key: &StoreKey, entry: &[u8]) -> Finding {
    let found = find(store, key).await?;
    let found = found.ok_or("there is no entry where one was put")?;
    ensure(found.bytes() == entry, || {
        let (found, put) = (found.bytes().len(), entry.len());
        format!("another entry was found, of {found} bytes instead of {put}")
    })
}

async fn expect_none(store: &dyn TokenStore, key: &StoreKey, why: &str) -> Finding {
    let found = find(store, key).await?;
    ensure(found.is_none(), || format!("there is an entry {why}"))
}

pub(super) async fn returns_stored_entries(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    expect_none(one, &key, "before one was put").await?;
    // The longest entry that a store must take: larger than any token that a server issues.
    let large: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    for entry in [b"entry".as_slice(), b"", &[0, 255, 13, 10, 0], &large] {
        let lease = put(one, &key, entry, MINUTE).await?;
        for store in [one, other] {
            expect(store, &key, entry).await?;
            let found = find(store, &key).await?;
            let fence = found.map_or(0, |entry| entry.fence());
            ensure(fence == lease.fence(), || {
                let put = lease.fence();
                format!("the entry has the fence {fence}, and was put under {put}")
            })?;
        }
    }
    Ok(())
}

pub(super) async fn separates_keys(subject: &Subject) -> Finding {
    let store = &*subject.one;
    let other_request = TokenRequest::new().with_resource("https://api.example");
    let keys = [
        key("one"),
        key("two"),
        StoreKey::new("one", &other_request.map_err(|error| error.to_string())?),
        StoreKey::from_digests(&[0; 32], &[0; 32]),
        StoreKey::from_digests(&[0; 32], &[1; 32]),
    ];
    let mut leases = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let lease = lease(store, key, MINUTE).await?;
        let entry = number.to_string();
        let put = store.put(key, entry.as_bytes(), MINUTE, Some(&lease)).await;
        put.map_err(failed)?;
        leases.push(lease);
    }
    for (number, key) in keys.iter().enumerate() {
        expect(store, key, number.to_string().as_bytes()).await?;
    }
    store
        .remove(&keys[0], leases[0].fence())
        .await
        .map_err(failed)?;
    store.release(&keys[0], &leases[0]).await.map_err(failed)?;
    for (number, key) in keys.iter().enumerate().skip(1) {
        expect(store, key, number.to_string().as_bytes()).await?;
        let outcome = store.lease(key, MINUTE).await.map_err(failed)?;
        ensure(outcome.into_lease().is_none(), || {
            "releasing one key's lease released another's".to_owned()
        })?;
    }
    Ok(())
}

pub(super) async fn expires_entries(subject: &Subject) -> Finding {
    let (one, key, long) = (&*subject.one, key("short"), key("long"));
    put(one, &key, b"entry", SHORT_TTL).await?;
    put(one, &long, b"entry", MINUTE).await?;
    if let Some(ttl) = find(one, &key).await?.and_then(|entry| entry.ttl()) {
        ensure(!ttl.is_zero() && ttl <= SHORT_TTL, || {
            format!("an entry put for {SHORT_TTL:?} has {ttl:?} left")
        })?;
    }
    subject.wait(PAST_TTL).await;
    for store in [one, &*subject.other] {
        expect_none(store, &key, "after its time to live").await?;
        expect(store, &long, b"entry").await?;
        if let Some(ttl) = find(store, &long).await?.and_then(|entry| entry.ttl()) {
            ensure(ttl + SHORT_TTL <= MINUTE, || {
                format!("an entry put for {MINUTE:?} has {ttl:?} left after {SHORT_TTL:?}")
            })?;
        }
    }
    Ok(())
}

pub(super) async fn replaces_entries_atomically(subject: &Subject) -> Finding {
    let (one, other, key) = (subject.one.clone(), &*subject.other, key("key"));
    let entries = [vec![b'a'; 50_000], vec![b'b'; 90_000]];
    put(&*one, &key, &entries[0], MINUTE).await?;
    let writer = {
        let (key, entries) = (key.clone(), entries.clone());
        tokio::spawn(async move {
            for number in 1..100 {
                put(&*one, &key, &entries[number % 2], MINUTE).await?;
            }
            Ok::<_, String>(())
        })
    };
    while !writer.is_finished() {
        if let Some(found) = find(other, &key).await? {
            let whole = entries.iter().any(|entry| found.bytes() == *entry);
            ensure(whole, || "a part of an entry was found".to_owned())?;
        }
        tokio::task::yield_now().await;
    }
    writer.await.map_err(|_| "a put panicked".to_owned())?
}

pub(super) async fn supports_concurrent_calls(subject: &Subject) -> Finding {
    let mut tasks = Vec::new();
    for number in 0..200 {
        let store = [&subject.one, &subject.other][number % 2].clone();
        tasks.push(tokio::spawn(async move {
            let name = number.to_string();
            put(&*store, &key(&name), name.as_bytes(), MINUTE).await?;
            expect(&*store, &key(&name), name.as_bytes()).await
        }));
    }
    for task in tasks {
        task.await.map_err(|_| "a call panicked".to_owned())??;
    }
    Ok(())
}

pub(super) async fn removes_by_fence(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    let old = put(one, &key, b"old", MINUTE).await?;
    let new = put(one, &key, b"new", MINUTE).await?;
    for fence in [old.fence(), new.fence() + 1, 0] {
        other.remove(&key, fence).await.map_err(failed)?;
        expect(one, &key, b"new").await?;
    }
    other.remove(&key, new.fence()).await.map_err(failed)?;
    expect_none(one, &key, "after it was removed").await?;
    other.remove(&key, new.fence()).await.map_err(failed)
}

pub(super) async fn accepts_puts_without_lease(subject: &Subject) -> Finding {
    let (store, key) = (&*subject.one, key("key"));
    let leased = put(store, &key, b"leased", MINUTE).await?;
    let unleased = store.put(&key, b"shorter", MINUTE / 2, None).await;
    unleased.map_err(failed)?;
    expect(store, &key, b"leased").await?;
    let unleased = store.put(&key, b"longer", MINUTE * 2, None).await;
    unleased.map_err(failed)?;
    expect(store, &key, b"longer").await?;
    let fence = find(store, &key).await?.map_or(0, |entry| entry.fence());
    ensure(fence > leased.fence(), || {
        let leased = leased.fence();
        format!("it has the fence {fence}, and the entry before it had {leased}")
    })?;
    let next = lease(store, &key, MINUTE).await?;
    ensure(next.fence() > fence, || {
        let next = next.fence();
        format!("the next lease has the fence {next}, and the entry has {fence}")
    })
}

pub(super) async fn notifies_of_changes(subject: &Subject) -> Finding {
    let (one, other, key) = (&*subject.one, &*subject.other, key("key"));
    let mut held = None;
    for change in [
        "a put",
        "a removal",
        "a released lease",
        "a put without a lease",
    ] {
        let before = other.notifies();
        let mut changed = other.changed(&key);
        // The first poll subscribes; a subscription on the network takes a moment.
        let early = future::poll_fn(|context| Poll::Ready(changed.as_mut().poll(context))).await;
        ensure(early.is_pending(), || {
            format!("it returned before {change}")
        })?;
        tokio::time::sleep(SHORT_TTL).await;
        match (change, &held) {
            ("a put", _) => {
                let lease = lease(one, &key, MINUTE).await?;
                let put = one.put(&key, b"entry", MINUTE, Some(&lease)).await;
                put.map_err(failed)?;
                held = Some(lease);
            }
            ("a removal", Some(lease)) => {
                one.remove(&key, lease.fence()).await.map_err(failed)?;
            }
            ("a released lease", Some(lease)) => {
                one.release(&key, lease).await.map_err(failed)?;
            }
            ("a put without a lease", _) => {
                let put = one.put(&key, b"entry", MINUTE, None).await;
                put.map_err(failed)?;
            }
            _ => {}
        }
        let after = other.notifies();
        let limit = if after { 2 * SECOND } else { SHORT_TTL };
        let returned = tokio::time::timeout(limit, changed).await.is_ok();
        // In between, the subscription may have failed, or succeeded.
        ensure(before != after || returned == after, || {
            if after {
                format!("it did not return within {limit:?} of {change}")
            } else {
                format!("it returned after {change}, and `notifies` is false")
            }
        })?;
    }
    Ok(())
}

pub(super) async fn redacts_debug(subject: &Subject) -> Finding {
    let key = key("key");
    put(&*subject.one, &key, CANARY.as_bytes(), MINUTE).await?;
    let found = find(&*subject.other, &key).await?;
    let bytes = format!("{:?}", CANARY.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    for shown in [
        format!("{:?}", subject.one),
        format!("{:#?}", subject.other),
        format!("{found:?}"),
    ] {
        let leaks = shown.contains(CANARY) || shown.contains(bytes);
        ensure(!leaks, || "debug output shows an entry".to_owned())?;
    }
    Ok(())
}
