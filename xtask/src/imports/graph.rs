//! Loops and layers in the imports of one crate.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::Path;

/// The top-level modules of a crate from the ground up, in groups whose members may not import from groups above.
pub(super) type Layers = [&'static [&'static str]];

/// An import of one file from another, by their modules.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: Path,
    pub(super) to: Path,
    /// The importing line, as `file:line`.
    pub(super) place: String,
}

/// A unit's imports with the place of one of them, for the units of one directory.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// Reports loops and imports from a higher layer.
pub(super) fn check_edges(owner: &str, edges: &[Edge], layers: &Layers, faults: &mut Vec<String>) {
    let mut imports = imports(edges);
    for (from, to, place) in imports
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |(to, place)| (from, to, place)))
    {
        if matches!((layer(layers, from), layer(layers, to)), (Some(from), Some(to)) if from < to) {
            faults.push(format!(
                "{place}: `{from}` imports `{to}`, a layer above it"
            ));
        }
    }
    while let Some(found) = find_loop(&mut imports) {
        faults.push(format!("`{owner}` has an import loop: {found}"));
    }
}

/// Reports top-level modules without a layer, in a crate with layers.
pub(super) fn place(
    owner: &str,
    modules: &BTreeSet<String>,
    layers: &Layers,
    faults: &mut Vec<String>,
) {
    if layers.is_empty() {
        return;
    }
    for module in modules {
        if layer(layers, module).is_none() {
            faults.push(format!("`{owner}`: the module `{module}` has no layer"));
        }
    }
}

fn layer(layers: &Layers, unit: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&unit))
}

/// Assigns each import to the directory in which both files are, as an import between two units of that directory.
fn imports(edges: &[Edge]) -> Imports {
    let mut imports = Imports::new();
    for Edge { from, to, place } in edges {
        let common = from
            .iter()
            .zip(to)
            .take_while(|(from, to)| from == to)
            .count();
        let unit = |path: &Path| match path.get(..=common) {
            Some(child) => child.join("::"),
            // The file of the directory itself.
            None => [&["crate".to_owned()], &path[..]].concat().join("::"),
        };
        let places = imports.entry(unit(from)).or_default();
        places.entry(unit(to)).or_insert_with(|| place.clone());
    }
    imports
}

/// Returns the shortest chain of units from one to another.
fn path(imports: &Imports, from: &str, to: &str) -> Option<Vec<String>> {
    let mut open = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::from([from.to_owned()]);
    while !open.is_empty() {
        let mut next = Vec::new();
        for chain in open {
            let end = chain.last()?;
            if end == to {
                return Some(chain);
            }
            for unit in imports.get(end).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(unit.clone()) {
                    next.push([&chain[..], std::slice::from_ref(unit)].concat());
                }
            }
        }
        open = next;
    }
    None
}

/// Takes one import of a shortest loop away, and describes the loop.
fn find_loop(imports: &mut Imports) -> Option<String> {
    let pairs = imports
        .iter()
        .flat_map(|(from, to)| to.keys().map(move |to| (from, to)));
    let loops = pairs.filter_map(|(from, to)| path(imports, to, from));
    let mut units = loops.min_by_key(Vec::len)?;
    units.rotate_right(1);
    let next = units.iter().cycle().skip(1);
    let places = units
        .iter()
        .zip(next)
        .map(|(from, to)| imports[from][to].as_str());
    let first = imports[&units[0]][&units[1]].as_str();
    let places: Vec<&str> = places.chain([first]).collect();
    let found = format!("{} ({})", places.join(" -> "), units.join(", "));
    if let Some(imports) = imports.get_mut(&units[0]) {
        imports.remove(&units[1]);
    }
    Some(found)
}
