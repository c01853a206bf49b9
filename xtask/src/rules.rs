//! `cargo xtask rules`: which numbers of the protocol's lists no test names.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use crate::files::{sources, text};

/// The protocol's lists: duties, bad inputs and faults, incidents elsewhere; with the highest number of each.
const LISTS: [(char, u32); 3] = [('C', 72), ('F', 120), ('I', 20)];

/// Where the table lies for people; `cargo xtask rules` writes it, and tidy compares.
const PAGE: &str = "docs/rules.md";

pub(crate) fn run() -> anyhow::Result<()> {
    let table = table(&named(&mut Vec::new())?);
    fs::write(crate::files::root().join(PAGE), &table)?;
    println!("{table}");
    Ok(())
}

/// Is the page what the tests name?
pub(crate) fn page(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let table = table(&named(faults)?);
    let page = fs::read_to_string(crate::files::root().join(PAGE)).unwrap_or_default();
    if page != table {
        faults.push(format!("{PAGE} is not up to date: run `cargo xtask rules`"));
    }
    Ok(())
}

fn table(named: &BTreeSet<(char, u32)>) -> String {
    let mut page = "# Which numbers the tests name\n\n\
        Duties of a client (C), bad inputs and faults (F) and incidents elsewhere (I) have numbers; \
        a test says with `// covers:` which of them it shows.\n\
        A number that no test names belongs to something that is not built yet, or that no test can show.\n\n\
        | list | named | not named by any test |\n|---|---|---|\n"
        .to_owned();
    for (list, last) in LISTS {
        let (named, open): (Vec<u32>, Vec<u32>) =
            (1..=last).partition(|number| named.contains(&(list, *number)));
        let open: Vec<String> = open.iter().map(|number| format!("{number:02}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {list} | {} of {last} | {} |",
            named.len(),
            open.join(" ")
        );
    }
    page
}

/// The numbers that `covers:` comments name; one that no list has is a fault.
pub(crate) fn named(faults: &mut Vec<String>) -> anyhow::Result<BTreeSet<(char, u32)>> {
    let mut named = BTreeSet::new();
    for path in sources(&["crates", "tests"], "rs")? {
        let text = text(&path)?;
        for line in text.lines() {
            let Some(list) = line.trim_start().strip_prefix("// covers: ") else {
                continue;
            };
            for item in list.split(", ") {
                match parse(item) {
                    Some(rule) => {
                        named.insert(rule);
                    }
                    None => faults.push(format!(
                        "{}: `{item}` is in none of the lists",
                        path.display()
                    )),
                }
            }
        }
    }
    Ok(named)
}

fn parse(item: &str) -> Option<(char, u32)> {
    let (list, number) = item.split_once('-')?;
    let number = number.parse().ok()?;
    let known = |&&(name, last): &&(char, u32)| {
        list.len() == 1 && list.starts_with(name) && (1..=last).contains(&number)
    };
    let (name, _) = LISTS.iter().find(known)?;
    Some((*name, number))
}
