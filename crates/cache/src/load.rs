//! Loading a token: from the shared store, or from the source.

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::time;

use crate::{
    current::is_live,
    entry::answers,
    failure::CachedFailure,
    level2::{CredentialClaim, EntryUse, Fitness, PutPermission, SecondLevel, wait::Step},
    nesting,
    panics::{self, CatchPanic},
    shared::Shared,
    slot::Slot,
    stats::count,
    step::{Flight, LoadError},
    store::{StoreEntry, StoreKey},
    upstream::Entry,
};

/// The result of loading a token.
pub(crate) struct LoadResult<'a> {
    pub(crate) result: Result<AccessToken, LoadError>,
    /// Present if the source responded itself, to update the state of the source.
    pub(crate) entry: Option<Entry<'a>>,
}

/// The rights of a fetch in the shared store, which are given back however it ends.
#[derive(Default)]
pub(crate) struct Claims {
    pub(crate) right: PutPermission,
    pub(crate) credentials: Option<CredentialClaim>,
    /// True if the store did not answer. It is not asked again: the caller waits for it once.
    is_unavailable: bool,
}

impl<'a> LoadResult<'a> {
    fn new(result: Result<AccessToken, LoadError>, entry: Option<Entry<'a>>) -> Self {
        Self { result, entry }
    }
}

/// Queries the shared store, then the source. `claims` are set as soon as a lease is granted, so that it is released
/// however the fetch ends.
pub(crate) async fn load<'a, S: TokenSource + 'static>(
    shared: &'a Shared<S>,
    slot: &Slot,
    flight: &mut Flight,
    request: &TokenRequest,
    claims: &mut Claims,
) -> LoadResult<'a> {
    let store = shared.store.as_ref();
    let Some(store) = store.filter(|_| !shared.binds_tokens()) else {
        let credentials = Some(&mut claims.credentials);
        return call_source(shared, slot, flight, request, credentials).await;
    };
    let key = store.key(request);
    match find(shared, store, slot, request, &key, claims).await {
        Some(Ok(token)) => {
            count(&shared.counters.store_hits);
            return LoadResult::new(Ok(token), None);
        }
        Some(Err(failure)) => return LoadResult::new(Err(LoadError::Cached(failure)), None),
        None => {}
    }
    let credentials = (!claims.is_unavailable).then_some(&mut claims.credentials);
    let fetch = call_source(shared, slot, flight, request, credentials);
    match &claims.right {
        PutPermission::Leased(lease) => store.extending(&key, lease, fetch, shared.context()).await,
        PutPermission::Unleased | PutPermission::None => fetch.await,
    }
}

/// An entry that may answer the request.
enum StoreHit {
    Token(AccessToken),
    /// The server's answers to processes with some credentials.
    Answers(StoreEntry),
}

/// Returns a token of the shared store, or the server's refusal of this request to another process, or sets the right to
/// fetch one. Waits while another process fetches.
async fn find<S: TokenSource + 'static>(
    shared: &Shared<S>,
    store: &SecondLevel,
    slot: &Slot,
    request: &TokenRequest,
    key: &StoreKey,
    claims: &mut Claims,
) -> Option<Result<AccessToken, CachedFailure>> {
    let context = shared.context();
    let fitness = fitness_check(shared, slot, request);
    if is_blocked(shared, slot) {
        // Another process may have put a token, but there is no use for a lease.
        return store.read(key, fitness, context).await.map(Ok);
    }
    let evaluate = |entry: &StoreEntry| match store.evaluate(entry, &fitness, context) {
        EntryUse::Use(token) => EntryUse::Use(StoreHit::Token(token)),
        EntryUse::Ignore if answers::is_of_answers(entry.bytes()) => {
            EntryUse::Use(StoreHit::Answers(entry.clone()))
        }
        EntryUse::Ignore => EntryUse::Ignore,
        EntryUse::Refused => EntryUse::Refused,
    };
    let mut wait = store.wait(key, context);
    loop {
        match wait.next(evaluate).await {
            Step::Found(StoreHit::Token(token)) => return Some(Ok(token)),
            Step::Found(StoreHit::Answers(entry)) => {
                if let Some(failure) = shared.refusal(&entry).await {
                    return Some(Err(failure));
                }
                wait.ignore(entry);
                continue;
            }
            Step::Leased(lease) => {
                claims.right = PutPermission::Leased(lease);
                wait.remove_refused().await;
            }
            Step::Over => claims.right = PutPermission::Unleased,
            Step::Unavailable => claims.is_unavailable = true,
            // The server may have refused the credentials.
            Step::HolderLost => {
                if shared
                    .claim_credentials(shared.epoch(), false)
                    .await
                    .is_ok()
                {
                    continue;
                }
            }
        }
        return None;
    }
}

