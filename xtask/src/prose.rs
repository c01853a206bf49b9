//! `cargo xtask prose`: measures the style of comments and pages, and lists each line to rewrite.

mod passage;

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;

use self::passage::{Passage, comments, literals};
use crate::{
    files::{CODE, PAGES, sources, text},
    finding::Finding,
};

/// Words that no doc comment may start with.
const OPENINGS: [&str; 5] = ["What", "Who", "Whoever", "Whatever", "How"];

/// Words and phrases that no other Rust project uses in this sense, or for which this one has another term, each with the
/// usual ones.
const DIALECT: [(&str, &str); 50] = [
    ("anew", "again"),
    ("at hand", "cached, available"),
    ("at its home", "on its host"),
    ("at the moment", "temporarily, now"),
    ("at their home", "on their host"),
    ("broke off", "was aborted"),
    ("by way of", "through"),
    ("certification authority", "certificate authority"),
    ("folder", "directory"),
    ("folders", "directories"),
    ("for one,", "for example"),
    ("gives out", "issues"),
    ("give out", "issue"),
    ("given out", "issued"),
    ("goes on being", "is still"),
    ("gone", "removed, expired"),
    ("handed out", "returned"),
    ("hands out", "returns"),
    ("in the place of", "instead of"),
    ("kept", "cached, stored, preserved"),
    ("letter for letter", "exactly"),
    ("mend", "fix, change"),
    ("mended", "fixed, changed"),
    ("mends", "fixes, changes"),
    ("none of http's", "invalid"),
    ("pass over", "skip"),
    ("passed over", "skipped"),
    ("passes over", "skips"),
    ("patience", "timeout"),
    ("peace", "fewer requests"),
    ("proves itself", "authenticates"),
    ("proves the client", "authenticates the client"),
    ("prove itself", "authenticate"),
    ("prove the client", "authenticate the client"),
    ("reject", "refuse"),
    ("rejected", "refused"),
    ("rejecting", "refusing"),
    ("rejection", "refusal"),
    ("rejections", "refusals"),
    ("rejects", "refuses"),
    ("seam", "interface"),
    ("so long for", "this long for, timeout for"),
    ("stand on", "are based on"),
    ("stands on", "is based on"),
    ("tell", "report, show, distinguish"),
    ("tells", "reports, shows"),
    ("told", "reported, shown"),
    ("a word too many", "an unexpected argument"),
    ("whatever", "any, regardless of"),
    ("whoever", "a caller that, anyone who"),
];

/// Names of authentication methods that are not the registered ones, as they would stand in quotation marks.
const METHODS: [(&str, &str); 6] = [
    ("client-secret-jwt", "client_secret_jwt"),
    ("client-secret-post", "client_secret_post"),
    ("private-key-jwt", "private_key_jwt"),
    ("raw-basic", "client_secret_basic"),
    ("self-signed-tls", "self_signed_tls_client_auth"),
    ("tls-client-auth", "tls_client_auth"),
];

/// Words whose frequency distinguishes reference text from prose.
const COUNTED: [&str; 2] = ["so that", "returns"];

/// The counts over a set of files.
#[derive(Default)]
struct Counts {
    files: usize,
    with_module_docs: usize,
    doc_comments: usize,
    openings: usize,
    questions: usize,
    words: usize,
    phrases: BTreeMap<&'static str, usize>,
}

/// Prints the counts, and with `list` each line to rewrite.
pub(crate) fn run(list: bool) -> anyhow::Result<()> {
    let (counts, findings) = read()?;
    if list {
        for finding in &findings {
            println!("{finding}");
        }
        println!();
    }
    print(&counts, findings.len());
    Ok(())
}

/// Reports each line to rewrite.
pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let (_, findings) = read()?;
    faults.extend(findings.iter().map(ToString::to_string));
    Ok(())
}

