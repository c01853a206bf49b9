use std::{env, ffi::OsString};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource};

/// A secret in an environment variable, read at each call.
///
/// A running process's environment does not change: a secret that rotates without a restart needs another source. The
/// value is used as it is, including white space.
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_secrets::EnvSecret;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = EnvSecret::new("ORDERS_CLIENT_SECRET").secret().await.unwrap_err();
/// assert!(error.to_string().contains("`ORDERS_CLIENT_SECRET` is not set"));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EnvSecret(String);

impl EnvSecret {
    /// Creates a source for the variable of this name. Nothing is read yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    fn read(&self, value: Option<OsString>) -> Result<Secret, SecretError> {
        let name = &self.0;
        let wrong = |what: &str| SecretError::new(format!("the variable `{name}` {what}"));
        let value = value.ok_or_else(|| wrong("is not set; set and export it"))?;
        let value = value
            .into_string()
            .map_err(|_| wrong("is not valid Unicode"))?;
        Secret::new(value).map_err(|_| wrong("is empty; set it to the secret"))
    }
}

#[async_trait]
impl SecretSource for EnvSecret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        self.read(env::var_os(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Option<&str>) -> Result<Secret, SecretError> {
        EnvSecret::new("CLIENT_SECRET").read(value.map(OsString::from))
    }

    // covers: F-114
    #[test]
    fn a_variable_is_read_unchanged() {
        for value in [
            "s3cr3t",
            " s3cr3t\n",
            "null",
            "undefined",
            "p@ss:w%rd+&=/?ü",
        ] {
            assert_eq!(read(Some(value)).unwrap().expose(), value);
        }
        for (value, expect) in [(None, "is not set"), (Some(""), "is empty")] {
            let error = read(value).unwrap_err().to_string();
            assert!(error.starts_with("the variable `CLIENT_SECRET`"), "{error}");
            assert!(error.contains(expect), "{error}");
        }
    }

    // covers: F-113
    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_unicode_is_named_and_not_shown() {
        use std::os::unix::ffi::OsStringExt as _;

        let value = OsString::from_vec(b"CANARY\xff".to_vec());
        let error = EnvSecret::new("CLIENT_SECRET").read(Some(value));
        let shown = format!("{:?}", error.unwrap_err());
        assert!(
            shown.contains("`CLIENT_SECRET` is not valid Unicode"),
            "{shown}"
        );
        assert!(!shown.contains("CANARY"), "{shown}");
    }

    #[tokio::test]
    async fn the_variables_of_the_process_are_read() {
        let secret = EnvSecret::new("CARGO_PKG_NAME").secret().await.unwrap();
        assert_eq!(secret.expose(), "hallpass-secrets");
    }
}
