//! Answers of the server about the credentials of one process, which all processes with them share.

use std::sync::Arc;

use hallpass_cache::CachedTokenSource;
use hallpass_core::{ErrorKind, TokenError, TokenRequest, TokenSource as _};
use tokio::{
    task::JoinSet,
    time::{Instant, advance},
};

use crate::{
    distant::{Distant, MILLISECOND, NAMESPACE, process},
    support::{Answer, HOUR, MINUTE, Mint, SECOND, key, name, settle},
};

pub(super) type Process = Arc<CachedTokenSource<Mint>>;

pub(super) const PROCESSES: usize = 100;

fn refused() -> Answer {
    Answer::Fail(TokenError::credentials_refused("wrong secret"))
}

fn busy() -> TokenError {
    TokenError::unavailable("busy")
}

pub(super) fn fleet(mint: &Mint, store: &Distant) -> Vec<Process> {
    let processes = 0..PROCESSES;
    let process = |_| Arc::new(process(mint, &store.connection()));
    processes.map(process).collect()
}

/// Asks all processes at once, and returns their errors' kinds.
pub(super) async fn errors(fleet: &[Process], request: &TokenRequest) -> Vec<ErrorKind> {
    let mut asked = Vec::new();
    for process in fleet {
        let (process, request) = (process.clone(), request.clone());
        asked.push(tokio::spawn(async move { process.token(&request).await }));
    }
    let mut kinds = Vec::new();
    for answer in asked {
        kinds.extend(answer.await.unwrap().err().map(|error| error.kind()));
    }
    kinds
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_sent_once_for_the_fleet() {
    let mint = Mint::new([refused()]).latency(50 * MILLISECOND).digest(1);
    let store = Distant::new(&mint);
    let fleet = fleet(&mint, &store);
    let start = Instant::now();
    let kinds = errors(&fleet, &TokenRequest::new()).await;
    assert_eq!(kinds, [ErrorKind::CredentialsRefused; PROCESSES]);
    assert_eq!(mint.calls(), 1);
    // Other keys have the same credentials, and processes that start later too.
    for number in 0..20 {
        let new = process(&mint, &store);
        new.token(&key(number.to_string())).await.unwrap_err();
    }
    assert_eq!(mint.calls(), 1);
    // Once more after the refusal's time, which began with the first one.
    advance((31 * SECOND).saturating_sub(start.elapsed())).await;
    errors(&fleet, &TokenRequest::new()).await;
    assert_eq!(mint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn accepted_credentials_need_no_further_lease() {
    let mint = Mint::hourly().digest(1);
    let store = Distant::new(&mint);
    let cache = process(&mint, &store);
    // For the key, and for the credentials.
    name(&cache).await;
    settle().await;
    assert_eq!(store.asked("look_up_or_lease"), 2);
    cache.token(&key("a")).await.unwrap();
    assert_eq!(store.asked("look_up_or_lease"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_replace_a_refusal() {
    let mint = Mint::new([Answer::New(HOUR), Answer::New(HOUR), refused()]).digest(1);
    let store = Distant::new(&mint);
    let slow = Arc::new(process(&mint, &store));
    name(&*slow).await;
    settle().await;
    let gate = mint.close();
    let other = slow.clone();
    let late = tokio::spawn(async move { other.token(&key("late")).await });
    gate.arrived(1).await;
    mint.close().open();
    let second = process(&mint, &store);
    second.token(&key("refused")).await.unwrap_err();
    second.shutdown().await;
    gate.open();
    late.await.unwrap().unwrap();
    slow.shutdown().await;
    process(&mint, &store)
        .token(&key("third"))
        .await
        .unwrap_err();
    assert_eq!(mint.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_elsewhere_is_read_once_for_all_keys() {
    let mint = Mint::new([refused()]).digest(1);
    let store = Distant::new(&mint);
    let first = process(&mint, &store);
    first.token(&TokenRequest::new()).await.unwrap_err();
    first.shutdown().await;
    let second = process(&mint, &store);
    second.token(&key("a")).await.unwrap_err();
    settle().await;
    let before = store.questions();
    second.token(&key("b")).await.unwrap_err();
    // A token of the key itself, which another process may have put, and no more.
    assert_eq!((store.questions() - before, mint.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_sent_at_once_by_all() {
    let mint = Mint::new([refused()]).digest(1);
    let store = Distant::new(&mint);
    let fleet = fleet(&mint, &store);
    errors(&fleet, &TokenRequest::new()).await;
    mint.then([Answer::New(HOUR)]);
    mint.set_digest(2);
    mint.rotate();
    let start = Instant::now();
    for process in &fleet {
        assert_eq!(name(&**process).await, "t2");
    }
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    assert_eq!(mint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_holds_for_the_fleet() {
    let wait = busy().with_retry_after(2 * MINUTE);
    let mint = Mint::new([Answer::Fail(wait)]).digest(1);
    let store = Distant::new(&mint);
    let fleet = fleet(&mint, &store);
    errors(&fleet, &TokenRequest::new()).await;
    assert_eq!(mint.calls(), 1);
    mint.then([Answer::New(HOUR)]);
    advance(MINUTE).await;
    let error = process(&mint, &store).token(&TokenRequest::new()).await;
    let error = error.unwrap_err();
    assert!(error.is_transient());
    let left = error.retry_after().unwrap();
    assert!(left <= MINUTE && left > 50 * SECOND, "{left:?}");
    assert!(error.to_string().contains("busy"), "{error}");
    assert_eq!(mint.calls(), 1);
    advance(MINUTE).await;
    assert_eq!(name(&*fleet[0]).await, "t2");
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_process_alone_is_not_shared() {
    for answer in [
        // Perhaps only this process cannot reach the server.
        Answer::Fail(busy()),
        Answer::Panic,
    ] {
        let mint = Mint::new([answer, Answer::New(HOUR)]).digest(1);
        let store = Distant::new(&mint);
        let first = process(&mint, &store);
        first.token(&TokenRequest::new()).await.unwrap_err();
        assert_eq!(name(&process(&mint, &store)).await, "t2");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_digest_no_failure_is_shared() {
    let mint = Mint::new([refused()]);
    let store = Distant::new(&mint);
    for calls in 1..=3 {
        let process = process(&mint, &store);
        process.token(&TokenRequest::new()).await.unwrap_err();
        assert_eq!(mint.calls(), calls);
    }
    assert_eq!(store.asked("put"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cache_around_a_cache_shares_a_refusal() {
    let mint = Mint::new([refused()]).digest(1);
    let store = Distant::new(&mint);
    for _ in 0..2 {
        let outer = CachedTokenSource::builder(mint.cached()).clock(mint.clock());
        let outer = outer.store(store.clone(), NAMESPACE).build();
        outer.token(&TokenRequest::new()).await.unwrap_err();
        outer.shutdown().await;
    }
    assert_eq!(mint.calls(), 1);
}

const KEYS: usize = 20;

/// Asks all processes for all keys at once, and returns the number of tokens, and the kinds of errors.
async fn ask_for_all_keys(fleet: &[Process]) -> (usize, Vec<ErrorKind>) {
    let mut asked = JoinSet::new();
    for process in fleet {
        for number in 0..KEYS {
            let process = process.clone();
            asked.spawn(async move { process.token(&key(number)).await });
        }
    }
    let (mut tokens, mut errors) = (0, Vec::new());
    for outcome in asked.join_all().await {
        match outcome {
            Ok(_) => tokens += 1,
            Err(error) => errors.push(error.kind()),
        }
    }
    (tokens, errors)
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_costs_one_request_for_all_keys_at_once() {
    for notifies in [true, false] {
        let mint = Mint::new([refused()]).latency(50 * MILLISECOND).digest(1);
        let store = Distant::new(&mint).notifying_if(notifies);
        let fleet = fleet(&mint, &store);
        for round in 1..=3 {
            let start = Instant::now();
            let (tokens, errors) = ask_for_all_keys(&fleet).await;
            assert_eq!(tokens, 0);
            assert_eq!(errors, [ErrorKind::CredentialsRefused; KEYS * PROCESSES]);
            assert_eq!(mint.calls(), round, "{notifies}");
            let took = start.elapsed();
            let most = if notifies { SECOND / 2 } else { 6 * SECOND };
            assert!(took <= most, "{notifies}: {took:?}");
            tokio::time::sleep((31 * SECOND).saturating_sub(took)).await;
        }
        // The secret is corrected in all processes.
        mint.then([Answer::New(HOUR)]);
        mint.set_digest(2);
        mint.rotate();
        let start = Instant::now();
        let (tokens, errors) = ask_for_all_keys(&fleet).await;
        assert_eq!((tokens, errors.len()), (KEYS * PROCESSES, 0));
        let took = start.elapsed();
        assert!(took <= 2 * SECOND, "{notifies}: {took:?}");
        assert_eq!(mint.calls(), 3 + KEYS);
    }
}

#[tokio::test(start_paused = true)]
async fn accepted_credentials_let_all_keys_go_on_in_parallel() {
    let mint = Mint::hourly().latency(SECOND).digest(1);
    let store = Distant::new(&mint).notifying();
    let fleet = fleet(&mint, &store);
    let start = Instant::now();
    let (tokens, _) = ask_for_all_keys(&fleet).await;
    assert_eq!((tokens, mint.calls()), (KEYS * PROCESSES, KEYS));
    // The first fetch, and all others at once.
    let took = start.elapsed();
    assert!(took <= 2 * SECOND + 100 * MILLISECOND, "{took:?}");
    // A process that starts later need not wait for another trial.
    let start = Instant::now();
    let new = Arc::new(process(&mint, &store));
    let (one, other) = (key("one"), key("other"));
    let (one, other) = tokio::join!(new.token(&one), new.token(&other));
    assert!(one.is_ok() && other.is_ok());
    let took = start.elapsed();
    assert!(took <= SECOND + 10 * MILLISECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_nobody_ends_delays_others_for_seconds() {
    for hangs in [true, false] {
        let mint = Mint::hourly().digest(1);
        let store = Distant::new(&mint).notifying();
        let gate = mint.close();
        let stuck = process(&mint, &store.connection());
        let stuck = tokio::spawn(async move { stuck.token(&key("stuck")).await });
        gate.arrived(1).await;
        if !hangs {
            // Its runtime ends before it can clean up.
            stuck.abort();
            store.set(Err("down"), MILLISECOND);
            settle().await;
            store.set(Ok(()), MILLISECOND);
        }
        mint.close().open();
        let start = Instant::now();
        let fleet = fleet(&mint, &store);
        assert_eq!(errors(&fleet, &TokenRequest::new()).await, []);
        let took = start.elapsed();
        assert!(took <= 6 * SECOND + 100 * MILLISECOND, "{took:?}");
        assert_eq!(mint.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_revoked_later_is_refused_for_all() {
    let mint = Mint::hourly().digest(1);
    let store = Distant::new(&mint).notifying();
    let fleet = fleet(&mint, &store);
    assert_eq!(errors(&fleet, &TokenRequest::new()).await, []);
    mint.then([refused()]);
    let kinds = errors(&fleet[..1], &key("first")).await;
    assert_eq!(kinds, [ErrorKind::CredentialsRefused]);
    // The refusal has replaced the entry that says that the credentials were accepted.
    let kinds = errors(&fleet, &key("second")).await;
    assert_eq!(kinds, [ErrorKind::CredentialsRefused; PROCESSES]);
    assert_eq!(mint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_different_secrets_stay_side_by_side() {
    let (one, other) = (Mint::new([refused()]), Mint::new([refused()]));
    let (one, other) = (one.digest(1), other.digest(2));
    let store = Distant::new(&one);
    for number in 0..3 {
        for mint in [&one, &other] {
            let process = process(mint, &store);
            process.token(&key(number)).await.unwrap_err();
            process.shutdown().await;
        }
    }
    assert_eq!((one.calls(), other.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn two_secrets_in_one_fleet_are_each_tried_once() {
    let old = Mint::new([refused()]).latency(50 * MILLISECOND).digest(1);
    let new = Mint::hourly().latency(50 * MILLISECOND).digest(2);
    let store = Distant::new(&old).notifying();
    let (before, after) = (fleet(&old, &store), fleet(&new, &store));
    for _ in 0..3 {
        let ((_, errors), (tokens, _)) =
            tokio::join!(ask_for_all_keys(&before), ask_for_all_keys(&after));
        assert!(
            errors
                .iter()
                .all(|kind| *kind == ErrorKind::CredentialsRefused)
        );
        assert_eq!(tokens, KEYS * PROCESSES);
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(old.calls(), 1);
    // A process that waited for two with the old secret in a row fetches for itself.
    assert!((KEYS..2 * KEYS).contains(&new.calls()), "{}", new.calls());
}
