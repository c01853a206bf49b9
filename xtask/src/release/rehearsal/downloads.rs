//! The copies that cargo keeps of the rehearsal's crates: removed at the end, as each rehearsal has its own address.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use anyhow::Context as _;

/// Removes the directories of registries on loopback that are new since its creation.
pub(super) struct Cleanup {
    before: BTreeSet<PathBuf>,
}

impl Cleanup {
    pub(super) fn new() -> anyhow::Result<Self> {
        let before = of_loopback()?;
        Ok(Self { before })
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let now = of_loopback().unwrap_or_default();
        for path in now.difference(&self.before) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn of_loopback() -> anyhow::Result<BTreeSet<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let registry = home.context("no home directory")?.join("registry");
    let mut found = BTreeSet::new();
    for kind in ["cache", "index", "src"] {
        let Ok(folders) = fs::read_dir(registry.join(kind)) else {
            continue;
        };
        for folder in folders {
            let folder = folder?;
            if folder
                .file_name()
                .to_string_lossy()
                .starts_with("127.0.0.1-")
            {
                found.insert(folder.path());
            }
        }
    }
    Ok(found)
}
