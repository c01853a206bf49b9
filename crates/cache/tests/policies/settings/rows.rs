//! The settings of the cache's builder: how each is set, the story that shows its effect, and how it is seen.

use hallpass_cache::CacheBuilder;

use super::{CountedClock, Fate, Observations, Source, Story, World};
use crate::{distant::NAMESPACE, support::SECOND};

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) set: fn(CacheBuilder<Source>, &World) -> CacheBuilder<Source>,
    /// Needs a store.
    pub(super) is_shared: bool,
    pub(super) fate: Fate,
    pub(super) story: Story,
    pub(super) seen: fn(&Observations) -> bool,
}

/// A setting, those beside which its effect is not seen, and the reason.
pub(super) const UNSEEN: &[(&str, &[&str], &str)] = &[(
    "metrics_label",
    &["without_metrics"],
    "there are none that could have the label",
)];

const fn row(
    name: &'static str,
    set: fn(CacheBuilder<Source>, &World) -> CacheBuilder<Source>,
    (fate, story): (Fate, Story),
    seen: fn(&Observations) -> bool,
) -> Row {
    Row {
        name,
        set,
        is_shared: false,
        fate,
        story,
        seen,
    }
}

const fn shared(row: Row) -> Row {
    Row {
        is_shared: true,
        ..row
    }
}

const ONCE: (Fate, Story) = (Fate::Token, Story::Once);

pub(super) const ROWS: [Row; 19] = [
    row(
        "backoff",
        |one, _| one.backoff(20 * SECOND, 40 * SECOND),
        (Fate::Down, Story::Calls(5)),
        |seen| seen.gap_is(10, 21) && seen.longest_gap() <= 41 * SECOND,
    ),
    row(
        "clock",
        |one, world| one.clock(CountedClock(world.clock.clone(), world.clock_reads.clone())),
        ONCE,
        |seen| seen.clock_reads > 0,
    ),
    row(
        "fetch_timeout",
        |one, _| one.fetch_timeout(3 * SECOND),
        (Fate::Hangs, Story::Once),
        |seen| seen.elapsed == 3 * SECOND,
    ),
    row(
        "keep_warm",
        |one, _| one.keep_warm(),
        (Fate::Token, Story::Idle),
        |seen| seen.fetches.len() >= 3,
    ),
    row(
        "max_concurrent_fetches",
        |one, _| one.max_concurrent_fetches(1),
        (Fate::Later, Story::Keys),
        |seen| seen.elapsed >= 3 * SECOND,
    ),
    row(
        "max_keys",
        |one, _| one.max_keys(1),
        (Fate::Token, Story::Keys),
        |seen| seen.keys == 1,
    ),
    row(
        "max_refresh_window",
        |one, _| one.max_refresh_window(60 * SECOND),
        (Fate::Token, Story::Calls(2)),
        |seen| seen.gap_is(3_540, 3_571),
    ),
    row(
        "max_retry_after",
        |one, _| one.max_retry_after(100 * SECOND),
        (Fate::Busy, Story::Calls(2)),
        |seen| seen.gap_is(100, 101),
    ),
    row(
        "metrics_label",
        |one, _| one.metrics_label("kind"),
        ONCE,
        |seen| seen.labels.contains("kind"),
    ),
    row(
        "min_interval",
        |one, _| one.min_interval(7 * SECOND),
        (Fate::Token, Story::RefusedTokens),
        |seen| seen.gap_is(7, 9),
    ),
    row(
        "name",
        |one, _| one.name("orders"),
        ONCE,
        |seen| seen.events.iter().all(|(name, ..)| name == "orders"),
    ),
    row(
        "observer",
        |one, world| one.observer(world.other_events.clone()),
        ONCE,
        |seen| seen.other_events == seen.events.len(),
    ),
    row(
        "refusal_ttl",
        |one, _| one.refusal_ttl(100 * SECOND),
        (Fate::Refused, Story::Calls(2)),
        |seen| seen.gap_is(100, 101),
    ),
    shared(row(
        "shared_prover",
        |one, world| one.shared_prover(world.prover.clone()),
        ONCE,
        |seen| seen.is_stored,
    )),
    row(
        "store",
        |one, world| one.store(world.store.clone(), NAMESPACE),
        ONCE,
        |seen| seen.is_stored,
    ),
    shared(row(
        "store_start_timeout",
        |one, _| one.store_start_timeout(5 * SECOND),
        (Fate::Token, Story::SilentStore),
        |seen| seen.elapsed == 5 * SECOND,
    )),
    shared(row(
        "store_timeout",
        |one, _| one.store_timeout(3 * SECOND),
        (Fate::Token, Story::LateStore),
        |seen| seen.elapsed == 3 * SECOND,
    )),
    shared(row(
        "store_write_timeout",
        |one, _| one.store_write_timeout(4 * SECOND),
        (Fate::Token, Story::StuckStore),
        |seen| {
            seen.events
                .iter()
                .any(|(_, kind, at)| *kind == "store_fault" && *at == 4 * SECOND)
        },
    )),
    row(
        "without_metrics",
        |one, _| one.without_metrics(),
        ONCE,
        |seen| seen.labels.is_empty(),
    ),
];
