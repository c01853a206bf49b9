//! Checks that links in the Markdown files resolve, that the book's summary lists every page, and that the architecture
//! page names files that exist.

use std::path::Path;

use crate::files::{sources, text};

const SUMMARY: &str = "docs/SUMMARY.md";
const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    named_files(faults)?;
    let summary = text(&crate::files::root().join(SUMMARY))?;
    for path in sources(&[".", "crates", "docs", "examples", "tests"], "md")? {
        let folder = path.parent().unwrap_or(&path);
        let page = text(&path)?;
        for target in local_links(&page) {
            if !leads_somewhere(&path, target) {
                faults.push(format!(
                    "{} links to `{target}`, which is not there",
                    path.display()
                ));
            }
        }
        let in_the_book = folder == crate::files::root().join("docs") && !path.ends_with(SUMMARY);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if in_the_book && !summary.contains(&format!("({name})")) {
            faults.push(format!("{SUMMARY} does not name `{name}`"));
        }
    }
    Ok(())
}

/// Reports each Rust file that the architecture page names, unless exactly one file has that name.
fn named_files(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let files = sources(&["crates", "tests", "xtask"], "rs")?;
    let page = text(&crate::files::root().join(ARCHITECTURE))?;
    for name in rust_files(&page) {
        let count = files.iter().filter(|file| file.ends_with(name)).count();
        if count != 1 {
            faults.push(format!(
                "{ARCHITECTURE} names `{name}`, and {count} files have that name"
            ));
        }
    }
    Ok(())
}

/// Returns the names of Rust files in code spans.
fn rust_files(page: &str) -> Vec<&str> {
    let spans = page
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    spans
        .filter(|span| {
            Path::new(span)
                .extension()
                .is_some_and(|ending| ending == "rs")
        })
        .filter(|span| !span.contains(' '))
        .collect()
}

/// Returns the targets of `[text](target)` outside of code, except those on other hosts.
fn local_links(page: &str) -> Vec<&str> {
    let mut code = false;
    let mut links = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for after in line.split("](").skip(1) {
            let target = after.split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                links.push(target);
            }
        }
    }
    links
}

/// Returns true if the file exists and has this heading; a target without a file is a heading of the page itself.
fn leads_somewhere(page: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let there = match page.parent() {
        Some(folder) if !file.is_empty() => folder.join(file),
        _ => page.to_owned(),
    };
    if !there.exists() {
        return false;
    }
    heading.is_empty()
        || text(&there).is_ok_and(|page| page.lines().any(|line| is_heading(line, heading)))
}

/// Returns the anchor of a heading as the book and code hosts create it: lower case, `-` for a space, no punctuation.
fn is_heading(line: &str, wanted: &str) -> bool {
    let Some(title) = line.strip_prefix('#') else {
        return false;
    };
    let title = title.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter_map(|char| match char {
        ' ' => Some('-'),
        '-' | '_' => Some(char),
        _ => Some(char).filter(|char| char.is_alphanumeric()),
    });
    kept.eq(wanted.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_files_are_found_in_code_spans_only() {
        let page = "see `a/b.rs` and `c`\nnot d.rs, nor `e rs.rs`\n";
        assert_eq!(rust_files(page), ["a/b.rs"]);
    }

    #[test]
    fn the_architecture_page_names_files_that_exist() {
        let mut faults = Vec::new();
        named_files(&mut faults).unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn links_outside_of_code_are_found() {
        let page = "a [b](c.md) and [d](e.md#f), [g](https://h.example/)\n```rust\nlet x = y[z](q);\n```\n[r](s)";
        assert_eq!(local_links(page), ["c.md", "e.md#f", "s"]);
    }

    #[test]
    fn a_link_needs_its_file_and_its_heading() {
        let root = crate::files::root();
        for (target, there) in [
            ("README.md", true),
            ("#crates", true),
            ("#no-such-heading", false),
            ("docs/cache.md#what-it-does-not-do", true),
            ("docs/cache.md#what-it-never-does", false),
            ("docs/no-such-page.md", false),
        ] {
            assert_eq!(
                leads_somewhere(&root.join("README.md"), target),
                there,
                "{target}"
            );
        }
    }
}
