//! `cargo xtask rules`: which numbers of the protocol's lists no test names.

use std::collections::BTreeSet;

use crate::tidy::{sources, text};

/// The protocol's lists: duties, bad inputs and faults, incidents elsewhere; with the highest number of each.
const LISTS: [(char, u32); 3] = [('C', 72), ('F', 120), ('I', 20)];

pub(crate) fn run() -> anyhow::Result<()> {
    let named = named(&mut Vec::new())?;
    println!("| list | named | not named by any test |\n|---|---|---|");
    for (list, last) in LISTS {
        let (named, open): (Vec<u32>, Vec<u32>) =
            (1..=last).partition(|number| named.contains(&(list, *number)));
        let open: Vec<String> = open.iter().map(|number| format!("{number:02}")).collect();
        println!(
            "| {list} | {} of {last} | {} |",
            named.len(),
            open.join(" ")
        );
    }
    Ok(())
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