fn read() -> anyhow::Result<(Counts, Vec<Finding>)> {
    let mut counts = Counts::default();
    let mut findings = Vec::new();
    for path in sources(&CODE, "rs")? {
        if !path.ends_with("xtask/src/prose.rs") {
            let code = code(&path, &text(&path)?, &mut counts, &mut findings);
            code.with_context(|| format!("{} cannot be scanned", path.display()))?;
        }
    }
    for path in sources(&PAGES, "md")? {
        page(&path, &text(&path)?, &mut findings);
    }
    for path in sources(&PAGES, "toml")? {
        settings(&path, &text(&path)?, &mut findings);
    }
    Ok((counts, findings))
}

fn print(counts: &Counts, findings: usize) {
    let share = |part: usize, whole: usize| {
        let tenths = part * 1_000 / whole.max(1);
        format!("{}.{} %", tenths / 10, tenths % 10)
    };
    println!("| measure | count | share |\n|---|---|---|");
    let rows = [
        ("Rust files", counts.files, String::new()),
        (
            "with module docs",
            counts.with_module_docs,
            share(counts.with_module_docs, counts.files),
        ),
        ("doc comments", counts.doc_comments, String::new()),
        (
            "open with What, Who, Whoever, Whatever or How",
            counts.openings,
            share(counts.openings, counts.doc_comments),
        ),
        (
            "open with a question",
            counts.questions,
            share(counts.questions, counts.doc_comments),
        ),
        ("words of comments", counts.words, String::new()),
        ("lines to rewrite", findings, String::new()),
    ];
    for (measure, count, share) in rows {
        println!("| {measure} | {count} | {share} |");
    }
    println!("\n| word | per 10,000 words of comments |\n|---|---|");
    for (phrase, count) in &counts.phrases {
        let tenths = count * 100_000 / counts.words.max(1);
        println!("| {phrase} | {}.{} |", tenths / 10, tenths % 10);
    }
}

/// Counts a Rust file's comments, and finds lines to rewrite in them, in its string literals and in the names of its
/// functions.
fn code(
    path: &Path,
    text: &str,
    counts: &mut Counts,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    counts.files += 1;
    counts.with_module_docs += usize::from(text.starts_with("//!"));
    let mut passages = literals(text)?;
    let mut in_doc = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let doc = ["/// ", "//! "]
            .iter()
            .find_map(|opening| trimmed.strip_prefix(opening));
        if let Some(first) = doc.filter(|_| !in_doc) {
            counts.doc_comments += 1;
            opening(path, number, first, counts, findings);
        }
        in_doc = trimmed.starts_with("///") || trimmed.starts_with("//!");
        if let Some(function) = crate::names::function(line) {
            passages.push(Passage::line(number, &function.replace('_', " ")));
        }
    }
    for comment in comments(text) {
        counts.words += comment.text().split_whitespace().count();
        let dialect = DIALECT.iter().map(|(phrase, _)| *phrase);
        for phrase in dialect.chain(COUNTED) {
            *counts.phrases.entry(phrase).or_default() += comment.lines_with(phrase).count();
        }
        passages.push(comment);
    }
    for passage in &passages {
        dialect(path, passage, findings);
    }
    Ok(())
}

/// Checks the first line of a doc comment.
fn opening(
    path: &Path,
    number: usize,
    first: &str,
    counts: &mut Counts,
    findings: &mut Vec<Finding>,
) {
    let word = first.split([' ', '\'']).next().unwrap_or_default();
    if OPENINGS.contains(&word) {
        counts.openings += 1;
        findings.push(Finding::new(path, number, format!("opens with `{word}`")));
    }
    let sentence = first.split(". ").next().unwrap_or_default();
    if sentence.trim_end().ends_with('?') || sentence.contains("? ") {
        counts.questions += 1;
        findings.push(Finding::new(path, number, "is a question".to_owned()));
    }
}

/// Finds lines to rewrite in a page, outside of its code and of the changelog's list of former names.
fn page(path: &Path, text: &str, findings: &mut Vec<Finding>) {
    let (mut code, mut former) = (false, false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if line.starts_with('#') {
            former = line == "### Renamed";
        }
        if !code && !former {
            dialect(path, &Passage::line(number, line), findings);
        }
    }
}

