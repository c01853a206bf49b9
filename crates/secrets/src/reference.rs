use std::{
    fmt,
    path::{Path, PathBuf, is_separator},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use hallpass_core::{SecretError, SecretSource};

use crate::{EnvSecret, FileSecret, SystemdCredential, systemd};

/// A reference to a secret in one line of text: for configuration files, which must not hold the secret itself.
///
/// | reference | where | source |
/// |---|---|---|
/// | `env:NAME` | an environment variable | [`EnvSecret`] |
/// | `file:/run/secrets/client` | a file, by its absolute path: `file:C:\secrets\client` on Windows | [`FileSecret`] |
/// | `command:op read op://prod/orders/secret` | what a command prints; feature `command` | `CommandSecret` |
/// | `systemd:NAME` | a credential that systemd hands to a service | [`SystemdCredential`] |
/// | `keychain:SERVICE/USER` | the system's keychain; feature `keychain` | `KeychainSecret` |
/// | `vault:MOUNT/PATH#FIELD` | HashiCorp Vault or OpenBao, KV version 2; feature `vault` | `VaultSecret` |
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_secrets::SecretReference;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reference: SecretReference = "env:CARGO_PKG_NAME".parse()?;
/// let source = reference.open()?;
/// assert_eq!(source.secret().await?.expose(), "hallpass-secrets");
/// // A secret in place of a reference is refused, and not repeated.
/// let error = "s3cr3t:value".parse::<SecretReference>().unwrap_err();
/// assert!(!error.to_string().contains("s3cr3t"));
/// # Ok(())
/// # }
/// ```
///
/// # Commands
///
/// The command is a program and its arguments, and no shell reads it. Arguments are separated by spaces, and a
/// backslash is literal. If an argument holds a space or one of `` "'`$&|;<> ``, which only a shell would interpret,
/// write program and arguments as a JSON array:
///
/// ```
/// # use hallpass_secrets::SecretReference;
/// let plain = "command:pass show orders/client-secret".parse::<SecretReference>()?;
/// let array = r#"command:["get-secret", "--label", "orders service"]"#.parse::<SecretReference>()?;
/// assert!("command:echo \"$SECRET\"".parse::<SecretReference>().is_err());
/// # Ok::<(), hallpass_secrets::InvalidReference>(())
/// ```
///
/// # Vault
///
/// The first part of the path is the mount, the rest is the secret's path in it. Address, token and namespace are
/// found as by Vault's own command: `VAULT_ADDR`, `VAULT_TOKEN` or else the file `.vault-token` in the home directory,
/// and `VAULT_NAMESPACE`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretReference(Arc<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    place: SecretLocation,
    #[cfg_attr(not(feature = "vault"), allow(dead_code))]
    // A caller may allow it, whichever features are enabled.
    allow_http_on_loopback: bool,
    #[cfg_attr(not(feature = "command"), allow(dead_code))]
    command_timeout: Option<Duration>,
}

#[derive(Clone, PartialEq, Eq)]
enum SecretLocation {
    Env(String),
    File(PathBuf),
    Command {
        program: String,
        arguments: Vec<String>,
    },
    Systemd(String),
    #[cfg_attr(not(feature = "keychain"), allow(dead_code))]
    Keychain {
        service: String,
        user: String,
    },
    #[cfg_attr(not(feature = "vault"), allow(dead_code))]
    Vault {
        mount: String,
        path: String,
        field: String,
    },
}

impl SecretReference {
    /// Creates a reference to a file from its path: for a setting that takes only files.
    ///
    /// ```
    /// use hallpass_secrets::SecretReference;
    ///
    /// let error = SecretReference::from_file("client-secret").unwrap_err();
    /// assert!(error.to_string().starts_with("the path is not absolute"));
    /// ```
    ///
    /// # Errors
    ///
    /// An [`InvalidReference`] if the path is not absolute: a relative one would depend on the directory that the
    /// program is started in. Also if it ends like a directory's, as `/run/secrets/` does.
    pub fn from_file(path: &str) -> Result<Self, InvalidReference> {
        if !Path::new(path).is_absolute() {
            return Err(InvalidReference(if cfg!(windows) {
                r"the path is not absolute, as `C:\secrets\client` is; variables are not expanded"
            } else {
                "the path is not absolute, as `/run/secrets/client` is; `~` and variables are not expanded"
            }));
        }
        file(path).map(Self::from_location)
    }

