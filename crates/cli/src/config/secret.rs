//! Stands in for `hallpass::secrets` until that is merged.

use std::{fmt, str::FromStr, sync::Arc};

use hallpass::core::{Secret, SecretError, SecretSource, async_trait};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SecretReference(String);
#[derive(Debug)]
pub(crate) struct InvalidReference;
impl fmt::Display for InvalidReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no reference to a secret, and a secret itself does not belong here")
    }
}
impl FromStr for SecretReference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        match text.strip_prefix("env:") {
            Some(name) => Ok(Self(name.into())),
            None => Err(InvalidReference),
        }
    }
}
impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "env:{}", self.0)
    }
}
#[async_trait]
impl SecretSource for SecretReference {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let value = std::env::var(&self.0)
            .map_err(|_| SecretError::new(format!("the variable `{}` is not set", self.0)))?;
        Secret::new(value)
    }
}
impl SecretReference {
    pub(crate) fn open(&self) -> Result<Arc<dyn SecretSource>, SecretError> {
        Ok(Arc::new(self.clone()))
    }
}
