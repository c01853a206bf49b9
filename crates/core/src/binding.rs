use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The binding of a token to something without which it is useless: a client certificate (RFC 8705 section 3).
///
/// Code that replaces the certificate [ends](Self::end) its binding. A cache drops the tokens of an ended binding and
/// fetches new ones. Clones share one state.
///
/// ```
/// # use std::time::Duration;
/// use hallpass_core::{AccessToken, Binding};
/// # use hallpass_core::{Clock as _, SystemClock};
/// # let token = AccessToken::bearer("t", SystemClock.moment(), Duration::from_secs(3_600))?;
///
/// let certificate = Binding::new();
/// let token = token.with_binding(certificate.clone());
/// assert!(token.binding().is_some_and(|binding| !binding.has_ended()));
/// certificate.end();
/// assert!(token.binding().is_some_and(Binding::has_ended));
/// # Ok::<(), hallpass_core::InvalidToken>(())
/// ```
#[derive(Clone, Default)]
pub struct Binding(Arc<AtomicBool>);

impl Binding {
    /// Creates a binding to something that is in use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the binding: its tokens are not used any more. This cannot be undone.
    pub fn end(&self) {
        // Nothing else is published by this store, so relaxed ordering suffices.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true if the binding has ended. It costs one load.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns true if both are clones of one binding.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("ended", &self.has_ended())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_binding_reaches_its_clones_alone() {
        let (binding, other) = (Binding::new(), Binding::new());
        let clone = binding.clone();
        assert!(!clone.has_ended());
        binding.end();
        assert!(binding.has_ended() && clone.has_ended() && !other.has_ended());
        assert!(binding.is_same(&clone) && !binding.is_same(&other));
        assert_eq!(
            format!("{clone:?} {other:?}"),
            "Binding { ended: true } Binding { ended: false }"
        );
    }
}
