//! Limits on faults that remain in a crate: none may be added, and a limit goes down with each that is fixed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

/// A line to change.
pub(crate) struct Finding {
    path: String,
    /// Counted from one.
    line: usize,
    why: String,
}

impl Finding {
    /// Creates a finding; `number` counts lines from zero.
    pub(crate) fn new(path: &Path, number: usize, why: String) -> Self {
        let short = path.strip_prefix(crate::files::root()).unwrap_or(path);
        Self {
            path: short.display().to_string().replace('\\', "/"),
            line: number + 1,
            why,
        }
    }

    /// Returns the crate's folder, or the folder at the top.
    fn owner(&self) -> &str {
        let depth = if self.path.starts_with("crates/") {
            2
        } else {
            1
        };
        let end = self.path.match_indices('/').nth(depth - 1);
        end.map_or(&self.path, |(end, _)| &self.path[..end])
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.why)
    }
}

/// Reports the findings of each owner that has more of them than its limit, and limits that are too high.
pub(crate) fn ratchet(
    what: &str,
    findings: &[Finding],
    limits: &[(&str, usize)],
    faults: &mut Vec<String>,
) {
    let mut by_owner = BTreeMap::<&str, Vec<&Finding>>::new();
    for finding in findings {
        by_owner.entry(finding.owner()).or_default().push(finding);
    }
    let limits: BTreeMap<&str, usize> = limits.iter().copied().collect();
    let owners: BTreeSet<&str> = by_owner.keys().chain(limits.keys()).copied().collect();
    for owner in owners {
        let found = by_owner.get(owner).map_or(&[][..], Vec::as_slice);
        let limit = limits.get(owner).copied().unwrap_or_default();
        if found.len() > limit {
            faults.push(format!(
                "{owner}: {} {what}, more than {limit}",
                found.len()
            ));
            faults.extend(found.iter().map(ToString::to_string));
        } else if found.len() < limit {
            faults.push(format!(
                "{owner}: {} {what}, so lower the limit of {limit}",
                found.len()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_met_exactly() {
        let finding = |path: &str| Finding::new(Path::new(path), 0, "why".to_owned());
        let findings = ["crates/a/src/b.rs", "crates/a/tests/c.rs", "README.md"].map(finding);
        let judged = |limits: &[(&str, usize)]| {
            let mut faults = Vec::new();
            ratchet("faults", &findings, limits, &mut faults);
            faults
        };
        assert!(judged(&[("crates/a", 2), ("README.md", 1)]).is_empty());
        assert_eq!(
            judged(&[("crates/a", 3)]),
            [
                "README.md: 1 faults, more than 0",
                "README.md:1: why",
                "crates/a: 2 faults, so lower the limit of 3",
            ]
        );
    }
}