    /// Allows plain HTTP to a Vault on this machine: a development server, or an agent. The danger: other users of
    /// this machine may listen. HTTP to any other host stays forbidden.
    #[must_use]
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        Arc::make_mut(&mut self.0).allow_http_on_loopback = true;
        self
    }

    /// Sets the timeout of a `command:`, after which it is killed. Default: 10 s. Has no effect on other references.
    #[must_use]
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        Arc::make_mut(&mut self.0).command_timeout = Some(timeout);
        self
    }

    /// Returns true for a `command:`.
    pub fn runs_a_command(&self) -> bool {
        matches!(self.0.place, SecretLocation::Command { .. })
    }

    /// Returns a text that differs between references to different places, and is the same for equal ones, with all
    /// arguments of a command. To compare references, or for a digest of settings: the arguments may hold anything, so do
    /// not show it.
    pub fn canonical(&self) -> String {
        match &self.0.place {
            SecretLocation::Command { program, arguments } => {
                format!("command:{program:?} {arguments:?}")
            }
            // By its components, as paths are compared.
            SecretLocation::File(path) => {
                format!("file:{}", path.components().collect::<PathBuf>().display())
            }
            _ => self.to_string(),
        }
    }

    /// Opens the source that the reference names. No secret is read yet, and no network request is made.
    ///
    /// # Errors
    ///
    /// A [`SecretError`] if the source cannot be set up: a feature of this crate is off, or a variable is missing.
    pub fn open(&self) -> Result<Arc<dyn SecretSource>, SecretError> {
        Ok(match &self.0.place {
            SecretLocation::Env(name) => Arc::new(EnvSecret::new(name)),
            SecretLocation::File(path) => Arc::new(FileSecret::new(path)),
            #[cfg(feature = "command")]
            SecretLocation::Command { program, arguments } => {
                let command = crate::CommandSecret::new(program, arguments);
                Arc::new(match self.0.command_timeout {
                    Some(timeout) => command.timeout(timeout),
                    None => command,
                })
            }
            #[cfg(not(feature = "command"))]
            SecretLocation::Command { .. } => return Err(feature_is_off("command")),
            SecretLocation::Systemd(name) => Arc::new(SystemdCredential::new(name)?),
            #[cfg(feature = "keychain")]
            SecretLocation::Keychain { service, user } => {
                Arc::new(crate::KeychainSecret::new(service, user))
            }
            #[cfg(not(feature = "keychain"))]
            SecretLocation::Keychain { .. } => return Err(feature_is_off("keychain")),
            #[cfg(feature = "vault")]
            SecretLocation::Vault { mount, path, field } => {
                let mut vault = crate::VaultSecret::from_env(mount, path, field)?;
                if self.0.allow_http_on_loopback {
                    vault = vault.danger_allow_http_on_loopback();
                }
                Arc::new(vault.build()?)
            }
            #[cfg(not(feature = "vault"))]
            SecretLocation::Vault { .. } => return Err(feature_is_off("vault")),
        })
    }

    fn from_location(place: SecretLocation) -> Self {
        Self(Arc::new(Inner {
            place,
            allow_http_on_loopback: false,
            command_timeout: None,
        }))
    }
}

#[cfg(not(all(feature = "command", feature = "keychain", feature = "vault")))]
fn feature_is_off(feature: &str) -> SecretError {
    SecretError::new(format!(
        "this program was built without the feature `{feature}`, which `{feature}:` needs; \
         build it with the feature of `hallpass`, or of `hallpass-cli` for the command"
    ))
}

impl FromStr for SecretReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (scheme, rest) = text.split_once(':').ok_or(NO_REFERENCE)?;
        let place = match scheme {
            "env" => env(rest),
            "file" => file(rest),
            "command" => command(rest),
            "systemd" => systemd(rest),
            "keychain" => keychain(rest),
            "vault" => vault(rest),
            _ => Err(NO_REFERENCE),
        }?;
        Ok(Self::from_location(place))
    }
}

fn env(name: &str) -> Result<SecretLocation, InvalidReference> {
    let legal = |char: char| char.is_ascii_alphanumeric() || char == '_';
    if name.is_empty()
        || !name.chars().all(legal)
        || name.starts_with(|char: char| char.is_ascii_digit())
    {
        return Err(InvalidReference(
            "`env:` must be followed by the name of a variable, of letters, digits and `_`, as in `env:CLIENT_SECRET`",
        ));
    }
    Ok(SecretLocation::Env(name.to_owned()))
}

