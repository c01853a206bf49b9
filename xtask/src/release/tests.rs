//! Releases of a temporary workspace with two crates, one of which depends on the other, and of adapters beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::registry::Registry;

struct Workspace {
    root: PathBuf,
    shell: Shell,
    registry: Registry,
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Workspace {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("release-of-a-workspace-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let shell = Shell::new().unwrap();
        shell.create_dir(&root).unwrap();
        shell.change_dir(&root);
        let registry = Registry::start().unwrap();
        shell.set_var("CARGO_REGISTRIES_THROWAWAY_INDEX", registry.index());
        shell.set_var("CARGO_REGISTRIES_THROWAWAY_TOKEN", "a-token-of-a-test");
        // A separate index and download directory.
        shell.set_var("CARGO_HOME", root.join("target/cargo-home"));
        shell.set_var("CARGO_TARGET_DIR", root.join("target"));
        for (name, value) in [
            ("GIT_AUTHOR_NAME", "a test"),
            ("GIT_AUTHOR_EMAIL", "test@example.org"),
            ("GIT_COMMITTER_NAME", "a test"),
            ("GIT_COMMITTER_EMAIL", "test@example.org"),
        ] {
            shell.set_var(name, value);
        }
        let workspace = Self {
            root,
            shell,
            registry,
        };
        workspace.write(
            "Cargo.toml",
            r#"# A comment that stays.
[workspace]
members = ["base", "private", "top"]
resolver = "3"

[workspace.package]
version = "0.1.0"
edition = "2024"
license = "MIT"
description = "for a test"
repository = "https://example.org/"
publish = ["throwaway"]

[workspace.dependencies]
throwaway-base = { path = "base", version = "0.1.0", registry = "throwaway" }
"#,
        );
        let index = workspace.registry.index();
        workspace.write(
            ".cargo/config.toml",
            &format!("[registries.throwaway]\nindex = \"{index}\"\n"),
        );
        workspace.krate("base", "");
        workspace.krate("top", "[dependencies]\nthrowaway-base.workspace = true\n");
        // A dependency without a version, which no package may have.
        workspace.krate(
            "private",
            "[dependencies.throwaway-base]\npath = \"../base\"\n",
        );
        let private = workspace.read("private/Cargo.toml");
        workspace.write(
            "private/Cargo.toml",
            &private.replace("publish.workspace = true", "publish = false"),
        );
        workspace.write(
            "CHANGELOG.md",
            "# Changelog\n\n## Unreleased\n\n- It is new.\n",
        );
        workspace.write(".gitignore", "/target\n");
        cmd!(workspace.shell, "cargo generate-lockfile --quiet")
            .run()
            .unwrap();
        cmd!(workspace.shell, "git init --quiet").run().unwrap();
        workspace.commit();
        workspace
    }

    /// Adds a workspace of adapters, with one crate that depends on one of the other workspace.
    fn add_bridges(&self) {
        let manifest = self.read("Cargo.toml");
        let manifest = manifest
            .replace(
                "members = [\"base\", \"private\", \"top\"]",
                "members = [\"*\"]\nexclude = [\"target\"]",
            )
            .replace("path = \"base\"", "path = \"../../base\"");
        self.write("crates/bridges/Cargo.toml", &manifest);
        self.write(
            "Cargo.toml",
            &self
                .read("Cargo.toml")
                .replace("resolver =", "exclude = [\"crates/bridges\"]\nresolver ="),
        );
        self.krate(
            "crates/bridges/bridge",
            "[dependencies]\nthrowaway-base.workspace = true\n",
        );
        let _there = self.shell.push_dir("crates/bridges");
        cmd!(self.shell, "cargo generate-lockfile --quiet")
            .run()
            .unwrap();
        self.commit();
    }

    fn krate(&self, path: &str, dependencies: &str) {
        let name = path.rsplit('/').next().unwrap();
        let inherited = "version.workspace = true\nedition.workspace = true\nlicense.workspace = true\n\
            description.workspace = true\nrepository.workspace = true\npublish.workspace = true\n";
        let manifest =
            format!("[package]\nname = \"throwaway-{name}\"\n{inherited}\n{dependencies}");
        self.write(&format!("{path}/Cargo.toml"), &manifest);
        self.write(&format!("{path}/src/lib.rs"), "//! For a test.\n");
    }

    fn write(&self, path: &str, text: &str) {
        self.shell.write_file(self.root.join(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    fn commit(&self) {
        cmd!(self.shell, "git add --all").run().unwrap();
        cmd!(self.shell, "git commit --quiet --message change")
            .run()
            .unwrap();
    }

    fn published(&self) -> Vec<String> {
        let published = self.registry.published().into_iter();
        published.map(|krate| krate.name).collect()
    }

    fn release(&self, version: &str) -> anyhow::Result<()> {
        release(&self.shell, &self.root, version, false)
    }

    fn execute(&self, version: &str) -> anyhow::Result<()> {
        release(&self.shell, &self.root, version, true)
    }

    fn status(&self) -> String {
        let status = cmd!(self.shell, "git status --porcelain").read().unwrap();
        let head = cmd!(self.shell, "git log -1 --format=%s").read().unwrap();
        format!("{status}{head}{}", self.read("Cargo.toml"))
    }

    /// Checks that a release stops, gives the reason and the next step, and has changed nothing.
    fn stops(&self, version: &str, says: &[&str]) {
        let before = self.status();
        let error = format!("{:#}", self.release(version).unwrap_err());
        for part in says {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(error.contains("nothing was changed"), "{error}");
        assert_eq!(self.status(), before);
    }
}

#[test]
fn a_rehearsal_walks_all_steps_and_changes_nothing() {
    let workspace = Workspace::new();
    let before = workspace.status();
    workspace.release("minor").unwrap();
    assert_eq!(workspace.status(), before);
    assert!(!workspace.root.join("target/release-rehearsal").exists());
    let packaged = |name: &str| {
        let package = format!("target/package/{name}-0.2.0.crate");
        workspace.root.join(package).exists()
    };
    assert!(packaged("throwaway-base") && packaged("throwaway-top"));
    assert!(workspace.published().is_empty());
}

#[test]
fn an_interrupted_release_resumes_in_order_and_is_tagged() {
    let workspace = Workspace::new();
    workspace.registry.refuse(Some("throwaway-top"));
    let error = format!("{:#}", workspace.execute("minor").unwrap_err());
    assert!(error.contains("run the same command again"), "{error}");
    assert_eq!(workspace.published(), ["throwaway-base"]);
    let tags = || cmd!(workspace.shell, "git tag --list").read().unwrap();
    assert_eq!(tags(), "");

    workspace.registry.refuse(None);
    workspace.execute("minor").unwrap();
    assert_eq!(workspace.published(), ["throwaway-base", "throwaway-top"]);
    assert_eq!(tags(), "v0.2.0");
    assert!(workspace.status().starts_with("Release 0.2.0"));
}

#[test]
fn a_package_that_does_not_build_is_never_published() {
    let workspace = Workspace::new();
    workspace.write("note.txt", "outside of the package");
    let library = "//! For a test.\nconst _: &str = include_str!(\"../../note.txt\");\n";
    workspace.write("base/src/lib.rs", library);
    workspace.commit();
    for _ in 0..2 {
        let error = format!("{:#}", workspace.execute("minor").unwrap_err());
        assert!(error.contains("nothing is published"), "{error}");
        assert!(workspace.published().is_empty());
    }
}

#[test]
fn adapters_are_released_after_the_crates_that_they_need() {
    let workspace = Workspace::new();
    workspace.add_bridges();
    workspace.release("0.2.0").unwrap();
    assert!(workspace.published().is_empty());
    workspace.execute("0.2.0").unwrap();
    assert_eq!(
        workspace.published(),
        ["throwaway-base", "throwaway-top", "throwaway-bridge"]
    );
    let manifest = workspace.read("crates/bridges/Cargo.toml");
    assert!(!manifest.contains("0.1.0"), "{manifest}");
    assert!(workspace.status().starts_with("Release 0.2.0"));
}

#[test]
fn what_is_prepared_is_one_commit_with_versions_and_changelog() {
    let workspace = Workspace::new();
    prepare(&workspace.shell, &workspace.root, &Version::new(0, 2, 0)).unwrap();
    let manifest = workspace.read("Cargo.toml");
    assert!(
        manifest.starts_with("# A comment that stays."),
        "{manifest}"
    );
    assert_eq!(manifest.matches("0.2.0").count(), 2, "{manifest}");
    assert!(!manifest.contains("0.1.0"), "{manifest}");
    let changelog = workspace.read("CHANGELOG.md");
    assert!(
        changelog.starts_with("# Changelog\n\n## Unreleased\n\n## 0.2.0 ("),
        "{changelog}"
    );
    assert!(changelog.ends_with(")\n\n- It is new.\n"), "{changelog}");
    let head = cmd!(workspace.shell, "git log -1 --format=%s")
        .read()
        .unwrap();
    assert_eq!(head, "Release 0.2.0");
    // By this commit an interrupted release is recognized and continued, until it has its tag.
    let is_continued = |wanted| {
        let current = Version::new(0, 2, 0);
        was_interrupted(&workspace.shell, &current, wanted).unwrap()
    };
    assert!(is_continued("0.2.0") && is_continued("minor"));
    assert!(!is_continued("0.3.0"));
    cmd!(workspace.shell, "git tag v0.2.0").run().unwrap();
    assert!(!is_continued("0.2.0") && !is_continued("patch"));
}

#[test]
fn what_is_published_already_is_left_out() {
    let published = BTreeSet::from(["throwaway-base".to_owned()]);
    assert_eq!(excluded(&published), ["--exclude", "throwaway-base"]);
    assert!(excluded(&BTreeSet::new()).is_empty());
}

#[test]
fn it_stops_before_any_change() {
    let workspace = Workspace::new();
    workspace.stops(
        "0.0.9",
        &[
            "lower than the current version 0.1.0",
            "choose a higher one",
        ],
    );
    workspace.stops("soon", &["`soon` is no version", "patch"]);

    cmd!(workspace.shell, "git tag v0.2.0").run().unwrap();
    workspace.stops("0.2.0", &["v0.2.0 was released before"]);
    cmd!(workspace.shell, "git tag --delete v0.2.0")
        .run()
        .unwrap();

    workspace.write("note.txt", "not committed");
    workspace.stops("minor", &["note.txt", "commit them"]);
    fs::remove_file(workspace.root.join("note.txt")).unwrap();

    workspace.write(
        "CHANGELOG.md",
        "# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- Old.\n",
    );
    workspace.commit();
    workspace.stops("minor", &["no entry under `## Unreleased`"]);
    workspace.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n- New.\n");

    let manifest = workspace.read("Cargo.toml");
    let disagreeing = manifest.replace(
        r#"path = "base", version = "0.1.0""#,
        r#"path = "base", version = "0.1""#,
    );
    workspace.write("Cargo.toml", &disagreeing);
    workspace.commit();
    workspace.stops("minor", &["asks for `throwaway-base` 0.1, and has 0.1.0"]);
    workspace.write("Cargo.toml", &manifest);

    workspace.write("base/src/lib.rs", "//! See [`Nothing`].\n");
    workspace.commit();
    workspace.stops("minor", &["the documentation does not build"]);
}

#[test]
fn versions_by_name() {
    let current = Version::new(1, 2, 3);
    for (wanted, version) in [
        ("patch", "1.2.4"),
        ("minor", "1.3.0"),
        ("major", "2.0.0"),
        ("1.2.3", "1.2.3"),
    ] {
        assert_eq!(
            versions::next(&current, wanted).unwrap().to_string(),
            version
        );
    }
}

/// The repository itself can be released, as far as its manifests show.
#[test]
fn this_workspace_agrees_with_itself() {
    let root: &Path = crate::files::root();
    assert_eq!(versions::disagreements(root).unwrap(), Vec::<String>::new());
    assert!(!changelog::unreleased(root).unwrap().is_empty());
}
