//! The layers within crates.

use super::graph::Layers;

/// The crates whose modules are ordered, which is more than that they have no loops.
const LAYERS: [(&str, &Layers); 1] = [(
    "hallpass-endpoint",
    &[
        &["error", "encoding", "hints", "unique"],
        &["security_profile"],
        &["transport"],
        &["server"],
        &["authentication"],
        &["response"],
        &["exchange"],
        &["grant", "presets", "builder"],
        &["management", "service"],
        &["internals"],
    ],
)];

/// Returns the layers of the modules of this crate; none for a crate without an order.
pub(super) fn layers(owner: &str) -> &'static Layers {
    let layers = LAYERS.iter().find(|(layered, _)| *layered == owner);
    layers.map_or(&[], |(_, layers)| layers)
}

/// Returns the crates that the table names.
pub(super) fn owners() -> impl Iterator<Item = &'static str> {
    LAYERS.iter().map(|(owner, _)| *owner)
}
