//! The layers within crates, and the imports that are allowed until they are removed.

use std::collections::BTreeSet;

use super::graph::{Layers, Rules};

/// The crates whose modules are ordered, which is more than that they have no loops.
const LAYERS: [(&str, &Layers); 1] = [(
    "hallpass-endpoint",
    &[
        &["error", "encoding", "hints"],
        &["transport"],
        &["server"],
        &["authentication"],
        &["response"],
        &["exchange"],
        &["grant", "presets", "builder"],
        &["management"],
        &["internals"],
    ],
)];

/// Imports that are part of a loop or go up: crate, importing unit, imported unit. The unit of a directory's own file is
/// `crate::directory`, and that of the crate's root file is `crate`. This list only shrinks.
const ALLOWED: &[(&str, &str, &str)] = &[
    // A token holds its prover, and a prover signs proofs for a token: the two types name each other.
    ("hallpass-core", "proof", "token"),
];

/// Returns what holds for the modules of this crate.
pub(super) fn rules(owner: &str) -> Rules {
    let layers = LAYERS.iter().find(|(layered, _)| *layered == owner);
    let allowed = ALLOWED.iter().filter(|(importing, ..)| *importing == owner);
    Rules {
        layers: layers.map_or(&[], |(_, layers)| layers),
        allowed: allowed.map(|&(_, from, to)| (from, to)).collect(),
    }
}

/// Returns the crates that the tables name.
pub(super) fn owners() -> BTreeSet<&'static str> {
    let allowed = ALLOWED.iter().map(|(owner, ..)| *owner);
    LAYERS
        .iter()
        .map(|(owner, _)| *owner)
        .chain(allowed)
        .collect()
}
