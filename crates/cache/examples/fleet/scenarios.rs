//! The scenarios of the simulation.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use hallpass_core::TokenRequest;
use tokio::{
    runtime,
    task::JoinSet,
    time::{self, Instant},
};

use crate::{
    fleet::{Fleet, Process},
    report::{Expected, Report},
    store::Network,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The maximum time between polls of a process that waits for another one, without and with notifications.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_NOTIFIED_PAUSE: Duration = Duration::from_secs(4);

/// A course of events for a fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scenario {
    /// All processes start at once, with a server of this latency.
    ColdStart(Duration, Changes),
    /// Jobs that take one token and exit, one after another.
    Jobs,
    /// The process that fetches is killed halfway.
    Killed(Duration),
    /// Five lifetimes of calls.
    Steady(Duration),
    /// The same, with processes that are killed and started again twice a lifetime.
    Restarts,
    /// Every process is replaced by a new one, a tenth of the fleet at a time.
    RollingDeploy,
    /// A new secret is accepted beside the old one, and reaches each process within a minute.
    Rotation,
    /// A new secret replaces the old one at once, and reaches each process within a minute.
    HardRotation,
    /// A wrong secret with fifty keys, corrected after a minute.
    WrongSecret,
    /// The store is down for five minutes.
    StoreOutage(Network),
    /// The store loses everything; then a tenth of the processes is started again.
    Flush,
    /// APIs refuse the token that all processes have.
    Revoked,
}

/// The way in which a waiting process learns of another one's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// The store reports changes.
    Reported,
    /// It does not: processes poll.
    Polled,
}

use Changes::{Polled, Reported};

/// All scenarios.
pub(crate) const ALL: &[Scenario] = &[
    Scenario::ColdStart(Duration::from_millis(100), Reported),
    Scenario::ColdStart(Duration::from_millis(200), Reported),
    Scenario::ColdStart(Duration::from_secs(2), Reported),
    Scenario::ColdStart(Duration::from_secs(4), Reported),
    Scenario::ColdStart(Duration::from_secs(20), Reported),
    Scenario::ColdStart(Duration::from_secs(30), Reported),
    Scenario::ColdStart(Duration::from_secs(2), Polled),
    Scenario::ColdStart(Duration::from_secs(20), Polled),
    Scenario::Jobs,
    Scenario::Killed(Duration::from_secs(4)),
    Scenario::Steady(MINUTE),
    Scenario::Steady(HOUR),
    Scenario::Steady(DAY),
    Scenario::Restarts,
    Scenario::RollingDeploy,
    Scenario::Rotation,
    Scenario::HardRotation,
    Scenario::WrongSecret,
    Scenario::StoreOutage(Network::Refusing),
    Scenario::StoreOutage(Network::Stalled),
    Scenario::Flush,
    Scenario::Revoked,
];

/// Runs a scenario with this many processes in virtual time; the same seed yields the same figures.
pub(crate) fn run(scenario: Scenario, processes: usize, seed: u64) -> (Report, Expected) {
    fastrand::seed(seed);
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    // Without I/O there is nothing that could fail.
    let runtime = runtime.expect("a runtime with a clock");
    runtime.block_on(async {
        let (fleet, expected) = match scenario {
            Scenario::ColdStart(latency, changes) => cold_start(processes, latency, changes).await,
            Scenario::Jobs => jobs(processes).await,
            Scenario::Killed(latency) => killed(processes, latency).await,
            Scenario::Steady(lifetime) => steady(processes, lifetime).await,
            Scenario::Restarts => restarts(processes).await,
            Scenario::RollingDeploy => rolling_deploy(processes).await,
            Scenario::Rotation => rotation(processes, &[1, 2]).await,
            Scenario::HardRotation => rotation(processes, &[2]).await,
            Scenario::WrongSecret => wrong_secret(processes).await,
            Scenario::StoreOutage(network) => store_outage(processes, network).await,
            Scenario::Flush => flush(processes).await,
            Scenario::Revoked => revoked(processes).await,
        };
        (fleet.report(scenario.name()), expected)
    })
}