/// Finds lines to rewrite in the comments and in the subjects of a TOML file, such as a case of the command's tests.
fn settings(path: &Path, text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        let comment = line
            .strip_prefix('#')
            .or(line.split_once(" # ").map(|(_, comment)| comment));
        if let Some(comment) = comment {
            let first = comment.trim_start();
            let word = first.split([' ', '\'']).next().unwrap_or_default();
            if OPENINGS.contains(&word) {
                findings.push(Finding::new(path, number, format!("opens with `{word}`")));
            }
        }
        if let Some(prose) = comment.or(line.strip_prefix("subject = ")) {
            dialect(path, &Passage::line(number, prose), findings);
        }
    }
}

fn dialect(path: &Path, passage: &Passage, findings: &mut Vec<Finding>) {
    for (phrase, usual) in DIALECT {
        for line in passage.lines_with(phrase) {
            let why = format!("`{phrase}` (usual: {usual})");
            findings.push(Finding::new(path, line, why));
        }
    }
    for (method, registered) in METHODS {
        let text = passage.text();
        let quoted = |quote: char| text.contains(&format!("{quote}{method}{quote}"));
        if text == method || ['`', '\'', '"'].into_iter().any(quoted) {
            let lines = passage.lines_with(method);
            findings.extend(lines.take(1).map(|line| {
                let why = format!("`{method}` (registered: {registered})");
                Finding::new(path, line, why)
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> (Counts, Vec<String>) {
        let (mut counts, mut findings) = (Counts::default(), Vec::new());
        code(Path::new("a.rs"), text, &mut counts, &mut findings).unwrap();
        let rows = findings.into_iter();
        (counts, rows.map(|finding| finding.to_string()).collect())
    }

    #[test]
    fn openings_and_questions_are_counted_once_a_comment() {
        let text = "//! A module.\n\n/// What it is.\n/// How it works.\nfn a() {}\n/// Is it there?\nfn b() {}\n/// Returns true.\nfn c() {}\n";
        let (counts, rows) = scan(text);
        assert_eq!(counts.doc_comments, 4);
        assert_eq!((counts.openings, counts.questions), (1, 1));
        assert_eq!(rows, ["a.rs:3: opens with `What`", "a.rs:6: is a question"]);
        assert_eq!(counts.phrases["returns"], 1);
    }

    #[test]
    fn phrases_count_as_whole_words_in_comments_and_literals() {
        let (counts, rows) =
            scan("// Built anew; renewal is not.\nlet a = \"mend it\"; // amended\n");
        assert_eq!(counts.phrases["anew"], 1);
        assert_eq!(counts.phrases["mend"], 0, "not in a comment");
        assert_eq!(rows.len(), 2, "{rows:?}");
        let (_, rows) = scan("// Built for\n// one, or\n// none.\nlet a = \"no \\\n    peace\";\n");
        let expected = [
            "a.rs:5: `peace` (usual: fewer requests)",
            "a.rs:1: `for one,` (usual: for example)",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn code_and_former_names_in_a_page_are_not_checked() {
        let mut findings = Vec::new();
        page(
            Path::new("a.md"),
            "anew\n```\nanew\n```\n### Renamed\n| anew | again |\n## Other\nagain\n",
            &mut findings,
        );
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn comments_and_subjects_in_toml_are_checked() {
        let mut findings = Vec::new();
        let text = "# What it is.\na = \"anew\" # anew\nsubject = \"told\"\nbody = \"gone\"\n";
        settings(Path::new("a.toml"), text, &mut findings);
        let rows: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            rows,
            [
                "a.toml:1: opens with `What`",
                "a.toml:2: `anew` (usual: again)",
                "a.toml:3: `told` (usual: reported, shown)"
            ]
        );
    }

    #[test]
    fn names_of_tests_are_checked_and_other_code_is_not() {
        let (_, rows) = scan("fn whoever_calls() {\n    told.gone(1);\n}\n");
        assert_eq!(
            rows,
            ["a.rs:1: `whoever` (usual: a caller that, anyone who)"]
        );
    }

    #[test]
    fn authentication_methods_have_their_registered_names() {
        let (_, rows) = scan("let a = \"private-key-jwt\"; // see private-key-jwt.md\n");
        assert_eq!(
            rows,
            ["a.rs:1: `private-key-jwt` (registered: private_key_jwt)"]
        );
    }
}
