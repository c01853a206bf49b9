use std::{fmt, sync::Arc};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

/// A secret that a client proves itself with: cheap to clone, never shown, wiped from memory when the last clone goes.
///
/// It has no `Display`, no `Serialize` and no equality, so that it cannot slip into a log, a file or a test's output.
/// The wipe covers this copy; it cannot reach what the program copied before, a core dump or swap.
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
    /// Takes a secret as it is, white space and all.
    ///
    /// # Errors
    ///
    /// An empty secret is refused: it is nearly always a variable that was never set.
    pub fn new(secret: impl Into<String>) -> Result<Self, SecretError> {
        let secret: String = secret.into();
        if secret.is_empty() {
            return Err(SecretError::new(
                "the secret is empty; set it, or leave it out",
            ));
        }
        Ok(Self(Arc::new(secret.into())))
    }

    /// The secret itself. Hand it to what must have it, and to nothing else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret lives: memory, an environment variable, a file, a vault.
///
/// It is asked before each token request, so that a rotated secret is picked up without a restart. A [`Secret`] is
/// its own source.
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
    /// The secret as it is now.
    ///
    /// # Errors
    ///
    /// Says where the secret was sought and what was wrong, never what was found there.
    async fn secret(&self) -> Result<Secret, SecretError>;

    /// A number that changes when the secret is known to have changed; a secret that never does keeps this default.
    /// It must be cheap, and does no I/O.
    fn epoch(&self) -> u64 {
        0
    }
}

#[async_trait]
impl SecretSource for Secret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        Ok(self.clone())
    }
}

#[async_trait]
impl<S: SecretSource + ?Sized> SecretSource for Arc<S> {
    async fn secret(&self) -> Result<Secret, SecretError> {
        (**self).secret().await
    }

    fn epoch(&self) -> u64 {
        (**self).epoch()
    }
}

/// A secret could not be had, or is not fit for use. Its text names the place, never the content.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl SecretError {
    /// An error with this text, which must not hold the secret or a part of it.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
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

    #[tokio::test]
    async fn a_secret_is_its_own_source() {
        let source: Arc<dyn SecretSource> = Arc::new(Secret::new("x").unwrap());
        assert_eq!(source.secret().await.unwrap().expose(), "x");
        assert_eq!(format!("{source:?}"), "Secret(..)");
    }
}
