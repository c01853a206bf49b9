//! Parts of the tables of builders: the methods of a builder, read from the source text, and the report of faults.

use std::{collections::BTreeSet, fs, path::Path};

/// Fails with the faults of a table, if there are any.
pub(crate) fn assert_none(faults: &[String]) {
    let shown = faults.iter().take(40).cloned().collect::<Vec<_>>();
    let count = faults.len();
    assert!(faults.is_empty(), "{count} faults:\n{}", shown.join("\n"));
}

/// The methods that end a builder.
const ENDS: [&str; 2] = ["build", "load"];

/// Returns the names of the methods that take the value itself, of each `impl` of this type without a trait in this
/// crate, but for those that end a builder.
pub(crate) fn setters(krate: &str, type_name: &str) -> BTreeSet<String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut crates = package.ancestors().map(|root| root.join("crates"));
    let crates = crates.find(|crates| crates.is_dir()).unwrap();
    let mut names = BTreeSet::new();
    add(&crates.join(krate).join("src"), type_name, &mut names);
    names.retain(|name| !ENDS.contains(&name.as_str()));
    names
}

fn add(directory: &Path, type_name: &str, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add(&path, type_name, names);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("\nimpl").skip(1);
        let blocks = blocks.filter_map(|block| block.split("\n}\n").next());
        let own = blocks.filter(|block| {
            let head = block.split('{').next().unwrap_or_default();
            let is_type = head.split(['<', ' ', '>']).any(|word| word == type_name);
            is_type && !head.contains(" for ")
        });
        let methods = own.flat_map(|block| block.split("\n    pub fn ").skip(1));
        let methods = methods.filter(|method| {
            let parameters = method.split(')').next().unwrap_or_default();
            parameters.contains("self") && !parameters.contains("&self")
        });
        let found = methods.filter_map(|method| method.split(['(', '<']).next());
        names.extend(found.map(str::to_owned));
    }
}
