//! Settings that belong together: those of a server, and those of a client. Each group comes from one source as a
//! whole.
//!
//! Credentials from one source are never sent to a server from another source unless a flag allows it: a variable left
//! in a shell must not send a profile's secret elsewhere.

use hallpass_secrets::SecretReference;

use crate::{error::ProfileError, method::AuthenticationMethod, provider::Table};

/// The source of a setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingSource {
    /// The program, by flags.
    #[default]
    Flags,
    /// Environment variables with this prefix.
    Variables(&'static str),
    /// The profile of this name.
    Profile(String),
}

impl SettingSource {
    /// Returns the name of a setting as it is written in this source.
    pub fn name_of(&self, setting: &str) -> String {
        match self {
            Self::Flags => format!("`--{}`", setting.replace('_', "-")),
            // The variables of camall.io imply the server without naming it.
            Self::Variables("CAMALL") if setting == "provider" => {
                "the variable `CAMALL_CLIENT_ID`".to_owned()
            }
            Self::Variables(prefix) => {
                format!("the variable `{prefix}_{}`", setting.to_ascii_uppercase())
            }
            Self::Profile(name) => format!("`{setting}` of the profile `{name}`"),
        }
    }
}

/// The authorization server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerUnit {
    pub(crate) source: SettingSource,
    pub(crate) provider: Option<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// Set by profiles only.
    pub(crate) provider_settings: Table,
    pub(crate) token_endpoint: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) openid_discovery: Option<bool>,
    pub(crate) danger_token_endpoint_as_audience: Option<bool>,
    /// Boxed, as few profiles set it.
    pub(crate) assertion: Option<Box<AssertionUnit>>,
}

/// The audience and the type of assertions for a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AssertionUnit {
    pub(crate) audience: Option<Box<str>>,
    pub(crate) typ: Option<Box<str>>,
}

impl ServerUnit {
    /// Returns the setting that names the server, if there is one.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        first_set([
            ("token_endpoint", self.token_endpoint.is_some()),
            ("issuer", self.issuer.is_some()),
            ("provider", self.provider.is_some()),
        ])
    }

    /// Returns this unit, or the one below if this one sets nothing different.
    pub(crate) fn over(self, below: Self) -> Self {
        let variables = &below.variables;
        let is_part = is_part(self.provider.as_ref(), below.provider.as_ref())
            && is_part(self.token_endpoint.as_ref(), below.token_endpoint.as_ref())
            && is_part(self.issuer.as_ref(), below.issuer.as_ref())
            && is_part(
                self.openid_discovery.as_ref(),
                below.openid_discovery.as_ref(),
            )
            && is_part(
                self.danger_token_endpoint_as_audience.as_ref(),
                below.danger_token_endpoint_as_audience.as_ref(),
            )
            && is_part(self.assertion.as_ref(), below.assertion.as_ref())
            && self.variables.iter().all(|pair| variables.contains(pair))
            && (!self.provider_settings.is_set()
                || self.provider_settings == below.provider_settings);
        if is_part { below } else { self }
    }
}

/// The client and its credential.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientUnit {
    pub(crate) id_source: SettingSource,
    pub(crate) client_id: Option<String>,
    pub(crate) credential_source: SettingSource,
    pub(crate) client_secret: Option<SecretReference>,
    pub(crate) private_key: Option<SecretReference>,
    pub(crate) certificate: Option<SecretReference>,
    pub(crate) assertion: Option<SecretReference>,
    pub(crate) method_source: SettingSource,
    pub(crate) authentication: Option<AuthenticationMethod>,
    pub(crate) bound_tokens: Option<bool>,
    pub(crate) send_certificate_chain: Option<bool>,
    pub(crate) key_id: Option<String>,
    pub(crate) algorithm: Option<String>,
}

impl ClientUnit {
    /// Sets the source of all of these settings.
    pub(crate) fn with_source(self, source: &SettingSource) -> Self {
        Self {
            id_source: source.clone(),
            credential_source: source.clone(),
            method_source: source.clone(),
            ..self
        }
    }

