use std::{
    env,
    ffi::OsString,
    path::{Component, Path},
};

use hallpass_core::SecretError;

use crate::{FileSecret, forward::forward};

/// A systemd service credential: `LoadCredential=`, `LoadCredentialEncrypted=`, `SetCredentialEncrypted=`.
///
/// systemd writes it to a directory of the service's own, named by `CREDENTIALS_DIRECTORY`, in memory that is not
/// swapped. It is read as a [`FileSecret`]. systemd writes it when the service starts: a new one needs a restart.
///
/// ```ini
/// [Service]
/// LoadCredentialEncrypted=client-secret:/etc/credstore.encrypted/orders.cred
/// ```
///
/// ```no_run
/// use hallpass_secrets::SystemdCredential;
///
/// # fn main() -> Result<(), hallpass_core::SecretError> {
/// let secret = SystemdCredential::new("client-secret")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SystemdCredential(FileSecret);

impl SystemdCredential {
    /// Creates a source for the credential of this name, as spelled in the unit file.
    ///
    /// # Errors
    ///
    /// A [`SecretError`] if this process was not started by systemd with credentials, or the name is invalid.
    pub fn new(name: &str) -> Result<Self, SecretError> {
        Self::within(env::var_os("CREDENTIALS_DIRECTORY"), name)
    }

    fn within(folder: Option<OsString>, name: &str) -> Result<Self, SecretError> {
        if !is_name(name) {
            return Err(SecretError::new(
                "the name of a systemd credential is one file name, without a `/`",
            ));
        }
        let folder = folder.filter(|folder| !folder.is_empty()).ok_or_else(|| {
            SecretError::new(format!(
                "`CREDENTIALS_DIRECTORY` is not set, so that there is no systemd credential `{name}`; run this as a service of systemd with `LoadCredential={name}:..`"
            ))
        })?;
        Ok(Self(FileSecret::new(Path::new(&folder).join(name))))
    }
}

/// Returns true for a plain file name, which cannot lead out of the directory.
pub(crate) fn is_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let first = components.next();
    let plain = matches!(first, Some(Component::Normal(plain)) if plain == name);
    plain && components.next().is_none() && !name.contains(char::is_control)
}

forward!(SystemdCredential);

#[cfg(test)]
mod tests {
    use hallpass_core::SecretSource as _;

    use super::*;
    use crate::folder::Folder;

    #[tokio::test]
    async fn a_credential_is_read_from_the_services_directory() {
        let folder = Folder::new();
        folder.write("client-secret", "s3cr3t\n");
        let within = |name: &str| SystemdCredential::within(Some(folder.path().into()), name);
        let source = within("client-secret").unwrap();
        assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t");
        let error = within("other").unwrap().secret().await.unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error}");
    }

    #[test]
    fn names_cannot_leave_the_directory_and_are_not_shown() {
        for name in ["", ".", "..", "/etc/passwd", "../x", "a/b", "a/", "a\n"] {
            let error = SystemdCredential::within(Some("/run".into()), name).unwrap_err();
            assert!(
                error.to_string().contains("one file name"),
                "{name}: {error}"
            );
        }
        for folder in [None, Some(OsString::new())] {
            let error = SystemdCredential::within(folder, "client-secret").unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("`CREDENTIALS_DIRECTORY` is not set"),
                "{error}"
            );
        }
    }
}
