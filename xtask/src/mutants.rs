//! `cargo xtask mutants`: checks that tests notice faults in the code that handles tokens and secrets.
//!
//! cargo-mutants changes one expression at a time and runs the tests. `.cargo/mutants.toml` lists the files, and
//! [`EXPLAINED`] the changes that no test needs to notice.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};
use toml_edit::{Array, DocumentMut, value};
use xshell::{Shell, cmd};

use crate::files::{root, text};

/// The mutants that may survive: a line that names the mutant, and an indented line with the reason.
const EXPLAINED: &str = ".cargo/mutants-explained.txt";

/// The configuration of cargo-mutants, with the files that have mutants.
const CONFIG: &str = ".cargo/mutants.toml";

/// The directory of the output.
const FOLDER: &str = "target/mutants";

/// The passes, fastest first: the tests, the packages whose mutants they judge (empty: all), and the arguments.
const PASSES: [(&str, &[&str], &[&str]); 3] = [
    ("unit tests", &[], &["--cargo-arg=--lib"]),
    (
        "integration tests",
        &["hallpass-cache"],
        &["--cargo-arg=--tests"],
    ),
    (
        "stories",
        &["hallpass-core", "hallpass-endpoint", "hallpass-jwt"],
        &[
            "--test-package=hallpass-tests",
            "--cargo-arg=--test=stories",
        ],
    ),
];

/// The mutants that are tested; by default those of all files.
#[derive(Default)]
pub(crate) struct Scope {
    /// Those of one package.
    pub(crate) package: Option<String>,
    /// Those of one file.
    pub(crate) file: Option<String>,
    /// Those of the lines that differ from a commit.
    pub(crate) base: Option<String>,
}

impl Scope {
    /// Returns the package, which the path of a file names too.
    fn package(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.file else {
            return Ok(self.package.clone());
        };
        ensure!(root().join(file).is_file(), "there is no file `{file}`");
        let directory = file
            .strip_prefix("crates/")
            .and_then(|path| path.split('/').next());
        let directory = directory.with_context(|| format!("`{file}` is not below `crates/`"))?;
        Ok(Some(format!("hallpass-{directory}")))
    }

    /// Returns true if the mutants of a complete run include this one.
    fn covers(&self, mutant: &str) -> bool {
        self.base.is_none()
            && self
                .package
                .as_deref()
                .is_none_or(|package| is_of(mutant, package))
            && self
                .file
                .as_deref()
                .is_none_or(|file| mutant.starts_with(&format!("{file}:")))
    }
}

/// Tests the mutants, and fails for each that no test notices and no entry explains.
pub(crate) fn run(shell: &Shell, scope: &Scope) -> anyhow::Result<()> {
    let package = scope.package()?;
    let package = package.as_deref();
    let version = cmd!(shell, "cargo mutants --version").quiet();
    let version = version.ignore_stderr().read();
    version.context("cargo-mutants is missing: `cargo install --locked cargo-mutants`")?;
    let folder = root().join(FOLDER);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&folder)?,
    }
    let mut filters = Vec::new();
    if let Some(file) = &scope.file {
        // The flag `--file` would add it to the files of the configuration.
        let mut config: DocumentMut = text(&root().join(CONFIG))?.parse()?;
        config["examine_globs"] = value(Array::from_iter([file]));
        let path = folder.join("config.toml");
        fs::write(&path, config.to_string())?;
        filters.push(format!("--config={}", path.display()));
    }
    if let Some(base) = &scope.base {
        let path = folder.join("changes.diff");
        fs::write(&path, difference(shell, base, &folder)? + "\n")?;
        filters.push(format!("--in-diff={}", path.display()));
    }
    let filters = &filters;
    let mut outcomes = Outcomes::default();
    for (pass, (name, judged, arguments)) in PASSES.into_iter().enumerate() {
        let packages: Vec<&str> = match package {
            None => judged.to_vec(),
            Some(package) if judged.is_empty() || judged.contains(&package) => vec![package],
            Some(_) => continue,
        };
        let again = (pass > 0).then_some("--iterate");
        if again.is_some() && !packages.iter().any(|package| outcomes.has_missed(package)) {
            continue;
        }
        println!("\n=== {name}");
        let packages: Vec<String> = match &*packages {
            [] => vec!["--workspace".to_owned()],
            packages => packages
                .iter()
                .map(|name| format!("--package={name}"))
                .collect(),
        };
        let mutants = cmd!(
            shell,
            "cargo mutants --output {FOLDER} {again...} {filters...} {packages...} {arguments...}"
        )
        // The copy of the tree shares the third-party crates that are built here. The rest is built again for each
        // mutant, five times as fast when it is incremental.
        .env("CARGO_TARGET_DIR", root().join("target"))
        .env("CARGO_INCREMENTAL", "1");
        let status = Command::from(mutants).status()?;
        // 2 and 3: mutants were missed, or timed out.
        let completed = matches!(status.code(), Some(0 | 2 | 3));
        ensure!(completed, "cargo mutants: {status}");
        outcomes.read(&folder.join("mutants.out"))?;
    }
    outcomes.print();
    ensure!(
        !outcomes.0.is_empty() || scope.base.is_some(),
        "there are no mutants: `.cargo/mutants.toml` lists the files that have some"
    );
    let list = text(&root().join(EXPLAINED))?;
    let listed = explained(&list)?;
    let mut faults = outcomes.unexplained(&listed);
    faults.extend(outcomes.stale(&listed, scope));
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{}", faults.join("\n"));
}

