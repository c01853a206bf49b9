//! The settings of a profile, for a registered provider.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use hallpass_core::SecretSource;
use hallpass_endpoint::{
    ClientAuthentication, ClientCredentials, Endpoint, HttpTransport, Retry, SourceBuilder,
};
use hallpass_secrets::SecretReference;

use super::table::{Entry, Table, Value};
use crate::{error::ProfileError, values};

/// The settings that hold the client's credential.
const CREDENTIALS: [&str; 5] = [
    "client_secret",
    "private_key",
    "certificate",
    "assertion",
    "authentication",
];
const TRANSPORT: [&str; 6] = [
    "timeout",
    "connect_timeout",
    "ca_file",
    "proxy",
    "user_agent",
    "compressed_responses",
];
/// The settings for the requests to a token endpoint, and for its responses.
const RESPONSE: [&str; 11] = [
    "token_type_name",
    "default_lifetime",
    "dpop",
    "security_profile",
    "max_lifetime",
    "lenient_responses",
    "grant_type",
    "json_requests",
    "request_headers",
    "token_member",
    "expiry_member",
];

/// The settings of a profile beside the provider's own ones.
pub(crate) trait ServerContext {
    /// Returns the names of the settings that are set, among those that a provider may leave unused.
    fn set_settings(&self) -> Vec<&'static str>;
    fn client_id(&self) -> Result<&str, ProfileError>;
    fn client_secret(&self) -> Result<Arc<dyn SecretSource>, ProfileError>;
    fn client_authentication(&self) -> Result<Arc<dyn ClientAuthentication>, ProfileError>;
    fn open_secret(
        &self,
        setting: &str,
        reference: &SecretReference,
    ) -> Result<Arc<dyn SecretSource>, ProfileError>;
    fn endpoint(&self) -> Result<Option<Endpoint>, ProfileError>;
    fn transport(&self) -> Result<HttpTransport, ProfileError>;
    fn client_credentials(
        &self,
        endpoint: Endpoint,
    ) -> Result<SourceBuilder<ClientCredentials>, ProfileError>;
    fn retry(&self) -> Retry;
    fn allows_http_on_loopback(&self) -> bool;
}

/// The settings of a profile, for the function that a program registers with
/// [`ProfilesBuilder::provider`](crate::ProfilesBuilder::provider).
///
/// The function reads the settings that it supports: those of the profile, such as [`client_id`](Self::client_id), and
/// those of the table `provider_settings`, which are the provider's own, such as [`text`](Self::text). A setting that it
/// does not read is an error, so that a misspelled name or a credential without effect is found. The scopes, audiences,
/// resources and parameters of the profile are in the [`TokenRequest`](hallpass_core::TokenRequest) of each call.
///
/// All come from one place, as a group: a secret is here only if its profile names this provider too.
pub struct ProviderSettings<'a> {
    provider: &'a str,
    table: &'a Table,
    context: &'a dyn ServerContext,
    /// The settings of the table that were read, whether they are set or not.
    known: BTreeSet<String>,
    used: BTreeSet<&'static str>,
}

impl<'a> ProviderSettings<'a> {
    pub(super) fn new(provider: &'a str, table: &'a Table, context: &'a dyn ServerContext) -> Self {
        Self {
            provider,
            table,
            context,
            known: BTreeSet::new(),
            used: BTreeSet::new(),
        }
    }

