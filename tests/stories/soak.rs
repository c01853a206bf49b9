//! The check of a soak run that finds small leaks of memory, with the figures of runs.

#[allow(dead_code)]
#[path = "../soak/remains.rs"]
mod remains;

use remains::{End, Growth};

/// A shutdown of the service: seconds since the first one, calls, and allocated bytes.
type Shutdown = (u64, u64, u64);

/// Runs with 40 calls a second: three of two minutes and a half, and some shutdowns of one of ten minutes.
const CLEAN: [&[Shutdown]; 4] = [
    &[
        (0, 232, 170_929),
        (40, 1_764, 177_342),
        (92, 3_800, 177_502),
        (124, 5_043, 181_838),
        (143, 5_808, 185_959),
    ],
    &[
        (0, 820, 168_656),
        (40, 2_347, 180_722),
        (60, 3_151, 179_882),
        (100, 4_710, 180_218),
        (128, 5_829, 181_858),
    ],
    &[
        (0, 1_110, 174_388),
        (9, 1_447, 175_541),
        (65, 3_623, 180_201),
        (94, 4_768, 183_273),
        (118, 5_700, 182_921),
    ],
    &[
        (0, 690, 169_280),
        (130, 5_507, 183_171),
        (221, 8_076, 188_634),
        (383, 10_608, 198_681),
        (470, 13_274, 206_269),
        (582, 17_617, 216_667),
    ],
];
/// With `--fault memory`, which leaks 64 bytes a call, and the seed of the first of `CLEAN`.
const LEAK: [Shutdown; 5] = [
    (0, 228, 181_672),
    (41, 1_769, 288_591),
    (93, 3_791, 427_340),
    (124, 5_040, 506_452),
    (143, 5_792, 555_453),
];

fn is_allowed(run: &[Shutdown]) -> Option<bool> {
    let ends = run.iter().map(|&(seconds, calls, bytes)| End {
        tasks: 0,
        at: seconds * 1_000_000,
        calls,
        bytes,
    });
    let ends: Vec<_> = ends.collect();
    Growth::between(&ends).map(|growth| growth.is_allowed())
}

#[test]
fn a_run_without_a_leak_passes_at_any_rate() {
    for run in CLEAN {
        for shutdowns in 2..=run.len() {
            let run = &run[..shutdowns];
            assert_eq!(is_allowed(run), Some(true), "{run:?}");
            // A part of the growth is that of time.
            let slow: Vec<_> = run
                .iter()
                .map(|&(s, calls, bytes)| (s, calls / 40, bytes))
                .collect();
            assert_eq!(is_allowed(&slow), Some(true), "{slow:?}");
        }
    }
}

#[test]
fn a_leak_of_64_bytes_a_call_is_found_within_two_minutes() {
    for shutdowns in 2..=LEAK.len() {
        assert_eq!(
            is_allowed(&LEAK[..shutdowns]),
            Some(false),
            "{shutdowns} shutdowns"
        );
    }
}

#[test]
fn one_shutdown_measures_no_growth() {
    assert_eq!(is_allowed(&LEAK[..1]), None);
}
