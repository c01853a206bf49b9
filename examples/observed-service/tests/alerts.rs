//! The alert rules use only existing metrics, and the guide explains every alert.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, process::Command};

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Returns the words of a text that start with this prefix.
fn words(text: &str, beginning: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with(beginning))
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_guide_name_the_same() {
    let (rules, guide) = (read("alerts.yml"), read("../../docs/monitoring.md"));
    let reference = read("../../docs/observability.md");
    let alerts = words(&rules, "Hallpass");
    assert!(alerts.len() >= 10);
    assert_eq!(alerts, words(&guide, "Hallpass"));
    assert_eq!(
        alerts,
        words(&read("alerts.test.yml"), "Hallpass"),
        "each rule has a test"
    );
    let used = words(&rules, "hallpass_");
    let known = words(&reference, "hallpass_");
    assert!(used.is_subset(&known), "{:?}", used.difference(&known));
}

/// Checks the rules with Prometheus's own tool if it is installed; CI requires it.
#[test]
fn rules_fire_when_they_should() {
    let promtool = Command::new("promtool")
        .args(["test", "rules", "alerts.test.yml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match promtool {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}");
        }
        Err(error) => {
            let why = format!("promtool, of the package prometheus, could not be run: {error}");
            assert!(std::env::var_os("CI").is_none(), "{why}");
            println!("skipped: {why}");
        }
    }
}