    /// Returns the name under which the provider is registered.
    pub fn provider(&self) -> &'a str {
        self.provider
    }

    /// Returns the client identifier.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it is not set.
    pub fn client_id(&mut self) -> Result<&'a str, ProfileError> {
        self.used.insert("client_id");
        self.context.client_id()
    }

    /// Opens the client secret; it is read when it is needed.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the client has another credential or none, or the reference cannot be opened.
    pub fn client_secret(&mut self) -> Result<Arc<dyn SecretSource>, ProfileError> {
        self.used.extend(CREDENTIALS);
        self.context.client_secret()
    }

    /// Creates the client authentication, by any method that profiles support; a credential is read when it is needed.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if no credential is set, a reference cannot be opened, or a feature is missing.
    pub fn client_authentication(&mut self) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
        self.used.extend(CREDENTIALS);
        self.context.client_authentication()
    }

    /// Returns the server's address, if the profile sets `token_endpoint` or `issuer`.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the issuer is not a URL, or a setting of the transport is wrong.
    pub fn endpoint(&mut self) -> Result<Option<Endpoint>, ProfileError> {
        self.used.extend(["token_endpoint", "issuer"]);
        self.context.endpoint()
    }

    /// Returns the transport, with timeouts, proxy, user agent and certificate authorities of the profile. Sources with
    /// equal settings share it. The first call blocks for some milliseconds: it reads root certificates.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if a file of certificates cannot be read, or a setting is wrong.
    pub fn transport(&mut self) -> Result<HttpTransport, ProfileError> {
        self.used.extend(TRANSPORT);
        self.context.transport()
    }

    /// Returns a builder of a source for this token endpoint, with all settings of the profile: client, authentication,
    /// transport, retries, and checks of the response.
    ///
    /// # Errors
    ///
    /// Those of [`client_id`](Self::client_id), [`client_authentication`](Self::client_authentication) and
    /// [`transport`](Self::transport).
    pub fn client_credentials(
        &mut self,
        endpoint: impl Into<Endpoint>,
    ) -> Result<SourceBuilder<ClientCredentials>, ProfileError> {
        self.used.insert("client_id");
        self.used.extend(CREDENTIALS);
        self.used.extend(TRANSPORT);
        self.used.extend(RESPONSE);
        self.context.client_credentials(endpoint.into())
    }

    /// Returns the retries of a token request, with the deadline of a call.
    pub fn retry(&self) -> Retry {
        self.context.retry()
    }

    /// Returns true if plain HTTP to this machine is allowed, for tests.
    pub fn allows_http_on_loopback(&self) -> bool {
        self.context.allows_http_on_loopback()
    }

    /// Returns a setting of the table `provider_settings`: a string.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it has another type.
    pub fn text(&mut self, name: &str) -> Result<Option<&'a str>, ProfileError> {
        self.read(name, "expected a string in quotes", |entry| {
            match &entry.value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            }
        })
    }

    /// Returns the same for a setting that must be set.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it has another type, or is not set.
    pub fn required_text(&mut self, name: &str) -> Result<&'a str, ProfileError> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// Returns a setting of the table: a string, or a list of strings.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it has another type.
    pub fn texts(&mut self, name: &str) -> Result<Vec<&'a str>, ProfileError> {
        let expected = "expected a string in quotes, or a list of strings";
        let texts = self.read(name, expected, |entry| match &entry.value {
            Value::Text(text) => Some(vec![text.as_str()]),
            Value::Texts(texts) => Some(texts.iter().map(String::as_str).collect()),
            _ => None,
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// Returns a setting of the table: `true` or `false`.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it has another type.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ProfileError> {
        self.read(name, "expected `true` or `false`", |entry| {
            match entry.value {
                Value::Boolean(boolean) => Some(boolean),
                _ => None,
            }
        })
    }

    /// Returns a setting of the table: an integer.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it has another type.
    pub fn number(&mut self, name: &str) -> Result<Option<i64>, ProfileError> {
        self.read(name, "expected a number", |entry| match entry.value {
            Value::Number(number) => Some(number),
            _ => None,
        })
    }

    /// Returns a setting of the table: a duration such as `10s`, or a number of seconds.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it has another type, or is zero.
    pub fn duration(&mut self, name: &str) -> Result<Option<Duration>, ProfileError> {
        let expected = "expected a duration greater than zero, such as `10s`, `500ms` or `2m`";
        self.read(name, expected, |entry| match &entry.value {
            Value::Text(text) => values::parse_duration(text).ok(),
            Value::Number(seconds) => values::parse_duration(&seconds.to_string()).ok(),
            _ => None,
        })
    }

    /// Opens a secret that a setting of the table refers to, such as `file:/run/secrets/agent`; it is read when it is
    /// needed.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the setting is no reference, or the reference cannot be opened.
    pub fn secret(&mut self, name: &str) -> Result<Option<Arc<dyn SecretSource>>, ProfileError> {
        let expected = "expected a reference to a secret, such as `file:/run/secrets/client`";
        let reference = self.read(name, expected, |entry| entry.reference.as_ref())?;
        let open = |reference| {
            let opened = self.context.open_secret(name, reference);
            opened.map_err(|error| self.error(name, error.message()))
        };
        reference.map(open).transpose()
    }

    /// Returns the error for a setting of the table that must be set, and is not.
    pub fn missing(&self, name: &str) -> ProfileError {
        let error = self.error(
            name,
            format_args!("the provider `{}` requires it", self.provider),
        );
        let names = self.table.entries.keys().map(String::as_str);
        let unread = names.filter(|other| !self.known.contains(*other));
        match values::nearest_name(name, unread) {
            Some(nearest) => error.with_hint(format!(
                "a similar name is set: {}",
                values::quoted_name(nearest)
            )),
            None => error,
        }
    }

    /// Returns an error about a setting of the table, with its file and line. `why` is in lower case, and shows no value.
    pub fn error(&self, name: &str, why: impl fmt::Display) -> ProfileError {
        let entry = self.table.entries.get(name);
        let location = entry.map_or(&self.table.location, |entry| &entry.location);
        let separator = if location.is_empty() { "" } else { ": " };
        ProfileError::new(format!(
            "{location}{separator}`provider_settings.{name}`: {why}"
        ))
    }

    fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Entry) -> Option<T>,
    ) -> Result<Option<T>, ProfileError> {
        self.known.insert(name.to_owned());
        let Some(entry) = self.table.entries.get(name) else {
            return Ok(None);
        };
        match read(entry) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error(name, expected)),
        }
    }

    /// Checks that the provider has read each setting.
    pub(super) fn check_effects(&self) -> Result<(), ProfileError> {
        let mut entries = self.table.entries.iter();
        if let Some((name, entry)) = entries.find(|(name, _)| !self.known.contains(*name)) {
            return Err(self.unknown_setting(name, entry));
        }
        let set = self.context.set_settings();
        match set.into_iter().find(|setting| !self.used.contains(setting)) {
            None => Ok(()),
            Some(setting) => Err(ProfileError::new(format!(
                "`{setting}` has no effect: the provider `{}` does not use it",
                self.provider
            ))
            .with_hint("remove it")),
        }
    }

    fn unknown_setting(&self, name: &str, entry: &Entry) -> ProfileError {
        let error = ProfileError::new(format!(
            "{}: unknown setting {} in `provider_settings`",
            entry.location,
            values::quoted_name(name)
        ));
        let known = self.known.iter().map(String::as_str);
        match values::nearest_name(name, known.clone()) {
            Some(nearest) => error.with_hint(format!("a similar name exists: `{nearest}`")),
            None if self.known.is_empty() => error.with_hint(format!(
                "the provider `{}` has no settings of its own",
                self.provider
            )),
            None => error.with_hint(format!(
                "settings of the provider `{}`: `{}`",
                self.provider,
                known.collect::<Vec<_>>().join("`, `")
            )),
        }
    }
}

impl fmt::Debug for ProviderSettings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("provider", &self.provider)
            .field("provider_settings", &self.table)
            .finish_non_exhaustive()
    }
}
