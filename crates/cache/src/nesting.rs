//! Nested fetches: which flight waits for which, so that none waits for itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hallpass_core::TokenError;

tokio::task_local! {
    /// The fetch that this task runs. A task that a source spawns has none.
    static FETCH_CONTEXT: FetchContext;
}

struct FetchContext {
    node: Arc<Node>,
    nested: bool,
}

/// A node in the graph of waiting flights: the flights that calls within this one wait for.
#[derive(Default)]
pub(crate) struct Node(Mutex<Vec<Weak<Self>>>);

/// Returns true if the caller is a source during a fetch, or code that a source calls.
pub(crate) fn is_within_fetch() -> bool {
    FETCH_CONTEXT.try_with(|_| ()).is_ok()
}

/// Returns true if the fetch that this task runs was started from within another one.
pub(crate) fn is_nested_fetch() -> bool {
    FETCH_CONTEXT
        .try_with(|within| within.nested)
        .unwrap_or(false)
}

/// Runs `fetch` as the fetch of the flight of `node`.
pub(crate) fn within<F: Future>(
    node: Arc<Node>,
    nested: bool,
    fetch: F,
) -> impl Future<Output = F::Output> {
    FETCH_CONTEXT.scope(FetchContext { node, nested }, fetch)
}

/// Records that the fetch of this task waits for `flight`, until the guard is dropped.
///
/// # Errors
///
/// Fails if that flight waits for this one, directly or through others: neither would ever land.
pub(crate) fn wait_for(flight: &Arc<Node>) -> Result<Option<WaitEdge>, TokenError> {
    let Ok(node) = FETCH_CONTEXT.try_with(|within| within.node.clone()) else {
        return Ok(None);
    };
    // Record first, then check: of two flights that begin to wait for each other, the later one sees both records.
    node.edges().push(Arc::downgrade(flight));
    let waits = WaitEdge {
        node,
        flight: flight.clone(),
    };
    if waits.is_circular() {
        return Err(TokenError::configuration(
            "the token source called its own cache for the token being fetched, directly or through another source",
        ));
    }
    Ok(Some(waits))
}

/// One flight's wait for another.
pub(crate) struct WaitEdge {
    node: Arc<Node>,
    flight: Arc<Node>,
}

impl WaitEdge {
    fn is_circular(&self) -> bool {
        let mut seen: Vec<Arc<Node>> = Vec::new();
        let mut next = vec![self.flight.clone()];
        while let Some(node) = next.pop() {
            if Arc::ptr_eq(&node, &self.node) {
                return true;
            }
            if !seen.iter().any(|known| Arc::ptr_eq(known, &node)) {
                next.extend(node.edges().iter().filter_map(Weak::upgrade));
                seen.push(node);
            }
        }
        false
    }
}

impl Drop for WaitEdge {
    fn drop(&mut self) {
        let mut edges = self.node.edges();
        let mine = |edge: &Weak<Node>| edge.as_ptr() == Arc::as_ptr(&self.flight);
        if let Some(at) = edges.iter().position(mine) {
            edges.swap_remove(at);
        }
    }
}

impl Node {
    fn edges(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
