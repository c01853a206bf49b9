//! Checks that links in the Markdown files resolve, that the book's summary lists every page, that a test compiles the
//! code of every page, and that files and log messages that the pages name exist.

use std::path::Path;

use crate::files::{PAGES, sources, text};

const SUMMARY: &str = "docs/SUMMARY.md";
/// The crates that are a workspace of their own.
const BRIDGES: &str = "crates/bridges";
/// Compiles and runs the Rust code of the pages.
const PAGE_TESTS: &str = "tests/src/lib.rs";
const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
/// The address of the repository's files, in READMEs of packages and in the book.
const REPOSITORY: [&str; 2] = [
    "https://github.com/hallpass-rs/hallpass/blob/main/",
    "https://github.com/hallpass-rs/hallpass/tree/main/",
];
/// The directories of this repository whose files pages name by their whole path.
const ROOTS: [&str; 8] = [
    "benches/",
    "crates/",
    "docs/",
    "examples/",
    "fuzz/",
    "tests/",
    "xtask/",
    ".config/",
];
/// Programs whose command lines pages show in code spans, and the form of a commit message.
const COMMANDS: [&str; 9] = [
    "Area:",
    "Set-Content",
    "cargo",
    "git",
    "hallpass",
    "journalctl",
    "openssl",
    "promtool",
    "systemctl",
];

pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    named_files(faults)?;
    quoted_messages(faults)?;
    untested_code(faults)?;
    links_of_pages(faults)
}

