//! The checks of a soak run that find small leaks, with the figures of runs, and its search for signed assertions.

#[allow(dead_code)]
#[path = "../soak/assertions.rs"]
mod assertions;
#[path = "../soak/lives.rs"]
mod lives;
#[allow(dead_code)]
#[path = "../soak/remains.rs"]
mod remains;

use std::collections::BTreeMap;

use assertions::Assertions;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use lives::Growth as LifeGrowth;
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

/// The sockets in a life of 57 s, with a fault of the network after 35 s.
const BURST: [u64; 57] = [
    3, 8, 9, 9, 7, 9, 7, 8, 8, 9, 9, 9, 8, 8, 10, 10, 7, 9, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10, 9,
    9, 10, 10, 10, 10, 11, 11, 24, 24, 21, 22, 20, 21, 21, 20, 11, 11, 11, 11, 11, 11, 11, 10, 10,
    7, 7, 7, 6,
];

/// Returns the largest growth within a life.
fn largest(lives: &[&[u64]]) -> Option<LifeGrowth> {
    let lives = (1..).zip(lives);
    let measurements =
        lives.flat_map(|(life, values)| values.iter().map(move |value| (life, *value)));
    LifeGrowth::largest(&measurements.collect::<Vec<_>>())
}

fn grown(before: u64, after: u64, seconds: usize) -> LifeGrowth {
    LifeGrowth {
        before,
        after,
        seconds,
    }
}

#[test]
fn growth_that_ends_at_each_shutdown_is_found() {
    // A file in each second.
    let life: Vec<_> = (8..48).collect();
    let shortest = &life[..lives::SHORTEST];
    assert_eq!(largest(&[&life, &life, &life]), Some(grown(13, 38, 40)));
    assert_eq!(largest(&[shortest, &[8; 60]]), Some(grown(13, 23, 25)));
    let growth = largest(&[&life]).unwrap();
    assert!(growth.is_allowed(25) && !growth.is_allowed(24));
}

#[test]
fn connections_of_a_burst_are_no_growth_of_a_life() {
    assert_eq!(largest(&[&BURST]), Some(grown(7, 6, 57)));
    // Also if the life ends while they are open.
    assert_eq!(largest(&[&BURST[..43]]), Some(grown(7, 10, 43)));
}

#[test]
fn a_short_life_of_the_service_measures_no_growth() {
    let short = &BURST[..lives::SHORTEST - 1];
    assert_eq!(largest(&[short, short]), None);
}

/// Returns the signing input of an assertion and its signature, of this length.
fn signed(length: usize) -> (String, String) {
    let [header, claims] =
        [r#"{"alg":"EdDSA"}"#, r#"{"sub":"key"}"#].map(|json| BASE64_URL_SAFE_NO_PAD.encode(json));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(vec![0xfb; length]);
    (format!("{header}.{claims}"), signature)
}

#[test]
fn a_signed_assertion_is_found_in_any_text() {
    // The lengths of HS256, EdDSA and RS256.
    for length in [32, 64, 256] {
        let (message, signature) = signed(length);
        let jwt = format!("{message}.{signature}");
        let found = |text: &str| Assertions::default().search("log", text);
        let form = format!("client_assertion_type=urn%3Ajwt-bearer&client_assertion={jwt}&scope=a");
        let sentence = format!("sent {jwt}.\nand more");
        for text in [&jwt, &form, &sentence, &format!("{sentence:?}")] {
            assert!(found(text), "{text}");
        }
        for text in [
            &message,
            &signature,
            &format!("{message}.{}", &signature[..8]),
        ] {
            assert!(!found(text), "{text}");
        }
    }
}

#[test]
fn a_signature_is_found_before_and_after_its_receipt() {
    let (message, signature) = signed(64);
    let jwt = format!("{message}.{signature}");
    let text = format!("signature={signature}");
    let found = BTreeMap::from([("log", 1)]);

    let mut assertions = Assertions::default();
    assertions.search("log", &text);
    assert_eq!(assertions.signatures(), BTreeMap::new());
    assertions.receive(&jwt);
    assert_eq!(assertions.signatures(), found);

    let mut assertions = Assertions::default();
    assertions.receive(&jwt);
    assertions.search("log", &text);
    assert_eq!(assertions.signatures(), found);
}
