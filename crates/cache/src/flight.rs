//! One fetch, in a task of its own.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::{runtime::Handle, time};
use tracing::{Instrument as _, Span};

use crate::{
    Lease,
    cache::Shared,
    current::is_live,
    level2::{Found, Verdict},
    panics::CatchPanic,
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

/// Fetches, stores, tells all who wait, within `span`. Ends early when the cache is dropped.
pub(crate) fn carry_out<S: TokenSource + 'static>(
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    request: TokenRequest,
    flight: Flight,
    span: Span,
) -> impl Future<Output = ()> + Send + 'static {
    // Here and not in the task, which may be dropped before it was ever polled, and knows nothing of the caller's.
    let mut within = WITHIN.try_with(Clone::clone).unwrap_or_default();
    within.push((identity(&shared), request.clone()));
    let guard = Guard {
        id: flight.id,
        shared,
        slot,
    };
    until_dropped(guard, request, flight, span, within)
}

async fn until_dropped<S: TokenSource + 'static>(
    guard: Guard<S>,
    request: TokenRequest,
    flight: Flight,
    span: Span,
    within: Vec<(usize, TokenRequest)>,
) {
    let (shared, slot) = (guard.shared.clone(), guard.slot.clone());
    let mut alive = shared.alive.clone();
    let keeper = (shared.keep_warm && request.is_default())
        .then(|| Keeper::new(&shared))
        .flatten();
    // The span and the ancestors are this flight's, and no concern of the keeper, which outlives it.
    let flight = WITHIN
        .scope(within, fly(&guard, request, flight))
        .instrument(span);
    tokio::select! {
        flown = CatchPanic::new(flight) => {
            // Caught here, so that no panic looks like the end of a runtime, after which others take over at once.
            if flown.is_none() {
                let error = TokenError::unavailable("a panic ended the token fetch");
                slot.fail(guard.id, error, shared.clock.now(), &shared.policy);
            }
        }
        _ = alive.changed() => return,
    }
    let weak = Arc::downgrade(&shared);
    drop((guard, shared));
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

/// Lets the flight go when its task is dropped before it has landed; after that there is nothing to let go.
struct Guard<S> {
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    id: u32,
}

impl<S> Drop for Guard<S> {
    fn drop(&mut self) {
        self.slot.abandon(self.id, self.shared.clock.now());
    }
}

async fn fly<S: TokenSource + 'static>(
    guard: &Guard<S>,
    request: TokenRequest,
    mut flight: Flight,
) {
    let (shared, slot) = (&guard.shared, &guard.slot);
    if flight.renewal {
        // Here, and not where the caller that began it is kept.
        shared.observe.renewing(slot.current(), shared.clock.now());
    }
    let mut delay = flight.delay;
    loop {
        if !delay.is_zero() {
            time::sleep(delay).await;
        }
        slot.looking(&mut flight);
        let epoch = shared.epoch();
        let (result, lease) = load(shared, slot, &request).await;
        if let Ok(token) = &result {
            shared.holders.note(slot, token);
        }
        let now = shared.clock.now();
        let landed = slot.land(&mut flight, result, now, epoch, &shared.policy);
        let mut fetched = None;
        if let Landed::Done(report) = &landed {
            shared.observe.landed(report, now);
            shared.observe.publish(&shared.counters, &shared.keys);
            fetched = report.result.as_ref().ok();
        }
        // After those who wait were told: a slow store keeps nobody.
        if let (Some(store), Some(lease)) = (&shared.store, lease) {
            store.keep(&request, fetched, lease, shared.context()).await;
        }
        let Landed::Again(wait) = landed else {
            return;
        };
        delay = wait;
    }
}

/// Asks the shared store, then the source; with the lease under which the source was asked.
async fn load<S: TokenSource + 'static>(
    shared: &Shared<S>,
    slot: &Slot,
    request: &TokenRequest,
) -> (Result<AccessToken, TokenError>, Option<Lease>) {
    let mut lease = None;
    if let Some(store) = &shared.store {
        let before = slot.current();
        let before = before.filter(|token| is_live(token, shared.clock.now()));
        let judge = |token: &AccessToken| judge(shared, slot, before.as_ref(), token);
        let nobody_waits = before.is_some();
        match store
            .find(request, nobody_waits, &judge, shared.context())
            .await
        {
            Found::Token(token) => {
                count(&shared.counters.store_hits);
                return (Ok(token), None);
            }
            Found::Nothing(found) => lease = found,
        }
    }
    (fetch(shared, slot, request).await, lease)
}

fn judge<S>(
    shared: &Shared<S>,
    slot: &Slot,
    before: Option<&AccessToken>,
    token: &AccessToken,
) -> Verdict {
    let Some(before) = before else {
        // Any that lives is better than none: it is renewed like any other.
        return if slot.was_refused(token) {
            Verdict::Refused
        } else {
            Verdict::Good
        };
    };
    let newer = !before.is_same(token) && token.expires() > before.expires();
    if newer && shared.policy.refresh_at(token) > shared.clock.now() {
        Verdict::Good
    } else {
        Verdict::Old
    }
}

/// Asks the source.
async fn fetch<S: TokenSource + 'static>(
    shared: &Shared<S>,
    slot: &Slot,
    request: &TokenRequest,
) -> Result<AccessToken, TokenError> {
    count(&shared.counters.fetches);
    shared.observe.fetching();
    let began = shared.clock.now();
    slot.fetching(began, &shared.policy);
    let deadline = shared.policy.load_deadline;
    let answer = CatchPanic::new(async { shared.source.token(request).await });
    let result = match time::timeout(deadline, answer).await {
        Ok(Some(result)) => result,
        // What it says is not repeated: it may say anything.
        Ok(None) => Err(TokenError::unavailable("the token source panicked")),
        Err(_) => Err(TokenError::unavailable(format!(
            "the token source did not answer within {deadline:?}"
        ))),
    };
    if result.is_err() {
        count(&shared.counters.failures);
    }
    let took = shared.clock.now().saturating_since(began);
    shared.observe.fetched(&result, took);
    result
}

/// Renews the default token whenever it is due, asked for or not, until the cache is dropped.
async fn keep_warm<S: TokenSource + 'static>(shared: Weak<Shared<S>>, slot: Arc<Slot>) {
    /// How often to look where nothing tells when: no token, or a renewal under way.
    const LOOK: Duration = Duration::from_millis(500);
    /// How often to look at all: the token may be dropped meanwhile, or the machine suspended.
    const LONGEST: Duration = Duration::from_secs(30);
    loop {
        let wait = {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let now = shared.clock.now();
            match slot.due() {
                Some(due) if due > now => due.saturating_since(now),
                _ => {
                    let epoch = shared.epoch();
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
        time::sleep(wait.clamp(Duration::from_millis(1), LONGEST)).await;
    }
}
