//! The imports within each crate: modules import from modules below them, never in a loop.
//!
//! A module directory (`a.rs` and `a/`) is one unit for the modules outside of it. Within the directory, the same holds for
//! its parts: the child modules, and the code of `a.rs` itself. A re-export (`pub use`) is an import only if the file
//! uses the name as well; a name that is taken through a re-export is an import from the module that defines it.

mod graph;
mod scan;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path as FilePath, PathBuf},
};

use anyhow::Context as _;

use self::{
    graph::{Edge, check_edges, place},
    scan::{Path, PathReference, Scan, scan},
};
use crate::files::{root, text};

/// A module with a file of its own.
struct Module {
    file: PathBuf,
    scan: Scan,
}

/// The modules of one crate by their paths, and the file's module of each inline one.
#[derive(Default)]
struct Modules {
    files: BTreeMap<Path, Module>,
    inline: BTreeMap<Path, Path>,
}

/// Finds the import loops and the imports from a higher layer in all crates.
pub(crate) fn check(crates: &[(String, PathBuf)], faults: &mut Vec<String>) -> anyhow::Result<()> {
    for (name, entry) in crates {
        let (modules, layers) = (Modules::read(entry)?, tables::layers(name));
        check_edges(name, &edges(&modules), layers, faults);
        place(name, &modules.top(), layers, faults);
    }
    for owner in tables::owners().filter(|owner| !crates.iter().any(|(name, _)| name == owner)) {
        faults.push(format!(
            "xtask/src/imports/tables.rs names `{owner}`, which is no crate"
        ));
    }
    Ok(())
}

impl Modules {
    fn read(entry: &FilePath) -> anyhow::Result<Self> {
        let mut modules = Self::default();
        let folder = entry.parent().context("the root file has no directory")?;
        let mut open = vec![(Path::new(), entry.to_owned())];
        while let Some((path, file)) = open.pop() {
            let below = modules.add(path, file.clone(), &text(&file)?)?;
            for child in below {
                let module = child
                    .iter()
                    .fold(folder.to_owned(), |below, name| below.join(name));
                let file = module.with_extension("rs");
                let file = if file.exists() {
                    file
                } else {
                    module.join("mod.rs")
                };
                open.push((child, file));
            }
        }
        Ok(modules)
    }

    /// Adds a file, and returns the modules with files of their own that it declares.
    fn add(&mut self, path: Path, file: PathBuf, text: &str) -> anyhow::Result<Vec<Path>> {
        let scan =
            scan(text, &path).with_context(|| format!("{} cannot be scanned", file.display()))?;
        for inline in &scan.inline {
            self.inline.insert(inline.clone(), path.clone());
        }
        let below = scan.files.clone();
        self.files.insert(path, Module { file, scan });
        Ok(below)
    }

    fn top(&self) -> BTreeSet<String> {
        let paths = self.files.keys();
        paths.filter_map(|path| path.first().cloned()).collect()
    }

    fn contains(&self, path: &[String]) -> bool {
        self.files.contains_key(path) || self.inline.contains_key(path)
    }

    /// Returns the module with the file that holds this module.
    fn file_of(&self, path: &[String]) -> Path {
        let mut path = path.to_vec();
        while let Some(holder) = self.inline.get(&path) {
            path.clone_from(holder);
        }
        path
    }

    /// Returns the module that defines what this path names; `None` if it is in another crate.
    fn definer(&self, named: &PathReference, depth: usize) -> Option<Path> {
        let mut rest = named.segments.as_slice();
        let mut module = named.module.clone();
        let first = rest.first()?;
        match first.as_str() {
            "crate" => module.clear(),
            "super" | "self" => {}
            name if self.contains(&[&module[..], &[name.to_owned()]].concat()) => {}
            name => {
                let import = self.import(&module, name)?;
                let mut path = import.path.clone();
                path.segments.extend_from_slice(&rest[1..]);
                return self.followed(&path, named, depth);
            }
        }
        while let Some(name) = rest.first() {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => {
                    module.pop();
                }
                name => {
                    let child = [&module[..], &[name.to_owned()]].concat();
                    if !self.contains(&child) {
                        break;
                    }
                    module = child;
                }
            }
            rest = &rest[1..];
        }
        // The name may be imported there from another module.
        if let Some(import) = rest.first().and_then(|name| self.import(&module, name)) {
            let mut path = import.path.clone();
            path.segments.extend_from_slice(&rest[1..]);
            if let Some(definer) = self.followed(&path, named, depth) {
                return Some(definer);
            }
        }
        Some(module)
    }

    fn followed(&self, path: &PathReference, from: &PathReference, depth: usize) -> Option<Path> {
        let same = path.module == from.module && path.segments == from.segments;
        if same || depth == 0 {
            None
        } else {
            self.definer(path, depth - 1)
        }
    }

    /// Returns the `use` declaration that brings this name into this module.
    fn import(&self, module: &[String], name: &str) -> Option<&scan::Import> {
        let file = self.files.get(&self.file_of(module))?;
        let mut imports = file.scan.imports.iter();
        imports.find(|import| import.path.module == module && import.name.as_deref() == Some(name))
    }
}

/// Returns the imports between the files of a crate.
fn edges(modules: &Modules) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (path, module) in &modules.files {
        let short = module.file.strip_prefix(root()).unwrap_or(&module.file);
        let used = |import: &&scan::Import| {
            let name = import.name.as_ref();
            !import.public || name.is_some_and(|name| module.scan.identifiers.contains(name))
        };
        let imports = module
            .scan
            .imports
            .iter()
            .filter(used)
            .map(|import| &import.path);
        for named in imports.chain(&module.scan.paths) {
            let Some(definer) = modules.definer(named, 8) else {
                continue;
            };
            let to = modules.file_of(&definer);
            if to != *path {
                edges.push(Edge {
                    from: path.clone(),
                    to,
                    place: format!("{}:{}", short.display(), named.line),
                });
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests;