impl Scenario {
    fn name(self) -> String {
        match self {
            Self::ColdStart(latency, Reported) => format!("cold start, server {latency:?}"),
            Self::ColdStart(latency, Polled) => {
                format!("cold start, server {latency:?}, no notifications")
            }
            Self::Jobs => "jobs one after another".into(),
            Self::Killed(_) => "the fetching process is killed".into(),
            Self::Steady(lifetime) => format!("five lifetimes of {} s", lifetime.as_secs()),
            Self::Restarts => "restarts".into(),
            Self::RollingDeploy => "rolling deploy".into(),
            Self::Rotation => "new secret beside the old one".into(),
            Self::HardRotation => "new secret instead of the old one".into(),
            Self::WrongSecret => "wrong secret, 50 keys, corrected after a minute".into(),
            Self::StoreOutage(Network::Stalled) => "store stalled for 5 minutes".into(),
            Self::StoreOutage(_) => "store down for 5 minutes".into(),
            Self::Flush => "store flushed".into(),
            Self::Revoked => "token revoked".into(),
        }
    }
}

async fn cold_start(processes: usize, latency: Duration, changes: Changes) -> (Fleet, Expected) {
    let fleet = Fleet::new(latency, HOUR, changes == Reported);
    all(&fleet, processes, |process| async move {
        process.call().await;
    })
    .await;
    let notice_delay = match changes {
        Reported => 50 * MILLISECOND,
        Polled => LONGEST_PAUSE + 50 * MILLISECOND,
    };
    let expected = Expected {
        // Without notifications a process polls every two seconds in the end.
        most_questions: match changes {
            Reported if latency <= 20 * SECOND => 12,
            _ => 25,
        },
        ..expected(1..=1, latency + notice_delay)
    };
    (fleet, expected)
}

async fn jobs(processes: usize) -> (Fleet, Expected) {
    let latency = 200 * MILLISECOND;
    let fleet = Fleet::new(latency, HOUR, true);
    // As many as start within a lifetime.
    for _ in 0..processes.min(1_000) {
        let process = fleet.process();
        process.call().await;
        process.shut_down().await;
        time::sleep(SECOND).await;
    }
    (fleet, expected(1..=1, latency + 10 * MILLISECOND))
}

async fn killed(processes: usize, latency: Duration) -> (Fleet, Expected) {
    let fleet = Fleet::new(latency, HOUR, true);
    let mut tasks = JoinSet::new();
    let (kill, _) = tokio::sync::broadcast::channel(1);
    for _ in 0..processes {
        let process = fleet.process();
        let mut killed = kill.subscribe();
        tasks.spawn(async move {
            let is_killed = async { while killed.recv().await != Ok(process.number()) {} };
            tokio::select! {
                _ = process.call() => return,
                () = is_killed => {}
            }
            process.kill();
        });
    }
    time::sleep(latency / 2).await;
    let sent = kill.send(fleet.server.last_client());
    assert!(sent.is_ok(), "all processes wait");
    tasks.join_all().await;
    // The killed process extended its lease of three seconds until then, and others ask for it at each poll.
    let takeover = latency / 2 + 4 * SECOND + LONGEST_NOTIFIED_PAUSE;
    (fleet, expected(2..=2, takeover + latency))
}

async fn steady(processes: usize, lifetime: Duration) -> (Fleet, Expected) {
    let latency = SECOND;
    let fleet = Fleet::new(latency, lifetime, true);
    let end = Instant::now() + 5 * lifetime;
    all(&fleet, processes, |process| async move {
        calls(&process, lifetime, end).await;
    })
    .await;
    (
        fleet,
        expected(
            lifetimes(5 * lifetime, lifetime),
            latency + 50 * MILLISECOND,
        ),
    )
}

