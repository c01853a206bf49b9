//! The repository's files, for the checks that read them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use anyhow::Context as _;

/// The directories with our Rust files.
pub(crate) const CODE: [&str; 6] = ["benches", "crates", "examples", "fuzz", "tests", "xtask"];
/// The directories with our pages, and with the comments in our TOML files.
pub(crate) const PAGES: [&str; 7] = [".", "crates", "docs", "examples", "fuzz", "tests", "xtask"];

/// Returns the root of the repository that contains the current directory. It is not the one that this program was built
/// in: Cargo does not build it again in a copy.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let here = env::current_dir().unwrap_or_default();
        let is_root = |folder: &&Path| folder.join("xtask/Cargo.toml").is_file();
        let found = here.ancestors().find(is_root);
        found.unwrap_or(Path::new(".")).to_owned()
    });
    &ROOT
}

/// Returns the files with this extension in these directories, at any depth; for `.`, only at the top level.
pub(crate) fn sources(folders: &[&str], ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open: Vec<(PathBuf, bool)> = folders
        .iter()
        .map(|folder| (root().join(folder), *folder == "."))
        .collect();
    while let Some((folder, top)) = open.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("{} cannot be read", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let skipped = ["node_modules", ".venv", "target", "book"];
            let skipped = skipped.iter().any(|name| path.ends_with(name));
            if path.is_dir() && !skipped && !top {
                open.push((path, false));
            } else if path.extension().is_some_and(|known| known == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a file as UTF-8.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use xshell::{Shell, cmd};

    use super::*;

    #[test]
    fn no_file_escapes_the_checks() {
        let shell = Shell::new().unwrap();
        shell.change_dir(root());
        for (folders, ending) in [(&CODE[..], "rs"), (&PAGES[..], "md")] {
            let read = sources(folders, ending).unwrap();
            let pattern = format!("*.{ending}");
            let files = cmd!(shell, "git ls-files {pattern}").quiet().read();
            let files = files.unwrap();
            let files = files.lines().map(|file| root().join(file));
            for file in files.filter(|file| file.exists()) {
                assert!(read.contains(&file), "{}", file.display());
            }
        }
    }
}
