//! Tests that a page names as evidence: each of them exists.

use std::collections::BTreeSet;

use crate::files::{root, sources, text};

/// The pages whose tables name tests, in their last column.
const PAGES: [&str; 1] = ["docs/fapi.md"];

/// Finds the tests that a page names but the repository does not have.
pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let mut known = BTreeSet::new();
    for path in sources(&["crates", "tests"], "rs")? {
        known.extend(tests(&text(&path)?));
    }
    for page in PAGES {
        let names = named(&text(&root().join(page))?);
        if names.is_empty() {
            faults.push(format!("{page}: its tables name no test"));
        }
        unknown(page, &names, &known, faults);
    }
    Ok(())
}

fn unknown(
    page: &str,
    names: &BTreeSet<String>,
    known: &BTreeSet<String>,
    faults: &mut Vec<String>,
) {
    for name in names.difference(known) {
        faults.push(format!("{page}: there is no test `{name}`"));
    }
}

/// Returns the names in backquotes in the last column of the tables whose last heading is "tests".
fn named(page: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let mut is_listing = false;
    for line in page.lines() {
        let Some(row) = line
            .strip_prefix("| ")
            .and_then(|row| row.strip_suffix(" |"))
        else {
            is_listing &= line.starts_with('|');
            continue;
        };
        let last = row.rsplit(" | ").next().unwrap_or_default();
        if is_listing {
            named.extend(last.split('`').skip(1).step_by(2).map(str::to_owned));
        }
        is_listing |= last == "tests";
    }
    named
}

/// Returns the names of the test functions in a file.
fn tests(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in code.lines().map(str::trim_start) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async fn ").or(line.strip_prefix("fn "));
        let name = function.and_then(|rest| rest.split_once('('));
        if let Some((name, _)) = name.filter(|_| std::mem::take(&mut is_test)) {
            found.insert(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests_of_names {
    use super::*;

    #[test]
    fn a_named_test_that_does_not_exist_is_a_fault() {
        let page = "| a | tests |\n|---|---|\n| `x` | `one`, `two` |\n\n| a | b |\n|---|---|\n| x | `y` |\n";
        let code = "#[test]\nfn one() {}\nfn two() {}\n#[tokio::test]\nasync fn three() {}\n";
        let (named, known) = (named(page), tests(code));
        assert_eq!(named, ["one", "two"].map(str::to_owned).into());
        assert_eq!(known, ["one", "three"].map(str::to_owned).into());
        let mut faults = Vec::new();
        unknown("page", &named, &known, &mut faults);
        assert_eq!(faults, ["page: there is no test `two`"]);
    }
}
