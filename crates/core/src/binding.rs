use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What a token is bound to, where it is of use along with that alone: a client certificate (RFC 8705 section 3).
///
/// Whoever replaces the certificate [ends](Self::end) its binding. A cache drops the tokens of a binding that has
/// ended, and fetches others. Clones are one and the same.
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
    /// A binding to something that is in use.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the tokens are bound to is not in use any more. This cannot be taken back.
    pub fn end(&self) {
        // Nothing else is told by it, so that the order of other things does not matter.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Is what the tokens are bound to not in use any more? It costs one load.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Is it the same one?
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
