//! Checks that a package of tests enables all features of other crates that can be enabled together.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use cargo_metadata::{MetadataCommand, Node};

const PACKAGE: &str = "all-features";

/// The crates, and their features that stay off: an unstable one, one that has an effect without `std` only, and other
/// builds of the same libraries.
const CRATES: [(&str, &[&str]); 3] = [
    (
        "reqwest",
        &[
            "http3",
            "native-tls-no-alpn",
            "native-tls-vendored",
            "native-tls-vendored-no-alpn",
        ],
    ),
    ("rustls", &["fips", "hashbrown"]),
    ("serde_json", &[]),
];

pub(super) fn check(manifest: &str) -> anyhow::Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(crate::files::root().join(manifest))
        .exec()?;
    let nodes = &metadata
        .resolve
        .as_ref()
        .context("no resolved dependencies")?
        .nodes;
    let node = |found: &dyn Fn(&Node) -> bool| nodes.iter().find(|node| found(node));
    let tests = node(&|node| *metadata[&node.id].name == PACKAGE).context(PACKAGE)?;
    for (name, excluded) in CRATES {
        let dependency = tests
            .deps
            .iter()
            .find(|one| one.name == name)
            .context(name)?;
        let enabled = node(&|node| node.id == dependency.pkg).context(name)?;
        let enabled: BTreeSet<_> = enabled.features.iter().map(|name| name.as_str()).collect();
        let all = metadata[&dependency.pkg].features.keys();
        let missing: Vec<_> = all
            .filter(|name| !name.starts_with("__") && !enabled.contains(name.as_str()))
            .collect();
        if missing != excluded {
            bail!(
                "the features of {name} that {PACKAGE} does not enable are {missing:?}, not {excluded:?}"
            );
        }
    }
    Ok(())
}
