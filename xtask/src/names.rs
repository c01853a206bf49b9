//! The length of the tests' names, which a report shows in one line each.

use crate::{
    files::{CODE, sources, text},
    finding::Finding,
};

/// The maximum number of characters.
const LENGTH: usize = 60;

/// Reports names that are too long.
pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for path in sources(&CODE, "rs")? {
        for (number, name) in too_long(&text(&path)?) {
            let why = format!("a test's name has more than {LENGTH} characters: `{name}`");
            faults.push(Finding::new(&path, number, why).to_string());
        }
    }
    Ok(())
}

/// Returns the line and the name of each test whose name is too long.
fn too_long(text: &str) -> Vec<(usize, &str)> {
    let mut pending = false;
    let mut long = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        pending |=
            trimmed.starts_with("#[") && trimmed.contains("test") && !trimmed.contains("cfg");
        if let Some(name) = function(trimmed) {
            if pending && name.len() > LENGTH {
                long.push((number, name));
            }
            pending = false;
        }
    }
    long
}

/// Returns the name of the function that a line declares.
pub(crate) fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_with_long_names_are_found() {
        let name = "a".repeat(LENGTH + 1);
        let tests = format!("#[test]\nfn {name}() {{}}\n#[tokio::test]\nasync fn {name}b() {{}}\n");
        let others = format!("fn {name}() {{}}\n#[test]\nfn {}() {{}}\n", &name[1..]);
        let with_b = format!("{name}b");
        assert_eq!(too_long(&tests), [(1, name.as_str()), (3, with_b.as_str())]);
        assert_eq!(too_long(&others), []);
    }
}
