//! Configuration from environment variables.

use std::{env, ffi::OsString, sync::Arc};

use hallpass_core::{Secret, SecretSource};
use hallpass_endpoint::BuildError;
use hallpass_secrets::FileSecret;

use crate::{Authentication, Camall, CamallBuilder};

impl Camall {
    /// Creates a builder from environment variables:
    ///
    /// | variable | |
    /// |---|---|
    /// | `CAMALL_CLIENT_ID` | required |
    /// | `CAMALL_CLIENT_SECRET` | the secret; read once, here |
    /// | `CAMALL_CLIENT_SECRET_FILE` | or the path of a file that holds it; read at each request, so that it may rotate |
    /// | `CAMALL_SCOPE` | scopes with spaces between them; none by default |
    /// | `CAMALL_AUTHENTICATION` | `client_secret_post` (default), `client_secret_basic` or `client_secret_basic_raw`, which sends the credentials without encoding |
    /// | `CAMALL_TOKEN_ENDPOINT` | another server than camall.io's |
    ///
    /// An empty variable counts as absent.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the missing or invalid variable, and never shows its value.
    pub fn from_env() -> Result<CamallBuilder, BuildError> {
        read(|name| env::var_os(name))
    }
}

const SECRET: &str = "CAMALL_CLIENT_SECRET";
const SECRET_FILE: &str = "CAMALL_CLIENT_SECRET_FILE";

fn read(look_up: impl Fn(&str) -> Option<OsString>) -> Result<CamallBuilder, BuildError> {
    let optional = |name: &'static str| {
        look_up(name)
            .filter(|value| !value.is_empty())
            .map(OsString::into_string)
            .transpose()
            .map_err(|_| BuildError::new(name, "the variable is not valid Unicode"))
    };
    let client_id = optional("CAMALL_CLIENT_ID")?;
    let client_id = client_id.ok_or_else(|| {
        BuildError::new(
            "CAMALL_CLIENT_ID",
            "the variable is not set; set and export it",
        )
    })?;
    let file = look_up(SECRET_FILE).filter(|path| !path.is_empty());
    let secret: Arc<dyn SecretSource> = match (optional(SECRET)?, file) {
        (Some(_), Some(_)) => {
            return Err(BuildError::new(
                SECRET_FILE,
                "`CAMALL_CLIENT_SECRET` is set too; set one of them",
            ));
        }
        (None, Some(path)) => Arc::new(FileSecret::new(path)),
        (Some(secret), None) => {
            let secret = Secret::new(secret);
            Arc::new(secret.map_err(|error| BuildError::new(SECRET, error.to_string()))?)
        }
        (None, None) => {
            return Err(BuildError::new(
                SECRET,
                "the variable is not set; set it and export it, or name a file in `CAMALL_CLIENT_SECRET_FILE`",
            ));
        }
    };
    let mut builder = CamallBuilder::new(client_id, secret);
    if let Some(scope) = optional("CAMALL_SCOPE")? {
        builder = builder.scope(&scope);
    }
    if let Some(url) = optional("CAMALL_TOKEN_ENDPOINT")? {
        builder = builder.token_endpoint(url);
    }
    if let Some(name) = optional("CAMALL_AUTHENTICATION")? {
        builder = builder.authentication(match name.as_str() {
            "client_secret_post" => Authentication::Post,
            "client_secret_basic" => Authentication::Basic,
            "client_secret_basic_raw" => Authentication::BasicRaw,
            _ => {
                return Err(BuildError::new(
                    "CAMALL_AUTHENTICATION",
                    "the variable must be `client_secret_post`, `client_secret_basic` or `client_secret_basic_raw`",
                ));
            }
        });
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(variables: &[(&str, &str)]) -> Result<Camall, BuildError> {
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        read(value)?.build()
    }

    const CLIENT: [(&str, &str); 2] = [
        ("CAMALL_CLIENT_ID", "orders"),
        ("CAMALL_CLIENT_SECRET", "CANARY"),
    ];

    #[test]
    fn id_and_secret_suffice() {
        let source = build(&CLIENT).unwrap();
        let shown = format!("{source:?}");
        assert!(
            shown.contains("login.camall.io") && !shown.contains("CANARY"),
            "{shown}"
        );
    }

    // covers: F-105
    #[test]
    fn a_secret_file_replaces_the_secret_variable() {
        let file = ("CAMALL_CLIENT_SECRET_FILE", "/run/secrets/no-such-file");
        let source = build(&[CLIENT[0], file]).unwrap();
        let shown = format!("{source:?}");
        assert!(shown.contains("/run/secrets/no-such-file"), "{shown}");
        let error = build(&[CLIENT[0], CLIENT[1], file]).unwrap_err();
        assert_eq!(error.setting(), "CAMALL_CLIENT_SECRET_FILE");
        assert!(build(&[CLIENT[0], CLIENT[1], ("CAMALL_CLIENT_SECRET_FILE", "")]).is_ok());
    }

    // covers: F-113, F-114, C-02
    #[test]
    fn an_invalid_variable_is_named_and_its_value_not_shown() {
        let with = |name, value| build(&[&CLIENT[..], &[(name, value)]].concat());
        for (result, setting) in [
            (build(&CLIENT[1..]), "CAMALL_CLIENT_ID"),
            (build(&CLIENT[..1]), "CAMALL_CLIENT_SECRET"),
            (
                build(&[CLIENT[0], ("CAMALL_CLIENT_SECRET", "")]),
                "CAMALL_CLIENT_SECRET",
            ),
            (with("CAMALL_SCOPE", "a\"b"), "scope"),
            (
                with("CAMALL_AUTHENTICATION", "Basic"),
                "CAMALL_AUTHENTICATION",
            ),
            (
                with("CAMALL_TOKEN_ENDPOINT", "http://login.example/"),
                "token_endpoint",
            ),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.setting(), setting);
            assert!(!error.to_string().contains("CANARY"), "{error}");
        }
        for fine in [
            "client_secret_post",
            "client_secret_basic",
            "client_secret_basic_raw",
            "",
        ] {
            assert!(with("CAMALL_AUTHENTICATION", fine).is_ok(), "{fine}");
        }
    }

    // covers: F-113
    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_unicode_is_an_error() {
        use std::os::unix::ffi::OsStringExt as _;

        let error = read(|_| Some(OsString::from_vec(vec![0xff]))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CAMALL_CLIENT_ID: the variable is not valid Unicode"
        );
    }
}
