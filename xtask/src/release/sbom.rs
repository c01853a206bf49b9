//! The lists of components of a release, in the format CycloneDX: of the command, and of the library with all features.
//!
//! They are the same wherever they are made: dated as the commit, and without the directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use semver::Version;
use serde_json::Value;
use xshell::{Shell, cmd};

/// The directory and the features of each crate with a list.
const CRATES: [(&str, &str, &[&str]); 2] = [
    ("hallpass-cli", "crates/cli", &[]),
    ("hallpass", "crates/hallpass", &["--all-features"]),
];

/// The end of the directory in references to the clone.
const CLONE: &str = "/target/sbom/repository/";

/// Returns true if there are lists to make, and the tool that makes them is not installed.
pub(super) fn lacks_tool(shell: &Shell, root: &Path) -> bool {
    let is_there = |(_, directory, _): &(&str, &str, &[&str])| root.join(directory).exists();
    if !CRATES.iter().any(is_there) {
        return false;
    }
    let version = cmd!(shell, "cargo cyclonedx --version").quiet();
    version.ignore_stdout().ignore_stderr().run().is_err()
}

/// Writes the lists of the repository's last commit; returns their paths.
pub(super) fn write(shell: &Shell, root: &Path, version: &Version) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root.join("target/sbom");
    shell.remove_path(&folder)?;
    // A clone, as the tool writes a file beside each manifest.
    let clone = folder.join("repository");
    cmd!(shell, "git clone --quiet --no-tags {root} {clone}")
        .quiet()
        .run()?;
    let date = cmd!(shell, "git -C {clone} log -1 --format=%ct")
        .quiet()
        .read()?;
    let mut written = Vec::new();
    for (name, directory, features) in CRATES {
        let manifest = clone.join(directory).join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let settings = [
            "--format",
            "json",
            "--spec-version",
            "1.5",
            "--target",
            "all",
        ];
        cmd!(
            shell,
            "cargo cyclonedx --quiet --manifest-path {manifest} {settings...} {features...} --override-filename sbom"
        )
        .env("SOURCE_DATE_EPOCH", &date)
        .quiet()
        .run()?;
        let text = fs::read_to_string(manifest.with_file_name("sbom.json"))?;
        let mut list: Value = serde_json::from_str(&text).context("a list is no JSON")?;
        without_directory(&mut list);
        let path = folder.join(format!("{name}-{version}.cdx.json"));
        fs::write(&path, serde_json::to_string_pretty(&list)? + "\n")?;
        written.push(path);
    }
    shell.remove_path(clone)?;
    Ok(written)
}

/// Removes the directory from references, and from the addresses of packages, which are in the registry.
fn without_directory(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((_, rest)) = text.split_once(CLONE) {
                *text = rest.to_owned();
            } else if let Some((package, rest)) = text.split_once("?download_url=file:") {
                let part = rest.split_once('#').map(|(_, part)| format!("#{part}"));
                *text = format!("{package}{}", part.unwrap_or_default());
            }
        }
        Value::Array(values) => {
            for value in values {
                without_directory(value);
            }
        }
        Value::Object(members) => {
            for value in members.values_mut() {
                without_directory(value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_no_directory() {
        let mut list = serde_json::json!({
            "components": [{
                "bom-ref": "path+file:///a%20b/target/sbom/repository/crates/core#hallpass-core@0.1.0",
                "purl": "pkg:cargo/hallpass-core@0.1.0?download_url=file://../core#src/lib.rs",
            }],
            "purl": "pkg:cargo/http@1.4.0",
        });
        without_directory(&mut list);
        assert_eq!(
            list.to_string(),
            r#"{"components":[{"bom-ref":"crates/core#hallpass-core@0.1.0","purl":"pkg:cargo/hallpass-core@0.1.0#src/lib.rs"}],"purl":"pkg:cargo/http@1.4.0"}"#
        );
    }
}
