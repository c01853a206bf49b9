//! Compares the table of dependencies in the book with the adapters' trees.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use xshell::{Shell, cmd};

const PAGE: &str = "docs/bridges.md";
const HEADER: &str =
    "| Crate | Rust | Crates in its tree | Of these, added by hallpass |\n|---|---|---|---|\n";

pub(super) fn check(shell: &Shell, manifest: &str) -> anyhow::Result<()> {
    let expected = table(shell, manifest)?;
    let page = fs::read_to_string(crate::files::root().join(PAGE)).context(PAGE)?;
    if !page.contains(&expected) {
        bail!("the table of dependencies in {PAGE} is out of date; it should be:\n\n{expected}");
    }
    Ok(())
}

fn table(shell: &Shell, manifest: &str) -> anyhow::Result<String> {
    let metadata: Metadata = MetadataCommand::new()
        .manifest_path(crate::files::root().join(manifest))
        .no_deps()
        .exec()?;
    let mut rows: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| package.publish.is_none())
        .map(|package| row(shell, manifest, package))
        .collect::<Result<_, _>>()?;
    rows.sort();
    Ok(format!("{HEADER}{}", rows.concat()))
}

fn row(shell: &Shell, manifest: &str, package: &Package) -> anyhow::Result<String> {
    let name = package.name.as_str();
    let tree = cmd!(
        shell,
        "cargo tree --manifest-path {manifest} --package {name} --all-features --edges normal --prefix depth --format '{p}'"
    );
    let tree = Tree::read(&tree.quiet().read()?);
    let rust = package.rust_version.as_ref().context("no rust-version")?;
    Ok(format!(
        "| `{name}` | {}.{} | {} | {} |\n",
        rust.major,
        rust.minor,
        tree.all().len(),
        tree.only_ours().len()
    ))
}

/// A tree as cargo prints it, by the names and versions of crates.
struct Tree {
    root: String,
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Tree {
    /// Reads lines such as `2bytes v1.12.2 (*)`, whose number is the depth.
    fn read(text: &str) -> Self {
        let mut path: Vec<String> = Vec::new();
        let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in text.lines() {
            let digits = line.bytes().take_while(u8::is_ascii_digit).count();
            let Ok(depth) = line[..digits].parse() else {
                continue;
            };
            let mut words = line[digits..].split(' ');
            let name = words.by_ref().take(2).collect::<Vec<_>>().join(" ");
            path.truncate(depth);
            if let Some(parent) = path.last() {
                let children = dependencies.entry(parent.clone()).or_default();
                children.insert(name.clone());
            }
            path.push(name);
        }
        let root = path.first().cloned().unwrap_or_default();
        Self { root, dependencies }
    }

    /// Returns the crates below these.
    fn below<'a>(&'a self, start: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<_> = start.into_iter().collect();
        while let Some(name) = open.pop() {
            if found.insert(name.as_str()) {
                open.extend(self.dependencies.get(name).into_iter().flatten());
            }
        }
        found
    }

    fn direct(&self) -> impl Iterator<Item = &String> {
        self.dependencies.get(&self.root).into_iter().flatten()
    }

    fn all(&self) -> BTreeSet<&str> {
        self.below(self.direct())
    }

    /// Returns the crates that are in the tree only because of hallpass's own.
    fn only_ours(&self) -> BTreeSet<&str> {
        let others = self.direct().filter(|name| !name.starts_with("hallpass"));
        let others = self.below(others);
        self.all().difference(&others).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_the_neighbour_has_are_not_ours() {
        let tree = Tree::read(
            "0bridge v1.0.0 (/path)\n\
             1hallpass-core v1.0.0 (/path)\n\
             2bytes v1.0.0\n\
             2zeroize v1.0.0\n\
             1neighbour v1.0.0\n\
             2bytes v1.0.0 (*)\n\
             2bytes v2.0.0\n",
        );
        assert_eq!(tree.all().len(), 5);
        assert_eq!(
            tree.only_ours().into_iter().collect::<Vec<_>>(),
            ["hallpass-core v1.0.0", "zeroize v1.0.0"]
        );
    }
}
