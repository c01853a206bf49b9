//! One version for all crates: in the workspaces' manifests, and in their dependencies on each other.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use semver::Version;
use toml_edit::{Array, DocumentMut, Item, value};

use super::steps::stop;

/// Returns the directories of the workspaces that are released together, dependencies first.
pub(super) fn workspaces(root: &Path) -> Vec<PathBuf> {
    let bridges = root.join("crates/bridges");
    let bridges = bridges.exists().then_some(bridges);
    std::iter::once(root.to_owned()).chain(bridges).collect()
}

fn manifest(root: &Path) -> anyhow::Result<DocumentMut> {
    let text = fs::read_to_string(root.join("Cargo.toml"))?;
    Ok(text.parse()?)
}

pub(super) fn current(root: &Path) -> anyhow::Result<Version> {
    let manifest = manifest(root)?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    Ok(version.context("the workspace has no version")?.parse()?)
}

/// Returns the version that `patch`, `minor`, `major` or an explicit version refers to.
pub(super) fn next(current: &Version, wanted: &str) -> anyhow::Result<Version> {
    let Version {
        major,
        minor,
        patch,
        ..
    } = *current;
    let next = match wanted {
        "patch" => Version::new(major, minor, patch + 1),
        "minor" => Version::new(major, minor + 1, 0),
        "major" => Version::new(major + 1, 0, 0),
        version => match version.parse() {
            Ok(version) => version,
            Err(_) => {
                return stop(
                    &format!("`{version}` is no version"),
                    "say `patch`, `minor`, `major` or a version such as 0.2.0",
                );
            }
        },
    };
    if next < *current {
        return stop(
            &format!("{next} is lower than the current version {current}"),
            "choose a higher one",
        );
    }
    Ok(next)
}

/// Describes where versions disagree.
pub(super) fn disagreements(root: &Path) -> anyhow::Result<Vec<String>> {
    let current = current(root)?;
    let mut faults = Vec::new();
    for workspace in workspaces(root) {
        for package in &metadata(&workspace)?.packages {
            if package.version != current {
                faults.push(format!(
                    "`{}` has the version {}, and the workspace {current}",
                    package.name, package.version
                ));
            }
        }
        for (name, dependency) in inner(&manifest(&workspace)?)? {
            if dependency != current.to_string() {
                faults.push(format!(
                    "the workspace asks for `{name}` {dependency}, and has {current}"
                ));
            }
        }
    }
    Ok(faults)
}

/// Reads metadata from the directory itself, so that its own configuration applies.
fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    Ok(command.current_dir(root).no_deps().exec()?)
}

/// Returns the workspace crates that others in it depend on, and the required versions.
fn inner(manifest: &DocumentMut) -> anyhow::Result<Vec<(String, String)>> {
    let dependencies = manifest["workspace"]["dependencies"].as_table_like();
    let dependencies = dependencies.context("the workspace lists no dependencies")?;
    let inner = dependencies.iter().filter(|(_, item)| is_inner(item));
    Ok(inner
        .map(|(name, item)| {
            let version = item["version"].as_str().unwrap_or("no version");
            (name.to_owned(), version.to_owned())
        })
        .collect())
}

fn is_inner(dependency: &Item) -> bool {
    dependency.get("path").is_some()
}

pub(super) fn set(root: &Path, version: &Version) -> anyhow::Result<()> {
    let version = version.to_string();
    for workspace in workspaces(root) {
        let mut manifest = manifest(&workspace)?;
        manifest["workspace"]["package"]["version"] = value(version.clone());
        let Some(dependencies) = manifest["workspace"]["dependencies"].as_table_like_mut() else {
            bail!("the workspace lists no dependencies");
        };
        for (_, dependency) in dependencies.iter_mut() {
            if is_inner(dependency) {
                dependency["version"] = value(version.clone());
            }
        }
        fs::write(workspace.join("Cargo.toml"), manifest.to_string())?;
    }
    Ok(())
}

/// Lets every published crate be published to this registry only, and found there by the others.
pub(super) fn publish_to(root: &Path, registry: &str) -> anyhow::Result<()> {
    for workspace in workspaces(root) {
        let mut manifest = manifest(&workspace)?;
        let dependencies = manifest["workspace"]["dependencies"].as_table_like_mut();
        let dependencies = dependencies.context("the workspace lists no dependencies")?;
        for (_, dependency) in dependencies.iter_mut().filter(|(_, item)| is_inner(item)) {
            dependency["registry"] = value(registry);
        }
        fs::write(workspace.join("Cargo.toml"), manifest.to_string())?;
        for krate in published(&workspace)? {
            let mut manifest = self::manifest(&krate.directory)?;
            manifest["package"]["publish"] = value(Array::from_iter([registry]));
            fs::write(krate.directory.join("Cargo.toml"), manifest.to_string())?;
        }
    }
    Ok(())
}

/// A published crate: its registry, and its directory here.
pub(super) struct PublishedCrate {
    pub(super) name: String,
    pub(super) registry: String,
    directory: PathBuf,
}

/// Returns the published crates of one workspace.
pub(super) fn published(workspace: &Path) -> anyhow::Result<Vec<PublishedCrate>> {
    let metadata = metadata(workspace)?;
    let published = metadata.packages.into_iter().filter_map(|package| {
        let registry = match package.publish {
            None => "crates-io".to_owned(),
            // An empty list means not published at all.
            Some(registries) => registries.first()?.clone(),
        };
        Some(PublishedCrate {
            name: package.name.to_string(),
            registry,
            directory: package.manifest_path.parent()?.into(),
        })
    });
    Ok(published.collect())
}

/// Returns the arguments that select the published crates of one workspace. Others need not be fit for a package.
pub(super) fn selection(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let select = |krate: PublishedCrate| ["--package".to_owned(), krate.name];
    Ok(published(workspace)?.into_iter().flat_map(select).collect())
}

/// Returns the arguments by which cargo finds the crates of the other workspaces here, before they are published.
pub(super) fn patches(root: &Path, workspace: &Path) -> anyhow::Result<Vec<String>> {
    let mut arguments = Vec::new();
    for other in workspaces(root) {
        if other == workspace {
            break;
        }
        for krate in published(&other)? {
            let PublishedCrate {
                name,
                registry,
                directory,
            } = krate;
            arguments.push("--config".to_owned());
            // A literal string of TOML, in which a backslash is one.
            let directory = directory.display();
            arguments.push(format!("patch.{registry}.{name}.path='{directory}'"));
        }
    }
    Ok(arguments)
}
