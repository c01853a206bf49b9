//! Stores the figures of benchmarks with their own timing for `cargo xtask bench`.

use std::{fs, path::Path};

/// Returns the median of these values, and sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a figure and stores it next to criterion's, under the row's name.
pub(crate) fn report(row: &str, value: f64, unit: &str) {
    let digits = if unit == "times" { 4 } else { 1 };
    println!("{row}: {value:.digits$} {unit}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("target/criterion").join(row).join("new");
    fs::create_dir_all(&folder).expect("a directory for figures");
    let estimates = format!(r#"{{"median":{{"point_estimate":{value}}},"unit":"{unit}"}}"#);
    fs::write(folder.join("estimates.json"), estimates).expect("a file for figures");
}
