//! The steps of a release, as its output names them.

use anyhow::bail;
use semver::Version;

pub(super) fn tag(version: &Version) -> String {
    format!("v{version}")
}

pub(super) fn done(what: &str) {
    println!("[x] {what}");
}

/// Returns an error that describes how to continue.
pub(super) fn stop<T>(why: &str, go_on: &str) -> anyhow::Result<T> {
    bail!("{why}\nnothing was changed; {go_on}, and run this again")
}