async fn restarts(processes: usize) -> (Fleet, Expected) {
    let latency = SECOND;
    let fleet = Fleet::new(latency, HOUR, true);
    let end = Instant::now() + 5 * HOUR;
    let mut tasks = JoinSet::new();
    for _ in 0..processes {
        let fleet = fleet.clone();
        tasks.spawn(async move {
            while Instant::now() < end {
                let process = fleet.process();
                let life = HOUR.mul_f64(fastrand::f64());
                calls(&process, HOUR, end.min(Instant::now() + life)).await;
                process.kill();
            }
        });
    }
    tasks.join_all().await;
    // A process that is killed while it fetches leaves a lease of three seconds.
    let wait = latency + 4 * SECOND + LONGEST_NOTIFIED_PAUSE;
    let requests = lifetimes(5 * HOUR, HOUR);
    (
        fleet,
        expected(*requests.start()..=*requests.end() + 1, wait),
    )
}

async fn rolling_deploy(processes: usize) -> (Fleet, Expected) {
    const BATCHES: usize = 10;
    let latency = SECOND;
    let fleet = Fleet::new(latency, HOUR, true);
    let end = Instant::now() + 40 * MINUTE;
    let mut tasks = JoinSet::new();
    for number in 0..processes {
        let fleet = fleet.clone();
        tasks.spawn(async move {
            let batch = u32::try_from(number % BATCHES).unwrap_or_default();
            let replaced = Instant::now() + 10 * MINUTE + 30 * SECOND * batch;
            let old = fleet.process();
            calls(&old, 20 * MINUTE, replaced).await;
            old.shut_down().await;
            calls(&fleet.process(), 20 * MINUTE, end).await;
        });
    }
    tasks.join_all().await;
    (fleet, expected(1..=1, latency + 50 * MILLISECOND))
}

async fn rotation(processes: usize, accepted: &'static [u8]) -> (Fleet, Expected) {
    let latency = SECOND;
    let lifetime = 10 * MINUTE;
    let fleet = Fleet::new(latency, lifetime, true);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..processes {
        let secret = Arc::new(AtomicU8::new(1));
        let process = fleet.process_with(secret.clone());
        // Just when tokens are refreshed.
        let read = start + 8 * MINUTE + MINUTE.mul_f64(fastrand::f64());
        tasks.spawn(async move {
            time::sleep_until(read).await;
            secret.store(2, Ordering::Relaxed);
        });
        tasks.spawn(async move { calls(&process, lifetime, start + 5 * lifetime).await });
    }
    time::sleep_until(start + 8 * MINUTE).await;
    fleet.server.accept(accepted);
    time::sleep(2 * MINUTE).await;
    fleet.server.accept(&[2]);
    tasks.join_all().await;
    let requests = lifetimes(5 * lifetime, lifetime);
    // With the old secret one more for each half minute of the refusal.
    let refused = if accepted.contains(&1) { 0 } else { 2 };
    let requests = *requests.start()..=*requests.end() + refused;
    (fleet, expected(requests, latency + 50 * MILLISECOND))
}

async fn wrong_secret(processes: usize) -> (Fleet, Expected) {
    const KEYS: usize = 50;
    let latency = 50 * MILLISECOND;
    let fleet = Fleet::new(latency, HOUR, true);
    fleet.server.accept(&[2]);
    let start = Instant::now();
    let corrected = start + MINUTE;
    let mut tasks = JoinSet::new();
    for _ in 0..processes {
        let secret = Arc::new(AtomicU8::new(1));
        let process = fleet.process_with(secret.clone());
        tasks.spawn(async move {
            let (requests, default) = (requests(KEYS), TokenRequest::new());
            while Instant::now() < corrected {
                let request = fastrand::choice(&requests);
                process.call_for(request.unwrap_or(&default)).await;
                time::sleep_until(corrected.min(Instant::now() + random(SECOND))).await;
            }
            secret.store(2, Ordering::Relaxed);
            for request in &requests {
                if process.call_for(request).await.is_none() {
                    return false;
                }
            }
            true
        });
    }
    let recovered = tasks
        .join_all()
        .await
        .into_iter()
        .all(|recovered| recovered);
    assert!(
        recovered,
        "each process has its tokens once the secret is right"
    );
    // A refusal is cached for half a minute, and is sent once for all keys and processes.
    let requests = 2 + KEYS..=3 + KEYS;
    // A process waits for one that sends the secret, for a moment.
    let wait = 2 * latency + 50 * MILLISECOND;
    let expected = Expected {
        failed: usize::MAX,
        ..expected(requests, wait)
    };
    (fleet, expected)
}

