//! The document of a configuration file: TOML, with a table for each profile.
//!
//! The document is walked by hand: an error names the line and repeats only names of keys and profiles, because a
//! secret may have slipped in anywhere.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf, is_separator},
};

use hallpass_secrets::SecretReference;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    error::ProfileError,
    format,
    layer::Layer,
    provider::{self, Table},
    redis::{REDIS_KEYS, RedisSettings},
    unit::{ClientUnit, SettingSource},
    values,
};

mod keys;

pub(crate) use keys::KEYS;

pub(crate) struct Document<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    /// True if another user may have written the file.
    pub(crate) is_of_others: bool,
}

/// The profiles of a file by name, each with its settings, or the error to report when it is used.
pub(crate) type ProfileLayers = BTreeMap<String, Result<Layer, ProfileError>>;

impl Document<'_> {
    /// Reads all profiles.
    pub(crate) fn profiles(&self) -> Result<ProfileLayers, ProfileError> {
        let document = self.parse()?;
        let profiles = self.table_of_profiles(document.get_ref())?;
        let read = profiles.into_iter().flatten().map(|(key, value)| {
            let name = key.get_ref().to_string();
            let table = value.get_ref().as_table().ok_or_else(|| {
                self.error_at(&value.span(), "a profile must be a table: `[profile.NAME]`")
            });
            let layer = table.and_then(|table| self.layer(&name, table));
            (name, layer)
        });
        Ok(read.collect())
    }

    fn parse(&self) -> Result<Spanned<DeTable<'_>>, ProfileError> {
        DeTable::parse(self.text).map_err(|error| {
            // The parser's message may quote what it read.
            let at = error.span().unwrap_or_default();
            let line = self.line(at.start).trim_start();
            self.error_at(
                &at,
                if line.contains('\\') {
                    r#"invalid TOML: within "..." a `\` starts an escape; write a path in '...', as in 'file:C:\secrets\client'"#
                } else if line.starts_with('[') {
                    "invalid TOML: a profile starts with a line such as `[profile.orders]`, once in the file"
                } else {
                    "invalid TOML: a setting is written once, and a string in quotes, as in `client_id = \"orders\"`"
                },
            )
        })
    }

    fn table_of_profiles<'t, 'd>(
        &self,
        document: &'t DeTable<'d>,
    ) -> Result<Option<&'t DeTable<'d>>, ProfileError> {
        let mut profiles = None;
        for (key, value) in document {
            if key.get_ref() != "profile" {
                return Err(self.unknown_setting(key, ["profile"]));
            }
            let table = value.get_ref().as_table();
            profiles = Some(table.ok_or_else(|| {
                self.error_at(
                    &value.span(),
                    "`profile` must be a table of profiles: `[profile.NAME]`",
                )
            })?);
        }
        Ok(profiles)
    }

    fn layer(&self, name: &str, table: &DeTable<'_>) -> Result<Layer, ProfileError> {
        let source = SettingSource::Profile(name.to_owned());
        let mut layer = Layer {
            client: ClientUnit::default().with_source(&source),
            ..Layer::default()
        };
        layer.server.source = source;
        for (key, value) in table {
            match &**key.get_ref() {
                "allowed_origins" => layer.allowed_origins = self.strings(key, value)?,
                "assertion" => layer.client.assertion = Some(self.secret_reference(key, value)?),
                "audience" => layer.audience = self.strings(key, value)?,
                "authentication" => {
                    let method = values::parse_method(self.string(key, value)?);
                    layer.client.authentication =
                        Some(method.map_err(|why| self.invalid_value(key, value, &why))?);
                }
                "ca_file" => layer.ca_file = Some(self.file(key, value)?),
                "certificate" => {
                    layer.client.certificate = Some(self.secret_reference(key, value)?);
                }
                "cache" => layer.cache = Some(self.boolean(key, value)?),
                "client_id" => layer.client.client_id = Some(self.string(key, value)?.to_owned()),
                "client_secret" => {
                    layer.client.client_secret = Some(self.secret_reference(key, value)?);
                }
                "command_timeout" => layer.command_timeout = Some(self.duration(key, value)?),
                "connect_timeout" => layer.connect_timeout = Some(self.duration(key, value)?),
                "danger_allow_http_on_loopback" => {
                    layer.danger_allow_http_on_loopback = Some(self.boolean(key, value)?);
                }
                "expiry_format" => {
                    let format = format::parse_expiry_format(self.string(key, value)?);
                    layer.format.get_or_insert_default().expiry_format =
                        Some(format.map_err(|why| self.invalid_value(key, value, why))?);
                }
                "expiry_member" => {
                    layer.format.get_or_insert_default().expiry_member =
                        Some(self.string(key, value)?.to_owned());
                }
                "grant_type" => {
                    layer.format.get_or_insert_default().grant_type =
                        Some(self.string(key, value)?.to_owned());
                }
                "json_requests" => {
                    layer.format.get_or_insert_default().json_requests =
                        Some(self.boolean(key, value)?);
                }
                "issuer" => layer.server.issuer = Some(self.string(key, value)?.to_owned()),
                "lenient_responses" => layer.lenient_responses = Some(self.boolean(key, value)?),
                "compressed_responses" => {
                    layer.compressed_responses = Some(self.boolean(key, value)?);
                }
                "default_lifetime" => layer.default_lifetime = Some(self.duration(key, value)?),
                "max_lifetime" => layer.max_lifetime = Some(self.duration(key, value)?),
                "openid_discovery" => {
                    layer.server.openid_discovery = Some(self.boolean(key, value)?);
                }
                "private_key" => {
                    layer.client.private_key = Some(self.secret_reference(key, value)?);
                }
                "parameters" => layer.parameters = self.string_pairs(key, value)?,
                "provider" => layer.server.provider = Some(self.string(key, value)?.to_owned()),
                "provider_settings" => {
                    layer.server.provider_settings = self.provider_settings(key, value)?;
                }
                "proxy" => layer.proxy = Some(self.string(key, value)?.to_owned()),
                "redis" => layer.redis = Some(Box::new(self.redis(key, value)?)),
                "request_headers" => {
                    layer.format.get_or_insert_default().request_headers =
                        self.references(key, value)?;
                }
                "authorization_details" => {
                    layer.authorization_details = Some(self.string(key, value)?.to_owned());
                }
                "require_granted_authorization_details" => {
                    layer.require_granted_authorization_details = Some(self.boolean(key, value)?);
                }
                "require_granted_scopes" => {
                    layer.require_granted_scopes = Some(self.boolean(key, value)?);
                }
                "resource" => layer.resource = self.strings(key, value)?,
                "scope" => layer.scope = Some(self.strings(key, value)?.join(" ")),
                "timeout" => layer.timeout = Some(self.duration(key, value)?),
                "token_endpoint" => {
                    layer.server.token_endpoint = Some(self.string(key, value)?.to_owned());
                }
                "token_member" => {
                    layer.format.get_or_insert_default().token_member =
                        Some(self.string(key, value)?.to_owned());
                }
                "token_type_name" => {
                    layer.format.get_or_insert_default().token_type_name =
                        Some(self.string(key, value)?.to_owned());
                }
                "user_agent" => layer.user_agent = Some(self.string(key, value)?.to_owned()),
                "variables" => layer.server.variables = self.string_pairs(key, value)?,
                _ => self.key_setting(&mut layer, key, value)?,
            }
        }
        Ok(layer)
    }

    /// Reads a setting of the client's key or certificate, and of the assertions that it signs.
    fn key_setting(
        &self,
        layer: &mut Layer,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<(), ProfileError> {
        let (server, client) = (&mut layer.server, &mut layer.client);
        let text = || self.string(key, value).map(str::to_owned).map(Some);
        let flag = || self.boolean(key, value).map(Some);
        match &**key.get_ref() {
            "algorithm" => client.algorithm = text()?,
            "assertion_audience" => {
                server.assertion.get_or_insert_default().audience =
                    Some(self.string(key, value)?.into());
            }
            "assertion_typ" => {
                server.assertion.get_or_insert_default().typ =
                    Some(self.string(key, value)?.into());
            }
            "bound_tokens" => client.bound_tokens = flag()?,
            "danger_token_endpoint_as_audience" => {
                server.danger_token_endpoint_as_audience = flag()?;
            }
            "dpop" => layer.dpop = Some(self.secret_reference(key, value)?),
            "key_id" => client.key_id = text()?,
            "security_profile" => {
                let profile = values::parse_security_profile(self.string(key, value)?);
                layer.security_profile =
                    Some(profile.map_err(|why| self.invalid_value(key, value, &why))?);
            }
            "send_certificate_chain" => client.send_certificate_chain = flag()?,
            _ => return Err(self.unknown_setting(key, KEYS.iter().copied())),
        }
        Ok(())
    }

    fn redis(&self, table_key: &Key<'_>, table: &Value<'_>) -> Result<RedisSettings, ProfileError> {
        let Some(entries) = table.get_ref().as_table() else {
            return Err(self.invalid_value(table_key, table, "expected a table of settings"));
        };
        let mut redis = RedisSettings {
            location: self.location(table_key.span().start),
            ..RedisSettings::default()
        };
        for (key, value) in entries {
            match &**key.get_ref() {
                "ca_file" => redis.ca_file = Some(self.file(key, value)?),
                "client_certificate" => {
                    redis.client_certificate = Some(self.secret_reference(key, value)?);
                }
                "cluster" => redis.cluster = self.boolean(key, value)?,
                "danger_allow_plain_text" => {
                    redis.danger_allow_plain_text = self.boolean(key, value)?;
                }
                "danger_store_in_clear" => {
                    redis.danger_store_in_clear = self.boolean(key, value)?;
                }
                "functions" => redis.functions = self.boolean(key, value)?,
                "keys" => redis.keys = Some(self.secret_reference(key, value)?),
                "other_urls" => redis.other_urls = self.strings(key, value)?,
                "password" => redis.password = Some(self.secret_reference(key, value)?),
                "prefix" => redis.prefix = Some(self.string(key, value)?.to_owned()),
                "sentinel" => redis.sentinel = Some(self.string(key, value)?.to_owned()),
                "sentinel_password" => {
                    redis.sentinel_password = Some(self.secret_reference(key, value)?);
                }
                "sentinel_username" => {
                    redis.sentinel_username = Some(self.string(key, value)?.to_owned());
                }
                "timeout" => redis.timeout = Some(self.duration(key, value)?),
                "url" => self.string(key, value)?.clone_into(&mut redis.url),
                "username" => redis.username = Some(self.string(key, value)?.to_owned()),
                _ => return Err(self.unknown_setting(key, REDIS_KEYS)),
            }
        }
        let Some((setting, why)) = redis.problem() else {
            return Ok(redis);
        };
        let mut keys = entries.keys();
        let at = keys.find(|key| key.get_ref() == setting);
        let at = at.unwrap_or(table_key).span();
        Err(self.error_at(&at, &format!("`redis.{setting}`: {why}")))
    }

    fn provider_settings(
        &self,
        table_key: &Key<'_>,
        table: &Value<'_>,
    ) -> Result<Table, ProfileError> {
        let Some(entries) = table.get_ref().as_table() else {
            return Err(self.invalid_value(table_key, table, "expected a table of settings"));
        };
        let mut settings = Table {
            location: self.location(table_key.span().start),
            ..Table::default()
        };
        for (key, value) in entries {
            let read = match value.get_ref() {
                DeValue::String(text) => {
                    self.check_command(key, value, text)?;
                    provider::Value::Text(text.to_string())
                }
                DeValue::Array(_) => provider::Value::Texts(self.strings(key, value)?),
                DeValue::Boolean(boolean) => provider::Value::Boolean(*boolean),
                DeValue::Integer(number) if number.radix() == 10 => {
                    let number = number.as_str().parse();
                    provider::Value::Number(
                        number
                            .map_err(|_| self.invalid_value(key, value, "a number is too large"))?,
                    )
                }
                _ => {
                    let why =
                        "expected a string, a whole number, `true`, `false`, or a list of strings";
                    return Err(self.invalid_value(key, value, why));
                }
            };
            settings.add(key.get_ref(), self.location(key.span().start), read);
        }
        Ok(settings)
    }

    fn string<'v>(&self, key: &Key<'_>, value: &'v Value<'_>) -> Result<&'v str, ProfileError> {
        let text = value.get_ref().as_str();
        text.ok_or_else(|| self.invalid_value(key, value, "expected a string in quotes"))
    }

    /// Reads the path of a file. That of a directory would compare as equal: `/etc/ca.pem/` and `/etc/ca.pem`.
    fn file(&self, key: &Key<'_>, value: &Value<'_>) -> Result<PathBuf, ProfileError> {
        let path = self.string(key, value)?;
        match path.rsplit(is_separator).next() {
            Some("" | "." | "..") => {
                Err(self.invalid_value(key, value, "expected the path of a file"))
            }
            _ => Ok(path.into()),
        }
    }

    /// Reads a string, or a list of strings.
    fn strings(&self, key: &Key<'_>, value: &Value<'_>) -> Result<Vec<String>, ProfileError> {
        let Some(list) = value.get_ref().as_array() else {
            let text = value.get_ref().as_str();
            return match text {
                Some(text) => Ok(vec![text.to_owned()]),
                None => Err(self.invalid_value(
                    key,
                    value,
                    "expected a string in quotes, or a list of strings",
                )),
            };
        };
        let text = |item: &Value<'_>| self.string(key, item).map(str::to_owned);
        list.iter().map(text).collect()
    }

    fn boolean(&self, key: &Key<'_>, value: &Value<'_>) -> Result<bool, ProfileError> {
        let boolean = value.get_ref().as_bool();
        boolean.ok_or_else(|| self.invalid_value(key, value, "expected `true` or `false`"))
    }

    /// Reads a duration such as `10s`, or a number of seconds.
    fn duration(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<std::time::Duration, ProfileError> {
        let text = match value.get_ref() {
            DeValue::String(text) => &**text,
            DeValue::Integer(seconds) if seconds.radix() == 10 => seconds.as_str(),
            _ => "",
        };
        values::parse_duration(text).map_err(|why| self.invalid_value(key, value, &why.to_string()))
    }

    fn string_pairs(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<Vec<(String, String)>, ProfileError> {
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.invalid_value(
                key,
                value,
                "expected a table of strings, as in `{ name = \"value\" }`",
            ));
        };
        let pair = |(name, value): (&Key<'_>, &Value<'_>)| {
            Ok((
                name.get_ref().to_string(),
                self.string(key, value)?.to_owned(),
            ))
        };
        table.iter().map(pair).collect()
    }

    fn references(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<Vec<(String, SecretReference)>, ProfileError> {
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.invalid_value(
                key,
                value,
                "expected a table of references, as in `{ name = \"env:NAME\" }`",
            ));
        };
        let pair = |(name, value): (&Key<'_>, &Value<'_>)| {
            let reference = self.secret_reference(name, value)?;
            Ok((name.get_ref().to_string(), reference))
        };
        table.iter().map(pair).collect()
    }

    fn secret_reference(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<SecretReference, ProfileError> {
        let text = self.string(key, value)?;
        self.check_command(key, value, text)?;
        let reference = text.parse::<SecretReference>();
        reference.map_err(|why| self.invalid_value(key, value, &why.to_string()))
    }

    fn check_command(
        &self,
        key: &Key<'_>,
        value: &Value<'_>,
        text: &str,
    ) -> Result<(), ProfileError> {
        if !self.is_of_others || !text.starts_with("command:") {
            return Ok(());
        }
        let why = "no command is run from a file that another user can write; make this user its owner, and run `chmod go-w` on it";
        Err(self.invalid_value(key, value, why))
    }

    fn invalid_value(&self, key: &Key<'_>, value: &Value<'_>, why: &str) -> ProfileError {
        self.error_at(&value.span(), &format!("`{}`: {why}", key.get_ref()))
    }

    fn unknown_setting<'k>(
        &self,
        key: &Key<'_>,
        known: impl IntoIterator<Item = &'k str>,
    ) -> ProfileError {
        let name = &**key.get_ref();
        let nearest = values::nearest_name(name, known);
        let failure = self.error_at(
            &key.span(),
            &format!("unknown setting {}", values::quoted_name(name)),
        );
        match nearest {
            Some(nearest) => failure.with_hint(format!("a similar name exists: `{nearest}`")),
            None => failure.with_hint("see the documentation of the command for the settings"),
        }
    }

    /// Returns the line that contains this byte.
    fn line(&self, at: usize) -> &str {
        let (before, after) = self.text.split_at_checked(at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let end = after.find('\n').map_or(self.text.len(), |end| at + end);
        &self.text[start..end]
    }

    fn error_at(&self, at: &Range<usize>, what: &str) -> ProfileError {
        ProfileError::new(format!("{}: {what}", self.location(at.start)))
    }

    /// Returns the file and the line of this byte.
    fn location(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("{}, line {line}", self.path.display())
    }
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;
type Value<'a> = Spanned<DeValue<'a>>;