/// Returns the lines of `crates` that differ from a commit. New files are in a copy of the index, in this directory.
fn difference(shell: &Shell, base: &str, folder: &Path) -> anyhow::Result<String> {
    let index = cmd!(shell, "git rev-parse --git-path index").read()?;
    let copy = folder.join("index");
    fs::copy(shell.current_dir().join(index), &copy)?;
    cmd!(shell, "git add --intent-to-add -- crates")
        .env("GIT_INDEX_FILE", &copy)
        .run()?;
    // In the format that cargo-mutants reads, which the configuration of git may change.
    let format = [
        "--no-color",
        "--no-ext-diff",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    ];
    let difference = cmd!(shell, "git diff {format...} {base} -- crates");
    Ok(difference.env("GIT_INDEX_FILE", copy).read()?)
}

/// Reads the list of explained mutants.
fn explained(list: &str) -> anyhow::Result<Vec<&str>> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let mut lines = lines.filter(|line| !line.is_empty());
    let mut mutants = Vec::new();
    while let Some(mutant) = lines.next() {
        let reason = lines.next().filter(|line| line.starts_with(' '));
        ensure!(
            !mutant.starts_with(' ') && reason.is_some(),
            "{EXPLAINED}: a mutant and an indented reason are expected at `{mutant}`"
        );
        mutants.push(mutant);
    }
    Ok(mutants)
}