/// Returns requests for tokens with different scopes.
fn requests(keys: usize) -> Vec<TokenRequest> {
    let scopes = (0..keys).filter_map(|key| format!("key{key}").parse().ok());
    scopes
        .map(|scopes| TokenRequest::new().with_scopes(scopes))
        .collect()
}

async fn store_outage(processes: usize, network: Network) -> (Fleet, Expected) {
    let latency = SECOND;
    let lifetime = 10 * MINUTE;
    let fleet = Fleet::new(latency, lifetime, true);
    let start = Instant::now();
    let end = start + 6 * lifetime;
    let mut tasks = JoinSet::new();
    for _ in 0..processes {
        let process = fleet.process();
        tasks.spawn(async move { calls(&process, lifetime, end).await });
    }
    time::sleep_until(start + 15 * MINUTE).await;
    fleet.store.set_network(network);
    time::sleep(5 * MINUTE).await;
    fleet.store.set_network(Network::Up);
    tasks.join_all().await;
    // Meanwhile each process refreshes for itself, once at most.
    let requests = lifetimes(6 * lifetime, lifetime);
    let requests = *requests.start()..=*requests.end() + processes;
    (fleet, expected(requests, latency + 350 * MILLISECOND))
}

async fn flush(processes: usize) -> (Fleet, Expected) {
    let latency = SECOND;
    let fleet = Fleet::new(latency, HOUR, true);
    let flushed = Instant::now() + 10 * MINUTE;
    let end = Instant::now() + 40 * MINUTE;
    let mut tasks = JoinSet::new();
    for number in 0..processes {
        let fleet = fleet.clone();
        tasks.spawn(async move {
            let process = fleet.process();
            calls(&process, HOUR, flushed + MINUTE).await;
            let process = if number % 10 == 0 {
                fleet.process()
            } else {
                process
            };
            calls(&process, HOUR, end).await;
        });
    }
    time::sleep_until(flushed).await;
    let flushed = fleet.store.flush().await;
    assert!(
        flushed.is_ok(),
        "the simulated store has no faults of its own"
    );
    tasks.join_all().await;
    (fleet, expected(2..=2, latency + 50 * MILLISECOND))
}

async fn revoked(processes: usize) -> (Fleet, Expected) {
    let latency = 200 * MILLISECOND;
    let fleet = Fleet::new(latency, HOUR, true);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..processes {
        let process = fleet.process();
        tasks.spawn(async move {
            while start.elapsed() < 2 * MINUTE {
                process.call_api().await;
                time::sleep(SECOND.mul_f64(0.5 + fastrand::f64())).await;
            }
        });
    }
    time::sleep(MINUTE).await;
    fleet.server.revoke();
    tasks.join_all().await;
    (fleet, expected(2..=2, latency + 50 * MILLISECOND))
}

/// Calls at random times until `end`, twenty times in a lifetime on average.
async fn calls(process: &Process, lifetime: Duration, end: Instant) {
    while Instant::now() < end {
        process.call().await;
        time::sleep(random(lifetime / 20)).await;
    }
}

/// Returns a random pause with this mean, as between independent calls.
fn random(mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - fastrand::f64()).ln())
}

/// Starts all processes at once, and waits until they have ended.
async fn all<F>(fleet: &Fleet, processes: usize, life: impl Fn(Process) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..processes {
        tasks.spawn(life(fleet.process()));
    }
    tasks.join_all().await;
}

fn expected(requests: RangeInclusive<usize>, longest_wait: Duration) -> Expected {
    Expected {
        requests,
        failed: 0,
        longest_wait,
        most_questions: usize::MAX,
    }
}

/// Returns the number of requests in this time: one for each token, which is refreshed a fifth of its lifetime or five
/// minutes before its expiry.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A few.
fn lifetimes(time: Duration, lifetime: Duration) -> RangeInclusive<usize> {
    let window = (lifetime / 5).min(5 * MINUTE);
    let count = |each: Duration| time.div_duration_f64(each).ceil() as usize;
    count(lifetime)..=count(lifetime.saturating_sub(window)) + 1
}
