//! One fetch, in a task of its own.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use hallpass_core::{AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource};
use tokio::{runtime::Handle, time};

use crate::{
    Lease,
    cache::Shared,
    level2::{Found, Verdict},
    observe,
    slot::{Flight, Landed, Slot},
    stats::count,
};

tokio::task_local! {
    /// The fetches that this task is in: which cache, and for which key.
    static WITHIN: Vec<(usize, TokenRequest)>;
}

fn identity<S>(shared: &Arc<Shared<S>>) -> usize {
    Arc::as_ptr(shared).addr()
}

/// A source that asks the cache around it for the same key would wait for itself.
pub(crate) fn refuse_recursion<S>(
    shared: &Arc<Shared<S>>,
    request: &TokenRequest,
) -> Result<(), TokenError> {
    let me = identity(shared);
    let within = WITHIN.try_with(|within| {
        within
            .iter()
            .any(|(cache, key)| *cache == me && key == request)
    });
    if within.unwrap_or(false) {
        return Err(TokenError::configuration(
            "the token source asks the cache around it for the token that it is to fetch",
        ));
    }
    Ok(())
}

/// Fetches, stores, tells all who wait. Ends early when the cache is dropped.
///
/// What happens before the first poll happens in the task of the caller.
pub(crate) fn carry_out<S: TokenSource + 'static>(
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    request: TokenRequest,
    flight: Flight,
) -> impl Future<Output = ()> + Send + 'static {
    let mut within = WITHIN.try_with(Clone::clone).unwrap_or_default();
    within.push((identity(&shared), request.clone()));
    WITHIN.scope(within, until_dropped(shared, slot, request, flight))
}

async fn until_dropped<S: TokenSource + 'static>(
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    request: TokenRequest,
    flight: Flight,
) {
    let mut alive = shared.alive.clone();
    let keeper = (shared.keep_warm && request.is_default())
        .then(|| Keeper::new(&shared))
        .flatten();
    let weak = Arc::downgrade(&shared);
    tokio::select! {
        () = fly(shared, slot.clone(), request, flight) => {}
        _ = alive.changed() => return,
    }
    if keeper.is_some() {
        tokio::select! {
            () = keep_warm(weak, slot) => {}
            _ = alive.changed() => {}
        }
    }
}

/// The right to keep the token warm: one task at a time has it, and gives it back if its runtime ends.
struct Keeper<S>(Weak<Shared<S>>);

impl<S> Keeper<S> {
    fn new(shared: &Arc<Shared<S>>) -> Option<Self> {
        let taken = shared.kept_warm.swap(true, Ordering::Relaxed);
        (!taken).then(|| Self(Arc::downgrade(shared)))
    }
}

impl<S> Drop for Keeper<S> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.kept_warm.store(false, Ordering::Relaxed);
        }
    }
}

/// Lets the flight go when its task is dropped before it has landed.
struct Guard<S> {
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    landed: bool,
}

impl<S> Drop for Guard<S> {
    fn drop(&mut self) {
        if !self.landed {
            self.slot.abandon(self.shared.clock.now());
        }
    }
}

async fn fly<S: TokenSource + 'static>(
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    request: TokenRequest,
    mut flight: Flight,
) {
    let mut guard = Guard {
        shared,
        slot,
        landed: false,
    };
    let (shared, slot) = (&guard.shared, &guard.slot);
    let mut delay = flight.delay;
    loop {
        if !delay.is_zero() {
            time::sleep(delay).await;
        }
        observe::fetching(&shared.name);
        let began = shared.clock.now();
        slot.fetching(&mut flight, began, &shared.policy);
        let epoch = shared.source.credential_epoch();
        let before = slot.current();
        let mut lease = None;
        let load = load(shared, slot, &request, before.as_ref(), &mut lease);
        let result = time::timeout(shared.policy.load_deadline, catch_panic(load)).await;
        let result = result.unwrap_or_else(|_| {
            Err(TokenError::unavailable(format!(
                "the token source did not answer within {:?}",
                shared.policy.load_deadline
            )))
        });
        let now = shared.clock.now();
        let took = now.saturating_since(began);
        observe::fetched(&shared.name, &result, took);
        let fetched = result.as_ref().ok().cloned();
        match &fetched {
            Some(token) => shared.holders.note(slot, token),
            None => count(&shared.counters.failures),
        }
        match slot.land(&mut flight, result, now, epoch, &shared.policy) {
            Landed::Done(report) => {
                guard.landed = true;
                observe::landed(&shared.name, &report, now, &shared.counters);
                // After those who wait were told: a slow store keeps nobody.
                share(&guard.shared, &request, fetched.as_ref(), lease).await;
                break;
            }
            Landed::Again(wait) => {
                share(shared, &request, None, lease).await;
                delay = wait;
            }
        }
    }
}

