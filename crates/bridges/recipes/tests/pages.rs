//! The pages show the code that the other tests run.

/// Returns the block of code that a page should have for this file: all but the first lines, which name the file's
/// subject.
fn block(source: &str) -> String {
    let code: Vec<_> = source
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.is_empty())
        .collect();
    let code = code.join("\n");
    format!("```rust\n# use hallpass_core as hallpass;\n{code}\n```\n")
}

#[track_caller]
fn check(page: &str, source: &str) {
    let block = block(source);
    assert!(
        page.contains(&block),
        "the page should have this block:\n\n{block}"
    );
}

#[test]
fn the_pages_show_the_code_that_the_tests_run() {
    let mail = include_str!("../../../../docs/mail.md");
    check(mail, include_str!("../src/smtp.rs"));
    check(mail, include_str!("../src/imap.rs"));
    let page = include_str!("../../../../docs/postgresql.md");
    check(page, include_str!("../src/postgresql.rs"));
    let page = include_str!("../../../../docs/websockets.md");
    check(page, include_str!("../src/websockets.rs"));
}
