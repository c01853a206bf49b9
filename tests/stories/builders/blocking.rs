//! The settings of a source for threads that block.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use hallpass::blocking::{BlockingTokenSource, BlockingTokenSourceBuilder};
use hallpass_testkit::StaticSource;

use super::pairs::{PairCounts, Setting, check};

/// The traces that the settings of a run leave.
#[derive(Clone, Default)]
struct World {
    /// True if the work before the shutdown does not end.
    endless: bool,
    worked: Arc<AtomicBool>,
    entered: Arc<AtomicBool>,
}

impl World {
    async fn work(self) {
        self.worked.store(true, SeqCst);
        if self.endless {
            pending::<()>().await;
        }
    }
}

/// The observations of a shutdown.
struct Observations {
    world: World,
    is_complete: bool,
    elapsed: Duration,
}

fn rows() -> Vec<Setting<BlockingTokenSourceBuilder, World, Observations>> {
    let row = Setting::<BlockingTokenSourceBuilder, World, Observations>::new;
    vec![
        row(
            "on_shutdown",
            |one, world| one.on_shutdown(world.clone().work()),
            |seen| seen.world.worked.load(SeqCst),
        ),
        row(
            "shutdown_timeout",
            |one, _| one.shutdown_timeout(Duration::from_millis(200)),
            |seen| !seen.is_complete && seen.elapsed < Duration::from_secs(1),
        ),
        row(
            "thread_scope",
            |one, world| {
                let entered = world.entered.clone();
                one.thread_scope(move || entered.store(true, SeqCst))
            },
            |seen| seen.world.entered.load(SeqCst),
        ),
    ]
}

#[test]
fn every_two_settings_of_a_blocking_source_work() {
    let rows = rows();
    let counts = check(
        ("blocking", "BlockingTokenSourceBuilder"),
        &rows,
        &[],
        async |selection| {
            let world = World {
                endless: selection.has("shutdown_timeout"),
                ..World::default()
            };
            let other = World {
                endless: world.endless,
                ..World::default()
            };
            let builder = BlockingTokenSource::builder(StaticSource::new("t"));
            let builder = builder.on_shutdown(other.work());
            let builder = builder.shutdown_timeout(Duration::from_millis(1_500));
            let source = selection.set(builder, &world).build();
            let source = source.map_err(|error| error.to_string())?;
            let started = Instant::now();
            Ok(Observations {
                is_complete: source.shutdown(),
                elapsed: started.elapsed(),
                world,
            })
        },
    );
    // No run waits: this thread has no runtime, as a blocking source demands.
    let counts = pin!(counts).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(
        counts,
        Poll::Ready(PairCounts {
            built: 9,
            refused: 0
        })
    );
}