    /// Returns the setting that holds the credential, if there is one.
    pub(crate) fn credential(&self) -> Option<&'static str> {
        first_set([
            ("client_secret", self.client_secret.is_some()),
            ("private_key", self.private_key.is_some()),
            ("certificate", self.certificate.is_some()),
            ("assertion", self.assertion.is_some()),
        ])
    }

    /// Returns true if the client has what its method needs, so that no other source is read.
    fn is_complete(&self) -> bool {
        self.client_id.is_some() && (self.credential().is_some() || self.needs_none())
    }

    /// Returns true if these settings are sufficient with those of this server, and may be used together.
    pub(crate) fn is_complete_for(&self, server: &ServerUnit) -> bool {
        server.setting().is_some() && self.is_complete() && self.check(server).is_ok()
    }

    /// Returns true if the credential and its method are set by this source.
    pub(crate) fn is_of(&self, source: &SettingSource) -> bool {
        self.credential_source == *source && self.method_source == *source
    }

    fn needs_none(&self) -> bool {
        self.authentication == Some(AuthenticationMethod::None)
    }

    /// Returns this unit, completed from the one below if it is incomplete.
    pub(crate) fn over(mut self, below: Self) -> Self {
        if is_part(self.client_id.as_ref(), below.client_id.as_ref())
            && is_part(self.client_secret.as_ref(), below.client_secret.as_ref())
            && is_part(self.private_key.as_ref(), below.private_key.as_ref())
            && is_part(self.certificate.as_ref(), below.certificate.as_ref())
            && is_part(self.assertion.as_ref(), below.assertion.as_ref())
        {
            // Only the method can be set here: the client comes from below.
            return below.with_method_of(self);
        }
        if self.is_complete() {
            return self;
        }
        if self.client_id.is_none() {
            self.client_id = below.client_id;
            self.id_source = below.id_source;
        }
        if self.credential().is_some() {
            return self;
        }
        let method = Self {
            client_id: self.client_id.take(),
            id_source: self.id_source.clone(),
            ..below
        };
        method.with_method_of(self)
    }

    /// Replaces this unit's method with one from a source above.
    fn with_method_of(self, above: Self) -> Self {
        let method_source = match above.authentication {
            Some(_) => above.method_source,
            None => self.method_source,
        };
        Self {
            method_source,
            authentication: above.authentication.or(self.authentication),
            bound_tokens: above.bound_tokens.or(self.bound_tokens),
            send_certificate_chain: above.send_certificate_chain.or(self.send_certificate_chain),
            key_id: above.key_id.or(self.key_id),
            algorithm: above.algorithm.or(self.algorithm),
            ..self
        }
    }

    /// Checks that server, client and credential come from one source.
    ///
    /// # Errors
    ///
    /// Fails if they do not; the error names both sources.
    pub(crate) fn check(&self, server: &ServerUnit) -> Result<(), ProfileError> {
        let credential = self.credential().filter(|_| !self.needs_none());
        let (Some(credential), Some(server_setting)) = (credential, server.setting()) else {
            return Ok(());
        };
        let (what, by) = if self.credential_source != server.source {
            ("server", server.source.name_of(server_setting))
        } else if self.client_id.is_some() && self.id_source != self.credential_source {
            ("client", self.id_source.name_of("client_id"))
        } else {
            return Ok(());
        };
        let credential_name = self.credential_source.name_of(credential);
        let failure = ProfileError::new(format!(
            "the {what} is set by {by}, and its credential by {credential_name}; a credential is used only with a \
             server and a client from the same source"
        ));
        Err(failure.with_hint(match (&self.credential_source, &server.source) {
            (SettingSource::Variables(prefix), SettingSource::Profile(_)) => format!(
                "to use both, set `{credential} = \"env:{prefix}_{}\"` in the profile, or pass `--{ALLOW_MIXED}`",
                credential.to_ascii_uppercase()
            ),
            _ => format!("set both in the same source, or pass `--{ALLOW_MIXED}`"),
        }))
    }
}

/// The flag that allows server and credential from different sources.
const ALLOW_MIXED: &str = "danger-allow-mixed-settings";

fn is_part<T: PartialEq>(above: Option<&T>, below: Option<&T>) -> bool {
    above.is_none() || above == below
}