/// The last result of each mutant: the name of the file that lists it.
#[derive(Default)]
struct Outcomes(BTreeMap<String, &'static str>);

impl Outcomes {
    const CAUGHT: &str = "caught";
    const MISSED: &str = "missed";

    /// Adds the results of a pass, which replace those of the pass before it.
    fn read(&mut self, folder: &Path) -> anyhow::Result<()> {
        for result in [Self::CAUGHT, Self::MISSED, "timeout", "unviable"] {
            let path = folder.join(result).with_extension("txt");
            // Without mutants in a diff there are no lists.
            if path.exists() {
                let list = text(&path)?;
                let mutants = list.lines().map(|mutant| (mutant.to_owned(), result));
                self.0.extend(mutants);
            }
        }
        Ok(())
    }

    fn missed(&self) -> impl Iterator<Item = &str> {
        let missed = self.0.iter().filter(|(_, result)| **result == Self::MISSED);
        missed.map(|(mutant, _)| &**mutant)
    }

    fn has_missed(&self, package: &str) -> bool {
        self.missed().any(|mutant| is_of(mutant, package))
    }

    /// Prints the number of mutants with each result.
    fn print(&self) {
        let mut counts = BTreeMap::<_, usize>::new();
        for result in self.0.values() {
            *counts.entry(result).or_default() += 1;
        }
        println!("\n{} mutants: {counts:?}", self.0.len());
    }

    /// Returns the missed mutants that are not listed. An entry covers one mutant.
    fn unexplained(&self, listed: &[&str]) -> Vec<String> {
        let mut listed = listed.to_vec();
        let mut faults = Vec::new();
        for mutant in self.missed() {
            match listed.iter().position(|known| *known == name(mutant)) {
                Some(at) => drop(listed.swap_remove(at)),
                None => faults.push(format!("no test notices {mutant}")),
            }
        }
        faults
    }

    /// Returns the entries that explain no missed mutant, although the run was to test theirs.
    fn stale(&self, listed: &[&str], scope: &Scope) -> Vec<String> {
        let mut missed: Vec<_> = self.missed().map(name).collect();
        let mut faults = Vec::new();
        for entry in listed {
            match missed.iter().position(|mutant| mutant == entry) {
                Some(at) => drop(missed.swap_remove(at)),
                None if scope.covers(entry) => {
                    faults.push(format!("{EXPLAINED}: not missed: {entry}"));
                }
                None => {}
            }
        }
        faults
    }
}

/// Returns true if the mutant is one of this package.
fn is_of(mutant: &str, package: &str) -> bool {
    let directory = package.strip_prefix("hallpass-").unwrap_or(package);
    mutant.starts_with(&format!("crates/{directory}/"))
}

/// Returns a mutant's name without line and column, which change.
fn name(mutant: &str) -> String {
    let is_number = |part: &&str| part.parse::<u32>().is_ok();
    let mut parts: Vec<&str> = mutant.splitn(4, ':').collect();
    if parts.iter().skip(1).take(2).all(is_number) && parts.len() == 4 {
        parts.drain(1..3);
    }
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "crates/core/src/a.rs: replace A::b -> bool with true";
    const SECOND: &str = "crates/cache/src/a.rs: replace + with - in c";

    fn outcomes(mutants: &[(&str, &'static str)]) -> Outcomes {
        let mutants = mutants
            .iter()
            .map(|(name, result)| ((*name).to_owned(), *result));
        Outcomes(mutants.collect())
    }

    #[test]
    fn a_missed_mutant_needs_an_entry_of_its_own() {
        let outcomes = outcomes(&[
            (
                "crates/core/src/a.rs:1:5: replace A::b -> bool with true",
                "missed",
            ),
            (
                "crates/core/src/a.rs:9:5: replace A::b -> bool with true",
                "missed",
            ),
            ("crates/cache/src/a.rs:2:5: replace + with - in c", "caught"),
        ]);
        assert_eq!(outcomes.unexplained(&[FIRST]).len(), 1);
        assert_eq!(outcomes.unexplained(&[FIRST, FIRST]), [""; 0]);
        let all = Scope::default();
        assert_eq!(outcomes.stale(&[FIRST, FIRST], &all), [""; 0]);
    }

    #[test]
    fn an_entry_for_a_mutant_that_is_noticed_is_stale() {
        let outcomes = outcomes(&[("crates/cache/src/a.rs:2:5: replace + with - in c", "caught")]);
        let stale = |scope| outcomes.stale(&[FIRST, SECOND], &scope).len();
        let package = |name: &str| Scope {
            package: Some(name.to_owned()),
            ..Scope::default()
        };
        let file = |path: &str| Scope {
            file: Some(path.to_owned()),
            ..Scope::default()
        };
        let difference = Scope {
            base: Some("main".to_owned()),
            ..Scope::default()
        };
        assert_eq!(stale(Scope::default()), 2);
        assert_eq!(stale(package("hallpass-core")), 1);
        assert_eq!(stale(package("hallpass-jwt")), 0);
        assert_eq!(stale(file("crates/core/src/a.rs")), 1);
        assert_eq!(stale(file("crates/core/src/b.rs")), 0);
        assert_eq!(stale(difference), 0);
    }

    #[test]
    fn the_path_of_a_file_names_its_package() {
        let package = |file: &str| {
            let file = Some(file.to_owned());
            let scope = Scope {
                file,
                ..Scope::default()
            };
            scope.package()
        };
        let known = package("crates/cache/src/slot.rs").unwrap();
        assert_eq!(known.as_deref(), Some("hallpass-cache"));
        assert!(package("crates/cache/src/slots.rs").is_err());
        assert!(package("xtask/src/main.rs").is_err());
    }

    #[test]
    fn the_difference_includes_new_files_and_keeps_the_index() {
        let folder = std::env::temp_dir().join(format!("difference-{}", std::process::id()));
        let shell = Shell::new().unwrap();
        let git = |arguments: &[&str]| {
            let user = ["-c", "user.name=xtask", "-c", "user.email=xtask@localhost"];
            cmd!(shell, "git {user...} {arguments...}")
                .quiet()
                .read()
                .unwrap()
        };
        shell.create_dir(&folder).unwrap();
        shell.change_dir(&folder);
        git(&["init", "--quiet"]);
        shell
            .write_file("crates/a/old.rs", "fn old() {}\n")
            .unwrap();
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", "old"]);
        git(&["config", "diff.noprefix", "true"]);
        for file in ["crates/a/old.rs", "crates/a/new.rs", "tests/new.rs"] {
            shell.write_file(file, "fn new() {}\n").unwrap();
        }
        let output = folder.join(".git/output");
        shell.create_dir(&output).unwrap();
        let state = git(&["status", "--short"]);
        let difference = difference(&shell, "HEAD", &output).unwrap();
        assert_eq!(git(&["status", "--short"]), state);
        let files = difference
            .lines()
            .filter_map(|line| line.strip_prefix("+++ "));
        let files: Vec<_> = files.collect();
        assert_eq!(files, ["b/crates/a/new.rs", "b/crates/a/old.rs"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn each_entry_has_a_reason() {
        let list = format!("# Title\n\n{FIRST}\n  why\n{SECOND}\n  why\n");
        assert_eq!(explained(&list).unwrap(), [FIRST, SECOND]);
        assert!(explained(&format!("{FIRST}\n{SECOND}\n")).is_err());
        assert!(explained(FIRST).is_err());
        assert!(explained(&format!("  why\n{FIRST}\n")).is_err());
    }

    #[test]
    fn each_glob_of_the_configuration_has_files() {
        let config = text(&root().join(CONFIG)).unwrap();
        let config: DocumentMut = config.parse().unwrap();
        let globs = config["examine_globs"].as_array().unwrap();
        let globs: Vec<_> = globs.iter().map(|glob| glob.as_str().unwrap()).collect();
        assert!(!globs.is_empty());
        for glob in globs {
            let path = glob.strip_suffix("/**/*.rs").unwrap_or(glob);
            let path = root().join(path);
            assert!(
                path.is_file() || path.is_dir(),
                "`{CONFIG}`: `{glob}` has no files; name where its code is now"
            );
        }
    }

    #[test]
    fn the_list_of_this_repository_can_be_read() {
        let list = text(&root().join(EXPLAINED)).unwrap();
        explained(&list).unwrap();
    }
}
