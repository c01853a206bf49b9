//! One fetch, in its own task.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::{runtime::Handle, sync::watch, time};
use tracing::{Id, Instrument as _, Span};

use crate::{
    level2::Outcome,
    load::{Claims, LoadResult, load},
    nesting,
    panics::CatchPanic,
    shared::Shared,
    slot::Slot,
    stats::count,
    step::{Flight, Landing, LoadError, Report},
    watch::watch_key,
};

/// Spawns the task of a flight, which fetches a token, caches it and notifies all waiters. When the cache is dropped or
/// shut down, the fetch is cancelled, and a fetched token is still put into the shared store.
///
/// The functions of a flight, from the outermost: [`new_task`], [`run_task`], [`run_flight`] and [`load`].
pub(crate) fn spawn<S: TokenSource + 'static>(
    shared: &Arc<Shared<S>>,
    runtime: &Handle,
    slot: Arc<Slot>,
    request: TokenRequest,
    flight: Flight,
) {
    let span = if flight.refresh {
        count(&shared.counters.refreshes);
        // Not the span itself, which the task would keep open.
        FlightSpan::Refresh(Span::current().id())
    } else {
        FlightSpan::Fetch(shared.observe.fetch_span())
    };
    runtime.spawn(new_task(shared.clone(), slot, request, flight, span));
}

enum FlightSpan {
    Fetch(Span),
    /// The span of the caller, if there is one.
    Refresh(Option<Id>),
}

/// Creates the task of a flight in the context of the caller that starts it.
fn new_task<S: TokenSource + 'static>(
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    request: TokenRequest,
    flight: Flight,
    span: FlightSpan,
) -> impl Future<Output = ()> + Send + 'static {
    // Here and not in the task, which does not inherit the caller's task-locals.
    let nested = nesting::is_within_fetch();
    // And here, since the task may be dropped before its first poll.
    let guard = FlightGuard {
        id: flight.id,
        shared,
        slot,
    };
    run_task(guard, request, flight, span, nested)
}

/// Runs the flight within its span; then, if it was the default key's, keeps its token warm.
async fn run_task<S: TokenSource + 'static>(
    guard: FlightGuard<S>,
    request: TokenRequest,
    flight: Flight,
    span: FlightSpan,
    nested: bool,
) {
    let (shared, slot) = (guard.shared.clone(), guard.slot.clone());
    let alive = shared.alive.clone();
    // Until the work after the fetch is done: `shutdown` waits for it.
    let work = shared.work_permit();
    let keeper = (shared.keep_warm && request.is_default())
        .then(|| KeepWarmPermit::new(&shared))
        .flatten();
    // Neither the span nor the flight's dependencies concern the keeper, which outlives it.
    let node = flight.node.clone();
    let flight = async {
        let span = match span {
            FlightSpan::Fetch(span) => span,
            FlightSpan::Refresh(caller) => shared.observe.refresh_span(caller),
        };
        let run = run_flight(&guard, request, flight, alive.clone());
        nesting::within(node, nested, run).instrument(span).await;
    };
    if CatchPanic::new(flight).await.is_none() {
        // Caught here, so that no panic looks like a runtime shutdown, after which others take over at once.
        let error = TokenError::unavailable("a panic ended the token fetch");
        slot.fail(guard.id, error, shared.clock.now(), &shared.policy);
    }
    drop((guard, shared, work));
    if let Some(permit) = keeper {
        run_keeper(permit, slot, alive).await;
    }
}

/// Starts to keep the default token warm, unless a task does: the runtime of the last one has shut down.
#[cold]
pub(crate) fn spawn_keeper<S: TokenSource + 'static>(shared: &Arc<Shared<S>>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    if let Some(permit) = KeepWarmPermit::new(shared) {
        let (slot, alive) = (shared.default.clone(), shared.alive.clone());
        runtime.spawn(run_keeper(permit, slot, alive));
    }
}

/// Keeps the default token warm until the cache is dropped or shut down.
async fn run_keeper<S: TokenSource + 'static>(
    permit: KeepWarmPermit<S>,
    slot: Arc<Slot>,
    mut alive: watch::Receiver<bool>,
) {
    tokio::select! {
        () = keep_warm(permit.0.clone(), slot) => {}
        _ = alive.changed() => {}
    }
}

/// The right to keep the token warm: one task at a time has it, and releases it if its runtime shuts down.
struct KeepWarmPermit<S>(Weak<Shared<S>>);

impl<S> KeepWarmPermit<S> {
    fn new(shared: &Arc<Shared<S>>) -> Option<Self> {
        let taken = shared.kept_warm.swap(true, Ordering::Relaxed);
        (!taken).then(|| Self(Arc::downgrade(shared)))
    }
}

impl<S> Drop for KeepWarmPermit<S> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.kept_warm.store(false, Ordering::Relaxed);
        }
    }
}

