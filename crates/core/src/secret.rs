use std::{fmt, sync::Arc};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

mod anomaly;

pub use anomaly::SecretAnomaly;

/// A secret for client authentication: cheap to clone, never shown, wiped from memory with the last clone.
///
/// It has no `Display`, no `Serialize` and no equality, so that it cannot slip into a log, a file or a test's output.
/// The wipe covers this copy; it cannot reach copies that the program made before, a core dump or swap.
///
/// ```
/// use hallpass_core::Secret;
///
/// let secret = Secret::new("s3cr3t")?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert_eq!(secret.expose(), "s3cr3t");
/// # Ok::<(), hallpass_core::SecretError>(())
/// ```
///
/// It can neither be compared nor serialized:
///
/// ```compile_fail
/// # use hallpass_core::Secret;
/// assert_eq!(Secret::new("a").unwrap(), Secret::new("a").unwrap());
/// ```
///
/// ```compile_fail
/// # use hallpass_core::Secret;
/// fn write(_: &impl serde::Serialize) {}
/// write(&Secret::new("a").unwrap());
/// ```
///
/// ```compile_fail
/// # use hallpass_core::Secret;
/// println!("{}", Secret::new("a").unwrap());
/// ```
// covers: F-102, F-103, F-116
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    /// Creates a secret from the text as it is, including white space.
    ///
    /// # Errors
    ///
    /// An empty secret is refused: it is usually an unset variable.
    pub fn new(secret: impl Into<String>) -> Result<Self, SecretError> {
        let secret: String = secret.into();
        if secret.is_empty() {
            return Err(SecretError::new(
                "the secret is empty; set it, or leave it out",
            ));
        }
        Ok(Self(Arc::new(secret.into())))
    }

    /// Returns the secret itself. Pass it only to code that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns true if both have the same text. The comparison takes constant time; only the length is not hidden.
    ///
    /// A method and not `==`, so that no assertion of a test prints what it compared.
    pub fn matches(&self, other: &Self) -> bool {
        let (one, other) = (self.expose().as_bytes(), other.expose().as_bytes());
        one.ct_eq(other).into()
    }

    /// Returns true if both come from one read. A secret that was read again is not a clone, even with the same text.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A place that holds a secret: memory, an environment variable, a file, a vault.
///
/// It is read before each token request, so that a rotated secret is picked up without a restart. A [`Secret`] is its
/// own source.
///
/// ```
/// use hallpass_core::{Secret, SecretError, SecretSource, async_trait};
///
/// #[derive(Debug)]
/// struct Variable(&'static str);
///
/// #[async_trait]
/// impl SecretSource for Variable {
///     async fn secret(&self) -> Result<Secret, SecretError> {
///         let value = std::env::var(self.0)
///             .map_err(|_| SecretError::new(format!("the variable `{}` is not set", self.0)))?;
///         Secret::new(value)
///     }
/// }
/// ```
#[async_trait]
pub trait SecretSource: Send + Sync + fmt::Debug {
    /// Returns the current secret.
    ///
    /// # Errors
    ///
    /// Names the place of the secret and what was wrong, never its content.
    async fn secret(&self) -> Result<Secret, SecretError>;

    /// Returns a number that changes when the secret is known to have changed; a secret that never changes keeps this
    /// default. It must be cheap, and does no I/O.
    fn epoch(&self) -> u64 {
        0
    }

    /// Reports that the server refused this secret: a source that caches it drops it, so that the next call reads it
    /// again.
    ///
    /// The caller asks again at once, and retries once if it gets another secret. A source that reads at each call
    /// keeps this default. One that caches compares with [`Secret::is_clone_of`]: a thousand calls may report one
    /// refusal, and a secret that was read since must not be dropped. It returns at once and does no I/O.
    fn refused(&self, secret: &Secret) {
        let _ = secret;
    }
}

/// A writable place for a secret: for refresh tokens, which a server rotates as they are used.
///
/// After [`save`](Self::save), [`secret`](SecretSource::secret) returns the saved secret, also after a crash of the
/// machine if the place is persistent. A save does not change the [epoch](SecretSource::epoch): that is for changes
/// from elsewhere.
///
/// ```
/// use std::sync::Mutex;
/// use hallpass_core::{Secret, SecretError, SecretSource, SecretStore, async_trait};
///
/// #[derive(Debug)]
/// struct Memory(Mutex<Secret>);
///
/// #[async_trait]
/// impl SecretSource for Memory {
///     async fn secret(&self) -> Result<Secret, SecretError> {
///         Ok(self.0.lock().unwrap().clone())
///     }
/// }
///
/// #[async_trait]
/// impl SecretStore for Memory {
///     async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
///         *self.0.lock().unwrap() = secret.clone();
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait SecretStore: SecretSource {
    /// Saves this secret, replacing the previous one: wholly or not at all.
    ///
    /// # Errors
    ///
    /// Names the place and why it failed, never the secret. The previous one is then still there.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves either the old or the new secret, and nothing in between.
    async fn save(&self, secret: &Secret) -> Result<(), SecretError>;
}

#[async_trait]
impl SecretSource for Secret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        Ok(self.clone())
    }
}

/// Forwards every method, including those with a default.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<S: SecretSource + ?Sized> SecretSource for $pointer {
            async fn secret(&self) -> Result<Secret, SecretError> {
                (**self).secret().await
            }

            fn epoch(&self) -> u64 {
                (**self).epoch()
            }

            fn refused(&self, secret: &Secret) {
                (**self).refused(secret);
            }
        }

        #[async_trait]
        impl<S: SecretStore + ?Sized> SecretStore for $pointer {
            async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
                (**self).save(secret).await
            }
        }
    )+};
}