/// Where the right to store a token comes from.
enum Right {
    /// Nobody else may fetch for this key meanwhile.
    Leased(Lease),
    /// The store gave no lease; what is fetched is stored all the same.
    Free,
}

/// Puts what was fetched into the shared store, and gives the lease back.
async fn share<S: TokenSource + 'static>(
    shared: &Shared<S>,
    request: &TokenRequest,
    token: Option<&AccessToken>,
    right: Option<Right>,
) {
    let (Some(store), Some(right)) = (&shared.store, right) else {
        return;
    };
    let lease = match right {
        Right::Leased(lease) => Some(lease),
        Right::Free => None,
    };
    store.keep(request, token, lease, shared.context()).await;
}

/// Asks the shared store, then the source. `right` is set where the source was asked.
async fn load<S: TokenSource + 'static>(
    shared: &Shared<S>,
    slot: &Slot,
    request: &TokenRequest,
    before: Option<&AccessToken>,
    right: &mut Option<Right>,
) -> Result<AccessToken, TokenError> {
    if let Some(store) = &shared.store {
        let judge = |token: &AccessToken| {
            if slot.was_refused(token) {
                Verdict::Refused
            } else if shared.policy.refresh_at(token) > shared.clock.now()
                && before.is_none_or(|before| token.expires() > before.expires())
            {
                Verdict::Good
            } else {
                Verdict::Old
            }
        };
        match store.find(request, shared.context(), &judge).await {
            Found::Token(token) => {
                count(&shared.counters.store_hits);
                return Ok(token);
            }
            Found::Nothing(lease) => *right = Some(lease.map_or(Right::Free, Right::Leased)),
        }
    }
    count(&shared.counters.fetches);
    shared.source.token(request).await
}

/// A panic becomes an error for those who wait. What it says is not repeated: it may say anything.
async fn catch_panic(
    future: impl Future<Output = Result<AccessToken, TokenError>>,
) -> Result<AccessToken, TokenError> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        // A future that has panicked is never polled again.
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        poll.unwrap_or_else(|_| {
            std::task::Poll::Ready(Err(TokenError::new(
                ErrorKind::Unavailable,
                "the token source panicked",
            )))
        })
    })
    .await
}

/// Renews the default token whenever it is due, asked for or not, until the cache is dropped.
async fn keep_warm<S: TokenSource + 'static>(shared: Weak<Shared<S>>, slot: Arc<Slot>) {
    /// How often to look where nothing tells when: no token, or a renewal under way.
    const LOOK: Duration = Duration::from_millis(500);
    loop {
        let wait = {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let now = shared.clock.now();
            match slot.due() {
                Some(due) if due > now => due.saturating_since(now),
                _ => {
                    let epoch = shared.source.credential_epoch();
                    if let Some(flight) = slot.keep(now, epoch, &shared.policy) {
                        shared.spawn(
                            &Handle::current(),
                            slot.clone(),
                            TokenRequest::new(),
                            flight,
                        );
                    }
                    LOOK
                }
            }
        };
        time::sleep(wait.max(Duration::from_millis(1))).await;
    }
}
