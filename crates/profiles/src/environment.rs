//! Settings from the environment.

use std::{env, ffi::OsString};

use hallpass_endpoint::SecurityProfile;
use hallpass_secrets::SecretReference;

use crate::error::ProfileError;
use crate::{
    layer::Layer,
    unit::{ClientUnit, ServerUnit, SettingSource},
    values,
};

/// The variables of a process. An empty one counts as unset.
pub(crate) struct Variables(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Variables {
    pub(crate) fn new(look_up: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self(Box::new(look_up))
    }

    pub(crate) fn of_this_process() -> Self {
        Self::new(|name| env::var_os(name))
    }

    pub(crate) fn os(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// Returns the variable's value; an error never shows it.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ProfileError> {
        let value = self.os(name).map(OsString::into_string).transpose();
        value.map_err(|_| ProfileError::new(format!("the variable `{name}` is not valid Unicode")))
    }
}

/// A variable that camall.io's adapter reads too.
const CAMALL_VARIABLE: &str = "CAMALL_CLIENT_ID";

/// Reads the variables of this command, and those of camall's adapter if neither a profile nor a `HALLPASS_` variable
/// names a server.
pub(crate) fn read_layer(variables: &Variables, profile: bool) -> Result<Layer, ProfileError> {
    let text = |name: &str| variables.text(name);
    let ours = read_prefixed(variables, "HALLPASS")?;
    let ours = Layer {
        server: ServerUnit {
            provider: text("HALLPASS_PROVIDER")?,
            issuer: text("HALLPASS_ISSUER")?,
            ..ours.server
        },
        client: ClientUnit {
            private_key: read_reference(variables, "HALLPASS_PRIVATE_KEY")?,
            certificate: read_reference(variables, "HALLPASS_CERTIFICATE")?,
            key_id: text("HALLPASS_KEY_ID")?,
            assertion: read_reference(variables, "HALLPASS_ASSERTION")?,
            ..ours.client
        },
        dpop: read_reference(variables, "HALLPASS_DPOP")?,
        security_profile: read_security_profile(variables)?,
        audience: text("HALLPASS_AUDIENCE")?.into_iter().collect(),
        resource: text("HALLPASS_RESOURCE")?.into_iter().collect(),
        ..ours
    };
    if profile || ours.server.setting().is_some() || variables.os(CAMALL_VARIABLE).is_none() {
        return Ok(ours);
    }
    let camall = read_prefixed(variables, "CAMALL")?;
    let server = ServerUnit {
        provider: Some("camall".to_owned()),
        ..camall.server
    };
    Ok(ours.over(Layer { server, ..camall }))
}

/// Reads the variables that this command and camall's adapter name alike.
fn read_prefixed(variables: &Variables, prefix: &'static str) -> Result<Layer, ProfileError> {
    let source = SettingSource::Variables(prefix);
    let text = |name: &str| variables.text(&format!("{prefix}_{name}"));
    let method = text("AUTHENTICATION")?;
    let method = method
        .map(|method| values::parse_method(&method))
        .transpose();
    let client = ClientUnit {
        client_id: text("CLIENT_ID")?,
        client_secret: read_reference(variables, &format!("{prefix}_CLIENT_SECRET"))?,
        authentication: method.map_err(|why| {
            ProfileError::new(format!("the variable `{prefix}_AUTHENTICATION`: {why}"))
        })?,
        ..ClientUnit::default()
    };
    Ok(Layer {
        client: client.with_source(&source),
        server: ServerUnit {
            source,
            token_endpoint: text("TOKEN_ENDPOINT")?,
            ..ServerUnit::default()
        },
        scope: text("SCOPE")?,
        ..Layer::default()
    })
}

fn read_security_profile(variables: &Variables) -> Result<Option<SecurityProfile>, ProfileError> {
    const NAME: &str = "HALLPASS_SECURITY_PROFILE";
    let named = variables.text(NAME)?;
    let named = named.map(|name| values::parse_security_profile(&name));
    let named = named.transpose();
    named.map_err(|why| ProfileError::new(format!("the variable `{NAME}`: {why}")))
}

/// Returns a reference to a secret that a variable holds or refers to. The secret itself is read when it is needed.
fn read_reference(
    variables: &Variables,
    name: &str,
) -> Result<Option<SecretReference>, ProfileError> {
    let from = format!("{name}_FROM");
    let file = format!("{name}_FILE");
    let mut named = Vec::new();
    if variables.os(name).is_some() {
        named.push((name, format!("env:{name}").parse::<SecretReference>()));
    }
    if let Some(reference) = variables.text(&from)? {
        named.push((&*from, reference.parse()));
    }
    if let Some(path) = variables.text(&file)? {
        named.push((&*file, SecretReference::from_file(&path)));
    }
    if let [(one, _), (other, _), ..] = &*named {
        return Err(ProfileError::new(format!(
            "both `{one}` and `{other}` are set; remove one of them"
        )));
    }
    let Some((named_by, reference)) = named.pop() else {
        return Ok(None);
    };
    reference
        .map(Some)
        .map_err(|why| ProfileError::new(format!("the variable `{named_by}`: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::AuthenticationMethod;

    fn variables(list: &'static [(&str, &str)]) -> Variables {
        Variables::new(|name| {
            let found = list.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    const CAMALL: [(&str, &str); 4] = [
        ("CAMALL_CLIENT_ID", "orders"),
        ("CAMALL_CLIENT_SECRET", "CANARY"),
        ("CAMALL_AUTHENTICATION", "client_secret_basic_raw"),
        ("HALLPASS_SCOPE", "a"),
    ];

    #[test]
    fn camall_variables_apply_if_no_server_is_set() {
        let read = |profile| read_layer(&variables(&CAMALL), profile).unwrap();
        let alone = read(false);
        assert_eq!(alone.server.provider.as_deref(), Some("camall"));
        assert_eq!(alone.client.client_id.as_deref(), Some("orders"));
        assert_eq!(
            alone.client.authentication,
            Some(AuthenticationMethod::ClientSecretBasicRaw)
        );
        assert_eq!(alone.scope.as_deref(), Some("a"));
        assert!(alone.client.client_secret.is_some());
        let with_profile = read(true);
        assert!(
            with_profile.server.provider.is_none() && with_profile.client.client_secret.is_none()
        );
    }

    // covers: F-99, F-113
    #[test]
    fn errors_name_the_variable_and_not_its_value() {
        for (list, says) in [
            (
                &[("HALLPASS_AUTHENTICATION", "CANARY")][..],
                "HALLPASS_AUTHENTICATION",
            ),
            (
                &[("HALLPASS_CLIENT_SECRET_FROM", "CANARY")][..],
                "HALLPASS_CLIENT_SECRET_FROM",
            ),
            (
                &[("HALLPASS_CLIENT_SECRET_FILE", "CANARY")][..],
                "`HALLPASS_CLIENT_SECRET_FILE`: the path is not absolute",
            ),
            (
                &[
                    ("HALLPASS_CLIENT_SECRET_FROM", "file:/x"),
                    ("HALLPASS_CLIENT_SECRET", "CANARY"),
                ][..],
                "remove one of them",
            ),
        ] {
            let error = read_layer(&variables(list), false).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("CANARY"), "{error}");
        }
        assert!(
            !format!("{:?}", read_layer(&variables(&CAMALL), false).unwrap()).contains("CANARY")
        );
    }

    // covers: F-113
    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_unicode_is_named() {
        use std::os::unix::ffi::OsStringExt as _;

        let variables = Variables::new(|_| Some(OsString::from_vec(vec![0xff])));
        let error = read_layer(&variables, false).unwrap_err().to_string();
        assert!(error.contains("not valid Unicode"), "{error}");
    }
}
