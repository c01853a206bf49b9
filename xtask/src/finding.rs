//! A line that a check reports.

use std::{fmt, path::Path};

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
            path: short.display().to_string(),
            line: number + 1,
            why,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.why)
    }
}
