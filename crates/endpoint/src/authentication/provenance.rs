use std::time::SystemTime;

use hallpass_core::{Hint, Secret};

/// The origin of a credential: what a refusal of it means for the next attempt and for its error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Provenance {
    /// The secret that it was made from.
    pub(crate) secret: Option<Secret>,
    /// The time at which it was made, if it is valid only around that time.
    pub(crate) created_at: Option<SystemTime>,
    /// True if others come from the same key, or from none, while the epoch stays the same.
    pub(crate) fixed: bool,
    /// True if the epoch changes when it is refused for being sent again.
    pub(crate) repeatable: bool,
    /// The hint that is shown if it is refused.
    pub(crate) refusal_hint: Option<Hint>,
}

impl Provenance {
    /// Returns true if it was made from another secret than the refused one. If either has no secret, or the refused one
    /// may have been repeated, the epoch decides.
    pub(crate) fn differs(&self, refused: &Self, epoch_changed: bool) -> bool {
        match (&self.secret, &refused.secret) {
            (Some(now), Some(before)) => {
                !now.matches(before) || refused.repeatable && epoch_changed
            }
            _ => epoch_changed,
        }
    }
}
