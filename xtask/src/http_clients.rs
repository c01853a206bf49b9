//! Checks that every HTTP client sets the options whose defaults depend on reqwest features that other crates enable.

use crate::files::{root, sources, text};

/// The code that creates a client; spelled in parts, or this file would be found.
const STARTS: [&str; 3] = [
    concat!("Client::", "builder()"),
    concat!("ClientBuilder::", "new()"),
    concat!("reqwest::Client::", "new()"),
];
/// The options that it must set, because a feature of reqwest decides the default.
const SETTINGS: [&str; 9] = [
    ".tls_backend_rustls()",
    ".no_gzip()",
    ".no_brotli()",
    ".no_zstd()",
    ".no_deflate()",
    ".no_hickory_dns()",
    ".no_proxy()",
    ".retry(",
    ".referer(false)",
];

pub(crate) fn check(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let mut clients = 0;
    for path in sources(&["crates"], "rs")? {
        let shown = path.strip_prefix(root()).unwrap_or(&path).display();
        let name = shown.to_string();
        // Clients of tests and benchmarks are not shipped, and those of the integration are its callers'.
        let others = ["testkit", "tests", "crates/reqwest/"];
        if !name.contains("/src/") || others.iter().any(|other| name.contains(other)) {
            continue;
        }
        let text = text(&path)?;
        let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let mut lines = code.lines().map(str::trim_start);
        if !lines
            .any(|line| !line.starts_with("//") && STARTS.iter().any(|start| line.contains(start)))
        {
            continue;
        }
        clients += 1;
        for setting in SETTINGS.iter().filter(|setting| !code.contains(**setting)) {
            faults.push(format!(
                "{shown} builds an HTTP client without `{setting}`: a feature of reqwest would decide"
            ));
        }
    }
    if clients == 0 {
        faults.push("no HTTP client was found: the check looks in the wrong place".to_owned());
    }
    Ok(())
}
