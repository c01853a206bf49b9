//! `cargo xtask rules`: lists the numbers of docs/requirements.md that no test names.

use std::collections::BTreeSet;

use anyhow::bail;

use crate::files::{root, sources, text};

/// The page that lists all numbers.
const PAGE: &str = "docs/requirements.md";

/// Prints the numbers that no test names.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let (listed, named) = (listed(&text(&root().join(PAGE))?), named()?);
    unlisted(&listed, &named, &mut faults);
    for list in ['C', 'F', 'I'] {
        let all = listed.iter().filter(|number| number.starts_with(list));
        let (covered, open): (Vec<_>, Vec<_>) =
            all.partition(|number| named.iter().any(|(_, name)| name == *number));
        let open: Vec<&str> = open.into_iter().map(String::as_str).collect();
        println!(
            "{list}: {} named, not named: {}",
            covered.len(),
            open.join(" ")
        );
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{}", faults.join("\n"));
}

/// Finds the numbers that tests name but the page does not list.
pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    unlisted(&listed(&text(&root().join(PAGE))?), &named()?, faults);
    Ok(())
}

fn unlisted(
    listed: &BTreeSet<String>,
    named: &BTreeSet<(String, String)>,
    faults: &mut Vec<String>,
) {
    for (file, number) in named.iter().filter(|(_, number)| !listed.contains(number)) {
        faults.push(format!("{file}: {PAGE} does not list `{number}`"));
    }
}

/// Returns the numbers in the first column of the page's tables.
fn listed(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let first = rows.filter_map(|row| row.split(" | ").next());
    let numbers = first.filter(|cell| cell.split_once('-').is_some_and(is_number));
    numbers.map(str::to_owned).collect()
}

fn is_number((list, number): (&str, &str)) -> bool {
    list.len() == 1 && number.parse::<u32>().is_ok()
}

/// Returns each file with the numbers that its `covers:` comments name.
fn named() -> anyhow::Result<BTreeSet<(String, String)>> {
    let mut named = BTreeSet::new();
    for path in sources(&["crates", "tests"], "rs")? {
        for line in text(&path)?.lines() {
            let Some(list) = line.trim_start().strip_prefix("// covers: ") else {
                continue;
            };
            for number in list.split(", ") {
                named.insert((path.display().to_string(), number.to_owned()));
            }
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_in_the_first_column_are_listed() {
        let page =
            "# Title\n| number | text |\n|---|---|\n| C-01 | like F-02 |\n| see F-03 | x |\n";
        assert_eq!(listed(page), BTreeSet::from(["C-01".to_owned()]));
    }

    #[test]
    fn a_number_that_the_page_lacks_is_a_fault() {
        let listed = BTreeSet::from(["C-01".to_owned()]);
        let named = ["C-01", "C-99"].map(|number| ("a.rs".to_owned(), number.to_owned()));
        let mut faults = Vec::new();
        unlisted(&listed, &named.into(), &mut faults);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("`C-99`"));
    }
}