/// A guard that abandons the flight if its task is dropped before it has landed.
struct FlightGuard<S> {
    shared: Arc<Shared<S>>,
    slot: Arc<Slot>,
    id: u32,
}

impl<S> Drop for FlightGuard<S> {
    fn drop(&mut self) {
        self.slot.abandon(self.id, self.shared.clock.now());
    }
}

/// Fetches until the flight lands, or the cache is dropped or shut down.
async fn run_flight<S: TokenSource + 'static>(
    guard: &FlightGuard<S>,
    request: TokenRequest,
    mut flight: Flight,
    mut alive: watch::Receiver<bool>,
) {
    let (shared, slot) = (&guard.shared, &guard.slot);
    if flight.refresh {
        // Here, and not where the caller that started it would have to wait.
        shared
            .observe
            .refreshing(slot.current(), shared.clock.now());
    }
    let mut delay = flight.delay;
    loop {
        let mut claims = Claims::default();
        let load = async {
            if !delay.is_zero() {
                time::sleep(delay).await;
            }
            slot.on_lookup(&mut flight, shared.clock.now(), &shared.policy);
            load(shared, slot, &mut flight, &request, &mut claims).await
        };
        let loaded = tokio::select! {
            loaded = load => Some(loaded),
            _ = alive.changed() => None,
        };
        let Some(loaded) = loaded else {
            slot.abandon(guard.id, shared.clock.now());
            finish(shared, &request, None, claims, Outcome::Unknown).await;
            return;
        };
        let LoadResult { result, entry } = loaded;
        if let Ok(token) = &result {
            shared.holders.note(slot, &request, token);
        }
        let now = shared.clock.now();
        let error = match &result {
            Err(LoadError::Source(error)) => Some(error.clone()),
            _ => None,
        };
        let repeated = matches!(result, Err(LoadError::Cached(_)));
        let epoch = entry.as_ref().map_or(0, |entry| entry.epoch);
        let record = shared.upstream.record();
        let landed = slot.land(&mut flight, result, now, epoch, record, &shared.policy);
        let (mut fetched, mut rest, mut alone) = (None, None, false);
        if let Landing::Done(report) = &landed {
            (rest, alone) = (report.rest, report.alone);
            if repeated {
                let failures = &shared.counters.cached_failures;
                failures.fetch_add(report.waiters as u64, Ordering::Relaxed);
            }
            shared.observe.landed(report, now);
            shared.observe.publish(&shared.counters, &shared.keys);
            fetched = report.result.as_ref().ok();
        }
        if let Some(entry) = entry {
            entry.landed(error.as_ref(), rest, alone, now);
        }
        // After the waiters were notified: nobody waits for a slow store, and only the landing decides whether the
        // token may be used at all.
        let outcome = Outcome::new(error.as_ref(), rest);
        finish(shared, &request, fetched, claims, outcome).await;
        // Refused while it was put: `invalidate` found nothing to remove.
        if let (Some(store), Some(token)) = (&shared.store, fetched)
            && slot.was_refused(token)
        {
            store.forget(&request, token, shared.context()).await;
        }
        let Landing::Again(wait) = landed else {
            if let Landing::Done(Report {
                result: Ok(token), ..
            }) = &landed
            {
                watch_key(shared, slot, &request, token);
            }
            return;
        };
        delay = wait;
    }
}

/// Updates the shared store after a fetch.
async fn finish<S>(
    shared: &Shared<S>,
    request: &TokenRequest,
    fetched: Option<&AccessToken>,
    claims: Claims,
    outcome: Outcome<'_>,
) {
    let Some(store) = &shared.store else { return };
    let context = shared.context();
    let credentials = claims.credentials;
    let now = context.clock.moment();
    let refusal = credentials
        .as_ref()
        .and_then(|claim| claim.refusal(outcome, now));
    let finish = store.finish(request, fetched, refusal, claims.right, context);
    let Some(credentials) = credentials else {
        return finish.await;
    };
    let report = store.report(credentials, outcome, context);
    if fetched.is_some() {
        tokio::join!(report, finish);
    } else {
        // The others find the failure when they get the lease.
        report.await;
        finish.await;
    }
}

/// Refreshes the default token whenever it is due, with or without calls, until the cache is dropped.
async fn keep_warm<S: TokenSource + 'static>(shared: Weak<Shared<S>>, slot: Arc<Slot>) {
    /// The polling interval if there is no token, or a refresh is in progress.
    const POLL_INTERVAL: Duration = Duration::from_millis(500);
    /// The maximum wait between polls: the token may be dropped meanwhile, or the machine suspended.
    const MAX_POLL_INTERVAL: Duration = Duration::from_secs(30);
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
                        let runtime = Handle::current();
                        spawn(&shared, &runtime, slot.clone(), TokenRequest::new(), flight);
                    }
                    POLL_INTERVAL
                }
            }
        };
        time::sleep(wait.clamp(Duration::from_millis(1), MAX_POLL_INTERVAL)).await;
    }
}
