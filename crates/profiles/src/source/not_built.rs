//! The error of a method that requires a feature.

use crate::error::ProfileError;

/// Returns the error of a method that requires a feature.
pub(super) fn not_built(method: &str, feature: &str) -> ProfileError {
    not_built_for(&format!("`authentication` is `{method}`"), feature)
}

/// Returns the error of a setting that requires a feature.
pub(super) fn not_built_for(setting: &str, feature: &str) -> ProfileError {
    ProfileError::new(format!(
        "{setting}, but this program was built without the feature `{feature}`"
    ))
    .with_hint(format!(
        "build it with the feature `{feature}` of `hallpass`"
    ))
}
