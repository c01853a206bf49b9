//! Compares a cached token with a neighbour's own credential, for the adapters' benches (`#[path]`).
//!
//! The two take turns, so that a disturbance of the machine slows both.

use std::{
    pin::pin,
    task::{Context, Waker},
    time::Instant,
};

const TURNS: usize = 1_001;

/// Prints the median times of one call with a cached token and with a static credential, and their ratio. `calls` is
/// the number of calls in a turn: many for short ones.
pub(crate) async fn compare(
    row: &str,
    calls: u32,
    mut cached: impl AsyncFnMut(),
    mut fixed: impl AsyncFnMut(),
) {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        times[0].push(turn(calls, &mut cached).await);
        times[1].push(turn(calls, &mut fixed).await);
    }
    let [cached, fixed] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "{row}: cached token {cached:.1} ns, static credential {fixed:.1} ns, ratio {:.2}",
        cached / fixed
    );
}

/// Returns the time of one call, in nanoseconds.
async fn turn(calls: u32, call: &mut impl AsyncFnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call().await;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

/// Prints the allocations of one call, which must not wait.
pub(crate) fn allocations(row: &str, mut cached: impl AsyncFnMut(), mut fixed: impl AsyncFnMut()) {
    let (cached, fixed) = (count(&mut cached), count(&mut fixed));
    println!("{row}: allocations with a cached token {cached}, with a static credential {fixed}");
}

/// Returns the number of allocations of the second call.
fn count(call: &mut impl AsyncFnMut()) -> u64 {
    let mut ready = || {
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(call()).poll(&mut context).is_ready());
    };
    ready();
    allocation_counter::measure(ready).count_total
}
