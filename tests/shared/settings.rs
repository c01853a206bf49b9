//! Parts of the tables of builders: the methods of a builder, read from the source text, and the report of faults.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The methods that end a builder.
const ENDS: [&str; 3] = ["build", "load", "start"];

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
    let texts = sources(&crates().join(krate).join("src"));
    let found = texts.iter().flat_map(|text| methods_in(text, type_name));
    found.collect()
}

/// Returns those of a source text.
fn methods_in(text: &str, type_name: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
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
            let Some((qualifiers, method)) = pair[1].split_once("fn ") else {
                continue;
            };
            if !matches!(qualifiers, "" | "async " | "const ") {
                continue;
            }
            let name = method.split(['(', '<']).next().unwrap_or_default();
            let parameters = without_generics(&method[name.len()..]);
            let receiver = parameters.split([',', ')']).next().unwrap_or_default();
            let receiver = receiver.trim_start_matches('(').trim();
            let receiver = receiver.strip_prefix("mut ").unwrap_or(receiver);
            if receiver == "self" || receiver.starts_with("self:") {
                let text = pair[0].rsplit("\n\n").next().unwrap_or_default();
                found.push((name.to_owned(), text.to_owned()));
            }
        }
    }
    found
}

/// Returns the text after the generic parameters that it begins with, if any. A bound such as `Fn() -> bool` has
/// parentheses and an arrow.
fn without_generics(text: &str) -> &str {
    let mut depth = 0;
    let mut last = ' ';
    for (position, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if last != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text[position..].trim_start_matches('>');
        }
        last = character;
    }
    ""
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

#[test]
fn methods_are_found_in_each_form() {
    let text = r"
impl<F: Fn() -> bool> Other<F> {
    pub fn other(self) -> Self {}
}

impl Clone for Builder {
    pub fn trait_method(self) -> Self {}
}

impl<S> Builder<S> {
    pub fn plain(self) -> Self {}

    pub fn mutable(mut self, _: u8) -> Self {}

    pub const fn constant(
        mut self,
        value: u8,
    ) -> Self {}

    pub async fn build(self) -> Self {}

    pub fn closure<F: Fn() -> bool>(self, _on: F) -> Self {}

    pub fn nested<T: Into<Vec<F>>, F: FnOnce(&Self) -> Vec<u8>>(mut self, _: T) -> Self {}

    pub fn boxed(self: Box<Self>) -> Self {}

    pub fn borrowed(&self) {}

    pub fn changed(&mut self) {}

    pub fn taking_borrowed<F: Fn(&self::Other)>(self, _: F) -> Self {}

    pub fn associated<F: Fn(Self) -> Self>(myself: F) -> Self {}

    fn private(self) -> Self {}
}
";
    let found = methods_in(text, "Builder").into_iter();
    let names: Vec<_> = found.map(|(name, _)| name).collect();
    let expected = [
        "plain",
        "mutable",
        "constant",
        "build",
        "closure",
        "nested",
        "boxed",
        "taking_borrowed",
    ];
    assert_eq!(names, expected);
}
