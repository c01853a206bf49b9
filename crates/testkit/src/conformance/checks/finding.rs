//! The result of a check.

/// The reason why a rule does not hold.
pub(in crate::conformance) enum Finding {
    Broken(String),
    NotChecked(String),
}

impl From<String> for Finding {
    fn from(seen: String) -> Self {
        Self::Broken(seen)
    }
}

pub(super) type Outcome = Result<(), Finding>;

pub(super) fn not_checked(lacks: &str) -> Outcome {
    Err(Finding::NotChecked(lacks.to_owned()))
}

pub(super) fn must(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Finding::Broken(otherwise.into()))
    }
}
