//! Checks that each name in a hint can be found by a reader: a public item, or a term of the protocols.

use std::{collections::BTreeSet, path::Path};

use crate::files::{sources, text};

/// Names that are not items of the libraries: protocol parameters and members, variables, and PKCS#11 attributes.
const TERMS: [&str; 7] = [
    "CKA_ALWAYS_AUTHENTICATE",
    "CKA_SIGN",
    "client_id",
    "client_secret",
    "https",
    "https://",
    "value",
];

/// The code that starts a hint.
const STARTS: [&str; 4] = ["with_hint(", "refusal_hint(", "hints! {", "Hint::named("];

/// Finds names in hints that do not exist.
pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let paths = sources(&["crates"], "rs")?;
    let library = |path: &&std::path::PathBuf| {
        let within = |folder: &str| path.iter().any(|part| part == Path::new(folder));
        within("src")
            && !within("cli")
            && !within("profiles")
            && !within("tests")
            && !path.ends_with("tests.rs")
    };
    let mut code = Vec::new();
    for path in paths.iter().filter(library) {
        code.push((path.display().to_string(), text(path)?));
    }
    let items: BTreeSet<&str> = code.iter().flat_map(|(_, code)| items(code)).collect();
    for (path, code) in &code {
        for name in named(code) {
            let item = name.rsplit("::").next().unwrap_or(name);
            if !items.contains(item) && !TERMS.contains(&name) {
                faults.push(format!("{path}: a hint names `{name}`, which nothing has"));
            }
        }
    }
    Ok(())
}

/// Returns the public functions, types and constants, and the variables that are read.
fn items(code: &str) -> Vec<&str> {
    const KINDS: [&str; 7] = [
        "pub fn ",
        "pub async fn ",
        "pub const fn ",
        "pub struct ",
        "pub enum ",
        "pub trait ",
        "pub const ",
    ];
    let mut found = Vec::new();
    for line in code.lines() {
        let after = KINDS
            .iter()
            .find_map(|kind| line.trim_start().strip_prefix(kind));
        if let Some(after) = after {
            let end = after.find(|char: char| !char.is_alphanumeric() && char != '_');
            found.push(&after[..end.unwrap_or(after.len())]);
        }
    }
    // Variables appear in the code as string literals.
    let quoted = code.split('"').skip(1);
    found.extend(quoted.filter(|text| text.starts_with("CAMALL_")));
    found
}

/// Returns the names in backticks in a file's hints, outside of its tests.
fn named(code: &str) -> Vec<&str> {
    let code = code.split("#[cfg(test)]").next().unwrap_or(code);
    let mut names = Vec::new();
    for start in STARTS {
        for (at, _) in code.match_indices(start) {
            let line = code[..at].lines().next_back().unwrap_or_default();
            if line.trim_start().starts_with("//") {
                continue;
            }
            let at = at + start.len();
            let advice = &code[at..at + length(&code[at..])];
            // Comments contain backticks too.
            for line in advice
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
            {
                let ticked = line.split('`').skip(1).step_by(2);
                names.extend(
                    ticked.filter(|name| !name.contains(['{', ' ', ',', '/']) && !is_value(name)),
                );
            }
        }
    }
    names
}

/// Returns true for a value of a service, such as `EC_SIGN_P256_SHA256`; our names of this form are variables.
fn is_value(name: &str) -> bool {
    let is_constant =
        |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
    name.chars().all(is_constant) && !name.starts_with("CAMALL_")
}

/// Returns the length of the code before the bracket that closes the one open at its start; brackets in strings are
/// paired.
fn length(code: &str) -> usize {
    let mut depth = 1_usize;
    let closing = code.char_indices().find(|(_, char)| {
        match char {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    closing.map_or(code.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_hints_alone() {
        let code = "error(\"`a`\").with_hint(if x() { \"set `B::c`\" } else { \"or `d`, (`{e}`)\" }); f(\"`g`\")";
        assert_eq!(named(code), ["B::c", "d"]);
        let code =
            "with_hint(\"a key for `RSA_SIGN`, such as `https://a.example`, in `CAMALL_KEY`\")";
        assert_eq!(named(code), ["CAMALL_KEY"]);
        let code = "hints! {\n/// Of `x`.\nA = \"a\", \"set `y`\";\n}\n`z`";
        assert_eq!(named(code), ["y"]);
        let tests = "#[cfg(test)]\nmod tests { with_hint(\"`x`\") }";
        assert_eq!(named(tests), [""; 0]);
    }

    #[test]
    fn public_items_are_found() {
        let code = "    pub fn one(&self)\nfn two()\npub struct Three<T>\npub const FOUR: u8\nlet x = \"CAMALL_SCOPE\";";
        assert_eq!(items(code), ["one", "Three", "FOUR", "CAMALL_SCOPE"]);
    }
}