fn first_set<const N: usize>(settings: [(&'static str, bool); N]) -> Option<&'static str> {
    let mut set = settings.into_iter().filter(|(_, is_set)| *is_set);
    set.next().map(|(setting, _)| setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(source: &SettingSource, endpoint: Option<&str>, issuer: Option<&str>) -> ServerUnit {
        ServerUnit {
            source: source.clone(),
            token_endpoint: endpoint.map(str::to_owned),
            issuer: issuer.map(str::to_owned),
            ..ServerUnit::default()
        }
    }

    fn client(source: &SettingSource, id: Option<&str>, secret: Option<&str>) -> ClientUnit {
        let secret = secret.map(|name| format!("env:{name}").parse().unwrap());
        ClientUnit {
            client_id: id.map(str::to_owned),
            client_secret: secret,
            ..ClientUnit::default()
        }
        .with_source(source)
    }

    #[test]
    fn a_server_is_replaced_as_a_whole() {
        let (flags, profile) = (SettingSource::Flags, SettingSource::Profile("a".into()));
        let below = server(&profile, Some("https://a/t"), Some("https://a"));
        let over = |above: ServerUnit| above.over(below.clone());
        let other = over(server(&flags, None, Some("https://b")));
        assert_eq!((other.token_endpoint, other.source), (None, flags.clone()));
        let other = over(server(&flags, Some("https://b/t"), None));
        assert_eq!(other.issuer, None);
        // A provider's own settings are a part of the server.
        let mut above = server(&flags, Some("https://a/t"), None);
        above.provider_settings.location = "config.toml, line 2".into();
        assert!(over(above.clone()).provider_settings.is_set());
        let mut below = server(&profile, Some("https://a/t"), None);
        below.provider_settings.location = "config.toml, line 9".into();
        assert_eq!(above.over(below).source, profile);
        // Repeating a value changes nothing.
        for same in [
            server(&flags, None, None),
            server(&flags, None, Some("https://a")),
            server(&flags, Some("https://a/t"), None),
        ] {
            let same = over(same);
            assert!(same.token_endpoint.is_some() && same.source == profile);
        }
    }

    #[test]
    fn server_client_and_credential_come_from_one_source() {
        let (flags, variables) = (SettingSource::Flags, SettingSource::Variables("HALLPASS"));
        let profile = SettingSource::Profile("a".into());
        let known = server(&profile, Some("https://a/t"), None);
        let below = client(&profile, Some("orders"), Some("SECRET"));
        let check = |above: ClientUnit, server: &ServerUnit| {
            let client = above.over(below.clone());
            client.check(server).map_err(|failure| failure.to_string())
        };
        for fit in [
            client(&flags, None, None),
            client(&flags, Some("orders"), None),
            client(&variables, None, Some("SECRET")),
            client(&variables, Some("orders"), Some("SECRET")),
        ] {
            check(fit, &known).unwrap();
        }
        for (above, server, says) in [
            (
                client(&variables, Some("x"), Some("X")),
                known.clone(),
                [
                    "`token_endpoint` of the profile `a`",
                    "`HALLPASS_CLIENT_SECRET`",
                ],
            ),
            (
                client(&variables, None, Some("X")),
                known.clone(),
                ["env:HALLPASS_CLIENT_SECRET", "--danger-allow-mixed"],
            ),
            (
                client(&flags, Some("x"), None),
                known.clone(),
                ["`--client-id`", "`client_secret` of the profile `a`"],
            ),
            (
                client(&flags, None, None),
                server(&variables, None, Some("https://b")),
                ["`HALLPASS_ISSUER`", "`client_secret` of the profile `a`"],
            ),
        ] {
            let message = check(above, &server).unwrap_err();
            assert!(says.iter().all(|says| message.contains(says)), "{message}");
        }
    }

    #[test]
    fn a_method_alone_applies_to_the_client_below() {
        let (flags, profile) = (SettingSource::Flags, SettingSource::Profile("a".into()));
        let method = ClientUnit {
            authentication: Some(AuthenticationMethod::ClientSecretPost),
            ..ClientUnit::default()
        };
        let below = ClientUnit {
            authentication: Some(AuthenticationMethod::ClientSecretBasic),
            ..client(&profile, Some("orders"), Some("SECRET"))
        };
        let both = method.with_source(&flags).over(below.clone());
        assert_eq!(
            both.authentication,
            Some(AuthenticationMethod::ClientSecretPost)
        );
        assert_eq!(both.client_id.as_deref(), Some("orders"));
        // It does not apply to another client.
        let other = client(&flags, Some("x"), Some("X")).over(below);
        assert_eq!(other.authentication, None);
    }
}
