//! Runs each target on its seeds and on its corpus, the inputs that the fuzzer has found.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, panic, path::PathBuf};

use hallpass_fuzz::{TARGETS, Target};

/// The maximum number of files of a target, and their total size.
const MAX_FILES: usize = 60;
const MAX_BYTES: u64 = 1 << 20;

/// Returns the files of a target's corpus.
fn corpus(target: &Target) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let entries = fs::read_dir(folder.join(target.name));
    let entries = entries.unwrap_or_else(|error| panic!("corpus/{}: {error}", target.name));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn the_invariants_hold_for_all_seeds_and_corpora() {
    let mut faults = Vec::new();
    let mut check = |target: &Target, name: String, input: &[u8]| {
        let run = target.run;
        if panic::catch_unwind(|| run(input)).is_err() {
            faults.push(format!("{}: {name}", target.name));
        }
    };
    for target in TARGETS {
        for (at, seed) in (target.seeds)().iter().enumerate() {
            check(target, format!("seed {at}"), seed);
        }
        for path in corpus(target) {
            check(
                target,
                path.display().to_string(),
                &fs::read(&path).unwrap(),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_target_has_seeds_and_a_small_corpus() {
    let mut bytes = 0;
    for target in TARGETS {
        assert!(!(target.seeds)().is_empty(), "{} has no seeds", target.name);
        let files = corpus(target);
        let range = 1..=MAX_FILES;
        assert!(
            range.contains(&files.len()),
            "{}: {} files",
            target.name,
            files.len()
        );
        bytes += files
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum::<u64>();
    }
    assert!(bytes <= MAX_BYTES, "{bytes}");
}

#[test]
fn each_corpus_has_a_target_and_each_target_a_name() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = fs::read_dir(folder).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(folders.collect::<BTreeSet<_>>(), names);
    assert_eq!(names.len(), TARGETS.len());
}

#[test]
fn each_target_has_a_row_in_the_table() {
    let page = include_str!("../README.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let names = TARGETS.iter().map(|target| target.name);
    assert!(rows.map(|(name, _)| name).eq(names));
}