fn file(path: &str) -> Result<SecretLocation, InvalidReference> {
    if !Path::new(path).is_absolute() {
        return Err(InvalidReference(if cfg!(windows) {
            r"`file:` must be followed by an absolute path, as in `file:C:\secrets\client`; variables are not expanded"
        } else {
            "`file:` must be followed by an absolute path, as in `file:/run/secrets/client`; `~` and variables are not expanded"
        }));
    }
    if cfg!(windows) && path.contains(char::is_control) {
        return Err(InvalidReference(
            r#"`file:` must be followed by a path without tabs and other control characters; in JSON and in TOML's "..." a `\` is written `\\`"#,
        ));
    }
    let last = path.rsplit(is_separator).next();
    if matches!(last, Some("" | "." | "..")) {
        return Err(InvalidReference(
            "`file:` must be followed by the path of a file, not that of a directory",
        ));
    }
    Ok(SecretLocation::File(path.into()))
}

fn command(text: &str) -> Result<SecretLocation, InvalidReference> {
    let mut words: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|_| {
            InvalidReference(
                "`command:` with a `[` must be followed by a JSON array of strings, as in `command:[\"pass\", \"show\", \"my secret\"]`",
            )
        })?
    } else {
        if text.contains(['"', '\'', '`', '$', '&', '|', ';', '<', '>']) {
            return Err(InvalidReference(
                "`command:` must be followed by words without shell characters, since no shell is used; write program and arguments as a JSON array, as in `command:[\"pass\", \"show\", \"my secret\"]`",
            ));
        }
        text.split_ascii_whitespace().map(str::to_owned).collect()
    };
    if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
        return Err(InvalidReference(
            "`command:` must be followed by a program, as in `command:pass show orders/client-secret`",
        ));
    }
    Ok(SecretLocation::Command {
        program: words.remove(0),
        arguments: words,
    })
}

fn systemd(name: &str) -> Result<SecretLocation, InvalidReference> {
    if !systemd::is_name(name) {
        return Err(InvalidReference(
            "`systemd:` must be followed by the name of a credential, as in `systemd:client-secret`",
        ));
    }
    Ok(SecretLocation::Systemd(name.to_owned()))
}

/// Parses `SERVICE/USER`. A user's name has no `/`; a service's may.
fn keychain(text: &str) -> Result<SecretLocation, InvalidReference> {
    let parts = text.rsplit_once('/');
    let (service, user) = parts
        .filter(|(service, user)| !service.is_empty() && !user.is_empty())
        .ok_or(InvalidReference(
            "`keychain:` must be followed by a service and a user, as in `keychain:orders/client-secret`",
        ))?;
    Ok(SecretLocation::Keychain {
        service: service.to_owned(),
        user: user.to_owned(),
    })
}

fn vault(text: &str) -> Result<SecretLocation, InvalidReference> {
    let parts = text.rsplit_once('#').and_then(|(path, field)| {
        let (mount, path) = path.split_once('/')?;
        let good = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
        let whole = good(mount) && !field.is_empty() && path.split('/').all(good);
        whole.then_some((mount, path, field))
    });
    let (mount, path, field) = parts.ok_or(InvalidReference(
        "`vault:` must be followed by a mount, a path and a field, as in `vault:secret/orders/client#secret`",
    ))?;
    Ok(SecretLocation::Vault {
        mount: mount.to_owned(),
        path: path.to_owned(),
        field: field.to_owned(),
    })
}

/// Shows the reference as it was written; of a command, the program only, since arguments may hold anything.
impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            SecretLocation::Env(name) => write!(f, "env:{name}"),
            SecretLocation::File(path) => write!(f, "file:{}", path.display()),
            SecretLocation::Command { program, arguments } => {
                let more = if arguments.is_empty() { "" } else { " .." };
                write!(f, "command:{program}{more}")
            }
            SecretLocation::Systemd(name) => write!(f, "systemd:{name}"),
            SecretLocation::Keychain { service, user } => write!(f, "keychain:{service}/{user}"),
            SecretLocation::Vault { mount, path, field } => {
                write!(f, "vault:{mount}/{path}#{field}")
            }
        }
    }
}

impl fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretReference({:?})", self.to_string())
    }
}

/// The error for a text that is no [`SecretReference`]. The message describes the syntax and repeats nothing of the
/// text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidReference(&'static str);

const NO_REFERENCE: InvalidReference = InvalidReference(
    "this is not a secret reference, and a secret itself does not belong here; store it elsewhere and refer to it: `env:NAME`, `file:/path`, `command:program argument`, `systemd:NAME`, `keychain:SERVICE/USER` or `vault:MOUNT/PATH#FIELD`",
);

#[cfg(test)]
mod tests;