forward!(Arc<S>, Box<S>);

/// The error for a secret that cannot be read or used. The text names the place, never the content.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SecretError {
    message: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unusable,
    Inaccessible,
    Unavailable,
    Local,
}

impl SecretError {
    /// Creates a permanent error: the secret is missing or unusable, and needs a configuration change.
    ///
    /// The text must not hold the secret or a part of it.
    pub fn new(message: impl Into<String>) -> Self {
        Self::with_kind(Kind::Unusable, message)
    }

    /// Creates a transient error: a remote store, such as a vault, could not be reached or failed.
    ///
    /// A token request is retried after it.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::with_kind(Kind::Unavailable, message)
    }

    /// Creates a transient error of this machine: a command that timed out, a file system that does not respond.
    ///
    /// A token request is not retried after it: the same call would wait, or prompt a person, again.
    pub fn local(message: impl Into<String>) -> Self {
        Self::with_kind(Kind::Local, message)
    }

    /// Creates a permanent error that says nothing about the secret: the store cannot be used until someone acts, as
    /// with an expired vault token or a locked keychain. A copy that was read earlier remains usable.
    pub fn inaccessible(message: impl Into<String>) -> Self {
        Self::with_kind(Kind::Inaccessible, message)
    }

    /// Returns true if a later retry, with nothing changed, can help.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Local)
    }

    /// Returns true for a [`local`](Self::local) error, after which a call is not retried.
    pub fn is_local(&self) -> bool {
        self.kind == Kind::Local
    }

    /// Returns true for an [`inaccessible`](Self::inaccessible) store, which says nothing about the secret.
    pub fn is_inaccessible(&self) -> bool {
        self.kind == Kind::Inaccessible
    }

    fn with_kind(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-114
    #[test]
    fn empty_is_refused_and_the_rest_passes() {
        assert!(Secret::new("").is_err());
        for odd in ["null", "undefined", " ", "p@ss:w%rd+&=/?", "geheim-ü"] {
            assert_eq!(Secret::new(odd).unwrap().expose(), odd);
        }
    }

    // covers: F-116
    #[test]
    fn comparison_is_of_content_or_of_origin() {
        let one = Secret::new("CANARY").unwrap();
        let read_anew = Secret::new("CANARY").unwrap();
        assert!(one.matches(&read_anew) && one.matches(&one.clone()));
        for other in ["CANARx", "xANARY", "CANAR", "CANARY ", "x"] {
            assert!(!one.matches(&Secret::new(other).unwrap()), "{other}");
        }
        assert!(one.is_clone_of(&one.clone()) && !one.is_clone_of(&read_anew));
    }

    // covers: F-104
    #[test]
    fn what_is_held_is_wiped_when_it_goes() {
        fn is_wiped(_: &impl zeroize::ZeroizeOnDrop) {}
        is_wiped(&*Secret::new("x").unwrap().0);
    }

    #[test]
    fn an_error_says_whether_a_retry_or_a_copy_helps() {
        for (error, transient, local, inaccessible) in [
            (SecretError::new("x"), false, false, false),
            (SecretError::unavailable("x"), true, false, false),
            (SecretError::local("x"), true, true, false),
            (SecretError::inaccessible("x"), false, false, true),
        ] {
            assert_eq!(error.to_string(), "x");
            assert_eq!(error.is_transient(), transient, "{error:?}");
            assert_eq!(error.is_local(), local, "{error:?}");
            assert_eq!(error.is_inaccessible(), inaccessible, "{error:?}");
        }
    }

    /// A source that records which of its methods ran.
    #[derive(Debug, Default)]
    struct Witness(std::sync::Mutex<Vec<&'static str>>);

    #[async_trait]
    impl SecretSource for Witness {
        async fn secret(&self) -> Result<Secret, SecretError> {
            self.0.lock().unwrap().push("secret");
            Secret::new("x")
        }

        fn epoch(&self) -> u64 {
            self.0.lock().unwrap().push("epoch");
            7
        }

        fn refused(&self, _: &Secret) {
            self.0.lock().unwrap().push("refused");
        }
    }

    #[async_trait]
    impl SecretStore for Witness {
        async fn save(&self, _: &Secret) -> Result<(), SecretError> {
            self.0.lock().unwrap().push("save");
            Ok(())
        }
    }

    #[tokio::test]
    async fn pointers_forward_every_method() {
        async fn all_methods(source: impl SecretStore) {
            let secret = source.secret().await.unwrap();
            source.refused(&secret);
            source.save(&secret).await.unwrap();
            assert_eq!(source.epoch(), 7);
        }
        let witness = Arc::new(Witness::default());
        all_methods(witness.clone()).await;
        all_methods(witness.clone() as Arc<dyn SecretStore>).await;
        all_methods(Box::new(witness.clone()) as Box<dyn SecretStore>).await;
        let once = ["secret", "refused", "save", "epoch"];
        assert_eq!(*witness.0.lock().unwrap(), once.repeat(3));
    }

    #[tokio::test]
    async fn a_secret_is_its_own_source() {
        let source: Arc<dyn SecretSource> = Arc::new(Secret::new("x").unwrap());
        assert_eq!(source.secret().await.unwrap().expose(), "x");
        assert_eq!(format!("{source:?}"), "Secret(..)");
    }
}