/// Returns true if the source must not be called now.
fn is_blocked<S: TokenSource>(shared: &Shared<S>, slot: &Slot) -> bool {
    let (now, epoch) = (shared.clock.now(), shared.epoch());
    shared.upstream.failure(now, epoch).is_some()
        || slot.may_fetch(now, epoch, &shared.policy).is_err()
}

/// Returns the check of tokens from the store, beside the current one.
pub(crate) fn fitness_check<S: TokenSource>(
    shared: &Shared<S>,
    slot: &Slot,
    request: &TokenRequest,
) -> impl Fn(&AccessToken) -> Fitness {
    let before = slot.current();
    let before = before.filter(|token| is_live(token, shared.clock.now()));
    move |token| {
        // It may come from a process with other settings.
        let check = || shared.source.check_token(request, token).is_ok();
        if !panics::catch(check).unwrap_or(false) {
            return Fitness::Unfit;
        }
        if slot.was_refused(token) || shared.holders.was_refused(token) {
            return Fitness::Refused;
        }
        // Any valid token is better than none: it is refreshed like any other.
        let Some(before) = &before else {
            return Fitness::Good;
        };
        let newer = !before.is_same(token) && token.deadline() > before.deadline();
        if newer && shared.policy.refresh_at(token) > shared.clock.now() {
            Fitness::Good
        } else {
            Fitness::Unfit
        }
    }
}

/// Calls the source, unless a failure of this key, or of all keys in any process, is cached. Without a place for a claim
/// of the credentials, the store is not asked.
async fn call_source<'a, S: TokenSource + 'static>(
    shared: &'a Shared<S>,
    slot: &Slot,
    flight: &mut Flight,
    request: &TokenRequest,
    credentials: Option<&mut Option<CredentialClaim>>,
) -> LoadResult<'a> {
    let epoch = || shared.epoch();
    let cached = |failure| LoadResult::new(Err(LoadError::Cached(failure)), None);
    let nested = nesting::is_nested_fetch();
    let mut entry = match shared.upstream.enter(nested, epoch, &shared.clock).await {
        Ok(entry) => entry,
        Err(failure) => return cached(failure),
    };
    let now = shared.clock.now();
    if let Err(failure) = slot.may_fetch(now, entry.epoch, &shared.policy) {
        return cached(failure);
    }
    if let Some(credentials) = credentials {
        match shared
            .claim_credentials(entry.epoch, entry.is_trial())
            .await
        {
            Ok(claim) => *credentials = claim,
            Err(failure) => return cached(failure),
        }
        if credentials
            .as_ref()
            .is_some_and(CredentialClaim::is_accepted)
        {
            entry.accepted_elsewhere();
        }
    }
    let began = shared.clock.now();
    count(&shared.counters.fetches);
    shared.observe.fetching();
    slot.on_fetch(flight, began, &shared.policy);
    let deadline = shared.policy.fetch_timeout;
    let answer = CatchPanic::new(async { shared.source.token(request).await });
    let (result, entry) = match time::timeout(deadline, answer).await {
        Ok(Some(result)) => (result, Some(entry)),
        // The panic's message is not repeated: it may hold anything. Neither a panic nor a source that hangs says
        // anything about other keys.
        Ok(None) => {
            let error = TokenError::unavailable("the token source panicked");
            (Err(error), None)
        }
        Err(_) => {
            let message = format!("the token source did not answer within {deadline:?}");
            (Err(TokenError::unavailable(message)), None)
        }
    };
    if result.is_err() {
        count(&shared.counters.failures);
    }
    let took = shared.clock.now().saturating_since(began);
    shared.observe.fetched(&result, took);
    LoadResult::new(result.map_err(LoadError::Source), entry)
}
