//! Parts of the tables of builders: the methods of a builder, read from the source text, and the report of faults.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The methods that end a builder.
const ENDS: [&str; 2] = ["build", "load"];

/// Fails with the faults of a table, if there are any.
pub(crate) fn assert_none(faults: &[String]) {
    let shown = faults.iter().take(40).cloned().collect::<Vec<_>>();
    let count = faults.len();
    assert!(faults.is_empty(), "{count} faults:\n{}", shown.join("\n"));
}

/// Returns a fault of a setting, unless its effect is seen with the setting, and not without it. If it `is_unseen`, that
/// is the fault.
pub(crate) fn effect_fault(
    name: &str,
    is_unseen: bool,
    is_seen: bool,
    is_seen_without: bool,
) -> Option<String> {
    let has_effect = is_seen && !is_seen_without;
    (has_effect == is_unseen)
        .then(|| format!("`{name}` is seen: {is_seen}, without it: {is_seen_without}"))
}

/// Returns the names of the methods that take the value itself, of each `impl` of this type without a trait in this
/// crate, but for those that end a builder.
pub(crate) fn setters(krate: &str, type_name: &str) -> BTreeSet<String> {
    let methods = methods(krate, type_name).into_iter();
    let names = methods.map(|(name, _)| name);
    names
        .filter(|name| !ENDS.contains(&name.as_str()))
        .collect()
}

/// Returns the names and the documentation of the methods that take the value itself.
pub(crate) fn methods(krate: &str, type_name: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for text in sources(&crates().join(krate).join("src")) {
        let blocks = text.split("\nimpl").skip(1);
        let blocks = blocks.filter_map(|block| block.split("\n}\n").next());
        let own = blocks.filter(|block| {
            let head = block.split('{').next().unwrap_or_default();
            let is_type = head.split(['<', ' ', '>']).any(|word| word == type_name);
            is_type && !head.contains(" for ")
        });
        for block in own {
            let parts: Vec<_> = block.split("\n    pub ").collect();
            for pair in parts.windows(2) {
                let method = pair[1].strip_prefix("const ").unwrap_or(pair[1]);
                let Some(method) = method.strip_prefix("fn ") else {
                    continue;
                };
                let parameters = method.split(')').next().unwrap_or_default();
                let is_borrowed = ["&self", "&mut self"].map(|one| parameters.contains(one));
                if parameters.contains("self") && is_borrowed == [false; 2] {
                    let name = method.split(['(', '<']).next().unwrap_or_default();
                    let text = pair[0].rsplit("\n\n").next().unwrap_or_default();
                    found.push((name.to_owned(), text.to_owned()));
                }
            }
        }
    }
    found
}

/// Returns the text of each source file below this directory.
pub(crate) fn sources(directory: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts
}

/// Returns the directory of all crates.
pub(crate) fn crates() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut crates = package.ancestors().map(|root| root.join("crates"));
    crates.find(|crates| crates.is_dir()).unwrap()
}