/// Reports each link that leads nowhere, and each page that the book's summary lacks.
fn links_of_pages(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let summary = text(&crate::files::root().join(SUMMARY))?;
    for path in sources(&PAGES, "md")? {
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
        if path.starts_with(crate::files::root().join("crates")) {
            for target in local_links(&page) {
                faults.push(format!(
                    "{} links to `{target}`, which leads nowhere from the package's page; link to the repository",
                    path.display()
                ));
            }
        }
        for target in repository_links(&page) {
            if !crate::files::root().join(target).exists() {
                faults.push(format!(
                    "{} links to `{target}` in the repository, which is not there",
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

/// Reports each page of the book, and the README, whose Rust code no test compiles: neither those of all pages, nor
/// those of the crate that a page is about.
fn untested_code(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let root = crate::files::root();
    let mut tests = text(&root.join(PAGE_TESTS))?;
    for path in sources(&[BRIDGES], "rs")? {
        tests += &text(&path)?.replace("\"../../../../", "\"");
    }
    let pages = sources(&["docs"], "md")?;
    for path in pages.iter().chain([&root.join("README.md")]) {
        let name = path.strip_prefix(root).unwrap_or(path).display();
        if has_rust_code(&text(path)?) && !tests.contains(&format!("\"{name}\"")) {
            faults.push(format!(
                "{PAGE_TESTS} does not compile the code of `{name}`"
            ));
        }
    }
    Ok(())
}

/// Returns true if the page has a block of Rust code.
fn has_rust_code(page: &str) -> bool {
    page.lines()
        .any(|line| line.trim_start().starts_with("```rust"))
}

/// Reports each file that a page names and that does not exist. In the architecture page, which shortens the paths,
/// each name of a Rust file must be that of exactly one file.
fn named_files(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let root = crate::files::root();
    let files = sources(&["crates", "tests", "xtask"], "rs")?;
    for path in sources(&PAGES, "md")? {
        let page = text(&path)?;
        for name in spans(&page) {
            let whole = is_path(name);
            let missing = if path.ends_with(ARCHITECTURE) && is_rust_file(name) {
                files.iter().filter(|file| file.ends_with(name)).count() != 1
            } else {
                whole && !root.join(name).exists()
            };
            if missing {
                faults.push(format!(
                    "{} names `{name}`, which no file or more than one has",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

/// Reports each log message or other text of several words that a page quotes and that no source has.
fn quoted_messages(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let mut code = String::new();
    for path in sources(&["crates", "examples", "tests"], "rs")? {
        code.extend(text(&path)?.split_whitespace().flat_map(|word| [word, " "]));
    }
    for path in sources(&PAGES, "md")? {
        let page = text(&path)?;
        let page = page.split("### Renamed").next().unwrap_or(&page);
        for message in spans(page).into_iter().filter(|span| is_message(span)) {
            if !code.contains(message) {
                faults.push(format!(
                    "{} quotes `{message}`, which no source has",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

/// Returns the code spans of a page.
fn spans(page: &str) -> Vec<&str> {
    let mut code = false;
    let mut spans = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    spans
}

/// Returns true for the whole path of a file or a directory, which names no pattern and no placeholder.
fn is_path(span: &str) -> bool {
    ROOTS.iter().any(|start| span.starts_with(start))
        && !span.contains([' ', '*', '{'])
        // For the reader to replace.
        && !span.contains("NAME")
}

fn is_rust_file(span: &str) -> bool {
    let ending = Path::new(span).extension();
    ending.is_some_and(|ending| ending == "rs") && !span.contains(' ')
}

/// Returns true for three words or more, which are no command line and no code.
fn is_message(span: &str) -> bool {
    let text = |char: char| char.is_ascii_alphanumeric() || " ,;:'_().-".contains(char);
    let first = span.split(' ').next().unwrap_or_default();
    span.split_whitespace().count() >= 3
        && span.starts_with(|char: char| char.is_ascii_alphabetic())
        && span.chars().all(text)
        && !COMMANDS.contains(&first)
}

/// Returns the targets of `[text](target)` on this page or beside it.
fn local_links(page: &str) -> Vec<&str> {
    let mut links = links(page);
    links.retain(|target| !target.contains("://") && !target.starts_with("mailto:"));
    links
}

/// Returns the files and directories of the repository that a page links to by their whole address.
fn repository_links(page: &str) -> Vec<&str> {
    let mut paths = Vec::new();
    for link in links(page) {
        let path = REPOSITORY.iter().find_map(|start| link.strip_prefix(start));
        paths.extend(path.map(|path| path.split('#').next().unwrap_or(path)));
    }
    paths
}

/// Returns the targets of `[text](target)` outside of code.
fn links(page: &str) -> Vec<&str> {
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
            links.push(after.split(')').next().unwrap_or_default());
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
    fn files_are_found_in_code_spans_only() {
        let page = "see `a/b.rs` and `c`\nnot d.rs\n```\n`e.rs`\n```\n";
        assert_eq!(spans(page), ["a/b.rs", "c"]);
        assert!(is_rust_file("a/b.rs") && !is_rust_file("c") && !is_rust_file("d e.rs"));
        assert!(is_path("crates/a/b.toml") && !is_path("crates/*/c") && !is_path("a/b.rs"));
        assert!(!is_path("fuzz/src/targets/NAME.rs"));
    }

    #[test]
    fn messages_are_texts_of_several_words() {
        assert!(is_message("token request failed, retrying"));
        for span in [
            "token refreshed",
            "cargo xtask tidy",
            "a = b c",
            "-p NAME x",
        ] {
            assert!(!is_message(span), "{span}");
        }
    }

    #[test]
    fn code_that_is_compiled_is_found() {
        assert!(has_rust_code("a\n```rust,no_run\nb();\n```\n"));
        assert!(!has_rust_code("a `rust`\n```toml\nb = 1\n```\n"));
    }

    #[test]
    fn every_link_leads_somewhere() {
        let mut faults = Vec::new();
        links_of_pages(&mut faults).unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn links_outside_of_code_are_found() {
        let page = "a [b](c.md) and [d](e.md#f), [g](https://h.example/)\n```rust\nlet x = y[z](q);\n```\n[r](s)";
        assert_eq!(local_links(page), ["c.md", "e.md#f", "s"]);
        let page = "[a](https://github.com/hallpass-rs/hallpass/blob/main/docs/b.md#c), [d](https://e.example/)";
        assert_eq!(repository_links(page), ["docs/b.md"]);
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
