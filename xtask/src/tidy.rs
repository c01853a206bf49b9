//! `cargo xtask tidy`: the repository's rules as code.

use std::path::{Path, PathBuf};

use anyhow::bail;
use cargo_metadata::Package;
use xshell::Shell;

use crate::files::{CODE, PAGES, root, sources, text};

/// The maximum number of lines in a Rust file.
const LINES: usize = 800;
/// Text that must not remain in Rust code; spelled in parts, or this file would be found.
const LEFTOVERS: [&str; 4] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("#[", "ignore"),
];
/// The beginnings of paths on one machine, which must not remain in code, pages and settings.
const DIRECTORIES: [&str; 3] = [
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "Users/"),
];

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    crate::workspace::lint_in_ci(shell);
    let mut faults = Vec::new();
    let packages = crate::deps::packages()?;
    crate::deps::edges(&packages, &mut faults);
    crate::deps::counts(shell, &mut faults)?;
    described(&packages, &mut faults);
    crate::signatures::check(shell, &libraries(&packages), &mut faults)?;
    files(&mut faults)?;
    crate::imports::check(&roots(&packages), &mut faults)?;
    crate::prose::check(&mut faults)?;
    crate::names::check(&mut faults)?;
    crate::named_tests::check(&mut faults)?;
    crate::rules::check(&mut faults)?;
    crate::links::check(&mut faults)?;
    crate::hints::check(&mut faults)?;
    crate::http_clients::check(&mut faults)?;
    if faults.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("not tidy:\n  {}", faults.join("\n  "));
}

/// The published libraries, except the facade, which re-exports them.
fn libraries(packages: &[Package]) -> Vec<String> {
    let published = packages.iter().filter(|package| {
        package.publish.is_none() && package.targets.iter().any(cargo_metadata::Target::is_lib)
    });
    let names = published.map(|package| package.name.to_string());
    names.filter(|name| name != "hallpass").collect()
}

/// The root file of each library and command, with its package's name.
pub(crate) fn roots(packages: &[Package]) -> Vec<(String, PathBuf)> {
    let targets = packages
        .iter()
        .flat_map(|package| package.targets.iter().map(move |target| (package, target)));
    targets
        .filter(|(_, target)| target.is_lib() || target.is_bin())
        .map(|(package, target)| (package.name.to_string(), target.src_path.clone().into()))
        .collect()
}

/// The fields that a registry's page and docs.rs show.
fn described(packages: &[Package], faults: &mut Vec<String>) {
    for package in packages.iter().filter(|package| package.publish.is_none()) {
        let name = &package.name;
        let folder = package.manifest_path.with_file_name("");
        let mut need = |there: bool, what: &str| {
            if !there {
                faults.push(format!("`{name}` has no {what}"));
            }
        };
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            need(folder.join(file).exists(), file);
        }
        need(package.description.is_some(), "description");
        need(!package.keywords.is_empty(), "keywords");
        need(!package.categories.is_empty(), "categories");
        need(package.license.is_some(), "licence");
        need(package.rust_version.is_some(), "rust-version");
        need(
            !package.metadata["docs"]["rs"].is_null(),
            "docs.rs metadata",
        );
    }
}

fn files(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for name in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "CHANGELOG.md",
        "README.md",
        "docs/ARCHITECTURE.md",
    ] {
        if !root().join(name).exists() {
            faults.push(format!("{name} is missing"));
        }
    }
    for path in sources(&CODE, "rs")? {
        let text = text(&path)?;
        let lines = text.lines().count();
        if lines > LINES {
            faults.push(format!(
                "{} has {lines} lines, more than {LINES}",
                path.display()
            ));
        }
        leftovers(&path, &text, &LEFTOVERS, faults);
        trailing_space(&path, &text, faults);
    }
    let pages = sources(&PAGES, "md")?;
    for path in &pages {
        let page = text(path)?;
        trailing_space(path, &page, faults);
        if page.lines().any(|line| line.starts_with("<<<<<<< ")) {
            faults.push(format!("{} holds a conflict of a merge", path.display()));
        }
    }
    let here = format!("{}/", root().display());
    let directories: Vec<_> = DIRECTORIES.into_iter().chain([here.as_str()]).collect();
    for path in [sources(&CODE, "rs")?, pages, sources(&PAGES, "toml")?].concat() {
        leftovers(&path, &text(&path)?, &directories, faults);
    }
    Ok(())
}

fn leftovers(path: &Path, text: &str, leftovers: &[&str], faults: &mut Vec<String>) {
    for leftover in leftovers
        .iter()
        .filter(|leftover| text.contains(**leftover))
    {
        faults.push(format!("{} holds `{leftover}`", path.display()));
    }
}

fn trailing_space(path: &Path, text: &str, faults: &mut Vec<String>) {
    if let Some(at) = text.lines().position(|line| line.ends_with([' ', '\t'])) {
        faults.push(format!(
            "{} line {} ends with a space",
            path.display(),
            at + 1
        ));
    }
}
