//! Parts of the tables of builders: the completeness of a table, and the settings that an error names.

use std::collections::BTreeSet;

use super::settings::setters;

/// Returns true if an error's text names a setting: as a method, or as the setting that is wrong.
pub(super) fn is_named(setting: &str, shown: &str) -> bool {
    let name = setting.rsplit("::").next().unwrap();
    shown.contains(&format!("`{name}`"))
        || shown.contains(&format!("::{name}`"))
        || shown.starts_with(&format!("{name}:"))
}

/// Checks that the rows of a table are the methods of this type in this crate.
pub(super) fn assert_complete<'a>(
    rows: impl IntoIterator<Item = &'a str>,
    krate: &str,
    type_name: &str,
) {
    let rows: BTreeSet<_> = rows.into_iter().map(str::to_owned).collect();
    assert_eq!(
        rows,
        setters(krate, type_name),
        "left: the rows; a method of `{type_name}` needs one"
    );
}
