//! The settings of a run, validated as far as possible without network access.

use std::{path::PathBuf, time::Duration};

use hallpass_core::TokenRequest;
use hallpass_endpoint::SecurityProfile;
use hallpass_secrets::SecretReference;
use url::Url;

use crate::error::ProfileError;
use crate::{
    audience::{Audience, audience},
    authentication::AuthenticationSettings,
    checks::{check_dpop, check_effects, check_format, check_preset, check_proxy, check_redis},
    format::FormatSettings,
    issuer,
    layer::Layer,
    missing::{missing_client_id, missing_setting},
    provider::{Provider, Table},
    redis::RedisSettings,
    server::{Server, ServerAddress, parse_provider, token_endpoint},
    unit::SettingSource,
};

/// The effective settings of a profile: the server, the client and the request, from the file, the environment and the
/// program. Validated as far as possible without network access; they contain references to secrets, and no secret.
///
/// Most programs use [`Profiles::source`](crate::Profiles::source) instead.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // Each is an independent setting.
pub struct Settings {
    /// The profile's name, if there is one.
    pub profile: Option<String>,
    /// The path of the configuration file, whether it exists or not.
    pub file: Option<PathBuf>,
    /// The kind of authorization server.
    pub server: Server,
    /// The token endpoint, or the issuer to discover it from.
    pub address: ServerAddress,
    /// The source of the setting that names the server.
    pub server_source: SettingSource,
    /// The audience of the client's assertions.
    pub audience: Audience,
    /// The type of the client's assertions, `typ`; `None` for the default one.
    pub assertion_typ: Option<Box<str>>,
    /// The client identifier; empty if none is set, which only a registered provider may do without.
    pub client_id: String,
    /// The client authentication method, with references to its credentials.
    pub authentication: AuthenticationSettings,
    /// The private key that tokens are bound to (DPoP).
    pub dpop: Option<Box<SecretReference>>,
    /// The security profile that the client is held to.
    pub security_profile: Option<SecurityProfile>,
    /// The token request: scopes, audiences, resources, authorization details and parameters.
    pub request: TokenRequest,
    /// The origins of the APIs that may receive tokens.
    pub allowed_origins: Vec<String>,
    /// The timeout of a request.
    pub timeout: Option<Duration>,
    /// The timeout of a connection's setup.
    pub connect_timeout: Option<Duration>,
    /// The file of additional certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The timeout of a command that prints a secret.
    pub command_timeout: Option<Duration>,
    /// The URL of a proxy, or `system`.
    pub proxy: Option<String>,
    /// The user agent of requests.
    pub user_agent: Option<String>,
    /// The lifetime of a token whose response has none.
    pub default_lifetime: Option<Duration>,
    /// The longest accepted lifetime of a token.
    pub max_lifetime: Option<Duration>,
    /// True if responses in gzip are decompressed although no request asks for it.
    pub compressed_responses: bool,
    /// True if responses that deviate from RFC 6749 are accepted.
    pub lenient_responses: bool,
    /// True if a token must have all requested scopes.
    pub require_granted_scopes: bool,
    /// True if a token must have authorization details of each requested type.
    pub require_granted_authorization_details: bool,
    /// Some(false) if the profile allows no cache between runs.
    pub cache: Option<bool>,
    /// The Redis store of the profile.
    pub redis: Option<Box<RedisSettings>>,
    /// True if plain HTTP to this machine is allowed.
    pub danger_allow_http_on_loopback: bool,
    /// The formats of requests and responses that deviate from RFC 6749, if there are any.
    pub format: Option<Box<FormatSettings>>,
    /// The provider, if it is a registered one.
    pub(crate) provider: Option<Provider>,
    /// The provider's own settings, if there are any.
    pub(crate) own: Option<Box<Table>>,
}

impl Settings {
    pub(crate) fn new(
        profile: Option<String>,
        file: Option<PathBuf>,
        layer: Layer,
        providers: &[Provider],
    ) -> Result<Self, ProfileError> {
        let (server, provider) = parse_provider(layer.server.provider.as_deref(), providers)?;
        let wanted = build_request(&layer)?;
        let address = match (token_endpoint(server, &layer.server)?, &layer.server.issuer) {
            (Some(endpoint), _) => ServerAddress::TokenEndpoint(endpoint),
            (None, Some(issuer)) => ServerAddress::Issuer {
                issuer: issuer.clone(),
                openid: layer.server.openid_discovery.unwrap_or(false),
            },
            (None, None) if provider.is_some() => ServerAddress::OfProvider,
            (None, None) => {
                return Err(missing_setting(
                    "the authorization server",
                    "`token_endpoint`, `issuer` or `provider`",
                    "`HALLPASS_TOKEN_ENDPOINT`, `HALLPASS_ISSUER` or `HALLPASS_PROVIDER` (for camall.io `CAMALL_CLIENT_ID` and \
                     `CAMALL_CLIENT_SECRET`)",
                    file.as_ref(),
                ));
            }
        };
        let client_id = match layer.client.client_id.clone() {
            Some(client_id) => client_id,
            None if provider.is_some() => String::new(),
            None => return Err(missing_client_id(file.as_ref())),
        };
        let authentication = AuthenticationSettings::new(&layer.client, server, file.as_ref())?;
        if let Some(profile) = layer.security_profile {
            let assertion = layer.server.assertion.as_deref();
            let audience = assertion.and_then(|set| set.audience.as_deref());
            issuer::check(profile, server, &address, audience)?;
        }
        let audience = audience(&layer.server, &address, &authentication, file.as_ref())?;
        let is_own = layer.client.is_of(&layer.server.source);
        let signer = is_own.then_some(&authentication);
        check_effects(&layer.server, server, &address, signer, &audience)?;
        check_preset(server, &wanted, layer.dpop.as_ref())?;
        if let Some(redis) = &layer.redis {
            check_redis(redis, layer.cache, &authentication)?;
        }
        if let Some(dpop) = &layer.dpop {
            check_dpop(dpop, &authentication)?;
        }
        check_proxy(layer.proxy.as_deref())?;
        if let Some(format) = &layer.format {
            check_format(format, layer.default_lifetime, layer.dpop.as_ref())?;
        }
        let settings = Self {
            profile,
            file,
            server,
            address,
            server_source: layer.server.source,
            audience,
            assertion_typ: layer.server.assertion.and_then(|assertion| assertion.typ),
            client_id,
            authentication,
            dpop: layer.dpop.map(Box::new),
            security_profile: layer.security_profile,
            request: wanted,
            allowed_origins: layer.allowed_origins,
            timeout: layer.timeout,
            connect_timeout: layer.connect_timeout,
            ca_file: layer.ca_file,
            command_timeout: layer.command_timeout,
            proxy: layer.proxy,
            user_agent: layer.user_agent,
            default_lifetime: layer.default_lifetime,
            max_lifetime: layer.max_lifetime,
            compressed_responses: layer.compressed_responses.unwrap_or(false),
            lenient_responses: layer.lenient_responses.unwrap_or(false),
            require_granted_scopes: layer.require_granted_scopes.unwrap_or(false),
            require_granted_authorization_details: layer
                .require_granted_authorization_details
                .unwrap_or(false),
            cache: layer.cache,
            redis: layer.redis,
            danger_allow_http_on_loopback: layer.danger_allow_http_on_loopback.unwrap_or(false),
            format: layer.format,
            provider,
            own: (layer.server.provider_settings.is_set())
                .then(|| Box::new(layer.server.provider_settings)),
        };
        if settings.command_timeout.is_some()
            && !settings.references().any(SecretReference::runs_a_command)
        {
            return Err(ProfileError::new(
                "`command_timeout` has no effect: no credential is a `command:` reference",
            )
            .with_hint("remove it"));
        }
        Ok(settings)
    }

    /// Returns true if these settings have the same effect: a table that moved within its file has.
    pub(crate) fn is_equivalent(&self, other: &Self) -> bool {
        let mut moved = other.clone();
        if let (Some(redis), Some(own)) = (&mut moved.redis, &self.redis) {
            redis.location.clone_from(&own.location);
        }
        *self == moved
    }

    /// Returns the references to all secrets.
    pub fn references(&self) -> impl Iterator<Item = &SecretReference> {
        let redis = self.redis.iter().flat_map(|redis| redis.references());
        let own = self.own.iter().flat_map(|own| own.references());
        let format = self.format.as_deref().into_iter();
        let headers = format.flat_map(FormatSettings::references);
        let all = self.authentication.references().chain(headers);
        let all = all.chain(self.dpop.as_deref());
        all.chain(own).chain(redis)
    }

    /// Returns how long a token request may take with its retries, and with the command that prints the secret.
    pub fn call_deadline(&self) -> Duration {
        const REQUESTS_TIMEOUT: Duration = Duration::from_secs(30);
        REQUESTS_TIMEOUT.saturating_add(self.command_timeout.unwrap_or_default())
    }

    /// Returns the server's host, with its port if it is not the scheme's default.
    pub fn host(&self) -> String {
        let url = Url::parse(self.address.url()).ok();
        let host = url
            .as_ref()
            .and_then(|url| url.host_str().zip(Some(url.port())));
        match host {
            Some((host, Some(port))) => format!("{host}:{port}"),
            Some((host, None)) => host.to_owned(),
            None => "no host".to_owned(),
        }
    }
}

fn build_request(layer: &Layer) -> Result<TokenRequest, ProfileError> {
    let wrong =
        |what: &str, why: &dyn std::fmt::Display| ProfileError::new(format!("`{what}`: {why}"));
    let mut request = TokenRequest::new();
    if let Some(scope) = &layer.scope {
        // The parser's error names the position of the error and does not repeat the scope.
        request = request.with_scopes(scope.parse().map_err(|error| wrong("scope", &error))?);
    }
    for audience in &layer.audience {
        let with = request.with_audience(audience);
        request = with.map_err(|error| wrong("audience", &error))?;
    }
    for resource in &layer.resource {
        let with = request.with_resource(resource);
        request = with.map_err(|error| wrong("resource", &error))?;
    }
    if let Some(details) = &layer.authorization_details {
        let details = details.parse();
        let details = details.map_err(|error| wrong("authorization_details", &error))?;
        request = request.with_authorization_details(details);
    }
    for (name, value) in &layer.parameters {
        if name == "grant_type" {
            return Err(
                ProfileError::new("`parameters`: `grant_type` is not an extra parameter")
                    .with_hint(
                        "set `grant_type` beside `parameters` for a grant of the server's own",
                    ),
            );
        }
        let with = request.with_parameter(name, value);
        request = with.map_err(|error| wrong("parameters", &error))?;
    }
    Ok(request)
}

#[cfg(test)]
pub(crate) mod tests {
    use hallpass_endpoint::presets::{AudienceRule, Preset, Scopes, SecretAuthentication};

    use super::*;
    use crate::{
        server::PROVIDERS,
        unit::{ClientUnit, ServerUnit},
    };

    fn layer() -> Layer {
        Layer {
            server: ServerUnit {
                token_endpoint: Some("https://login.example:8443/token".into()),
                ..ServerUnit::default()
            },
            client: ClientUnit {
                client_id: Some("orders".into()),
                client_secret: Some("env:X".parse().unwrap()),
                ..ClientUnit::default()
            },
            ..Layer::default()
        }
    }

    /// Returns the settings of a client with a secret, after a change.
    pub(crate) fn settings(change: impl FnOnce(&mut Layer)) -> Result<Settings, ProfileError> {
        let mut layer = layer();
        change(&mut layer);
        Settings::new(None, None, layer, &[])
    }

    #[test]
    fn a_redis_store_without_effect_is_refused() {
        let redis = RedisSettings {
            location: "config.toml, line 7".into(),
            keys: Some("command:print keys".parse().unwrap()),
            ..RedisSettings::default()
        };
        let with_redis = |change: fn(&mut Layer)| {
            settings(|layer| {
                layer.redis = Some(Box::new(redis.clone()));
                change(layer);
            })
        };
        assert!(with_redis(|_| {}).is_ok());
        assert!(with_redis(|layer| layer.command_timeout = Some(Duration::from_secs(1))).is_ok());
        for (settings, says) in [
            (
                with_redis(|layer| layer.cache = Some(false)),
                "config.toml, line 7: `redis` has no effect: `cache` is `false`",
            ),
            (
                with_redis(|layer| {
                    layer.client.client_secret = None;
                    layer.client.certificate = Some("env:X".parse().unwrap());
                }),
                "`bound_tokens` to `false`",
            ),
        ] {
            let error = settings.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn missing_settings_are_named() {
        assert_eq!(settings(|_| {}).unwrap().host(), "login.example:8443");
        for (settings, says) in [
            (
                settings(|layer| layer.server.token_endpoint = None),
                "the authorization server is not set",
            ),
            (
                settings(|layer| layer.client.client_id = None),
                "HALLPASS_CLIENT_ID",
            ),
            (
                settings(|layer| layer.client.client_secret = None),
                "HALLPASS_CLIENT_SECRET",
            ),
            (
                settings(|layer| layer.server.provider = Some("auth".into())),
                "a similar name exists: `auth0`",
            ),
            (
                settings(|layer| layer.server.provider = Some("zzz".into())),
                "known providers: `camall`",
            ),
            (
                settings(|layer| layer.server.provider = Some("google".into())),
                "does not support the client credentials grant",
            ),
            (
                settings(|layer| layer.server.provider = Some("okta-org".into())),
                "does not accept client secrets",
            ),
            (
                settings(|layer| layer.scope = Some("a\"b".into())),
                "`scope`",
            ),
            (
                settings(|layer| layer.resource = vec!["x".into()]),
                "`resource`",
            ),
        ] {
            let failure = settings.unwrap_err();
            assert!(failure.to_string().contains(says), "{failure}");
        }
    }

    #[test]
    fn each_provider_has_an_address() {
        let takes_secrets =
            |preset: &Preset| preset.authentication != SecretAuthentication::Assertion;
        for (name, server) in PROVIDERS {
            let variables: Vec<(String, String)> = match server {
                Server::Preset(preset) => {
                    let names = preset.token_endpoint.split('{').skip(1);
                    let names = names.filter_map(|rest| rest.split('}').next());
                    names
                        .map(|name| (name.to_owned(), "acme.example".to_owned()))
                        .collect()
                }
                _ => Vec::new(),
            };
            let known = settings(|layer| {
                layer.server.provider = Some(name.into());
                layer.server.token_endpoint = None;
                layer.server.variables = variables;
                let Server::Preset(preset) = server else {
                    return;
                };
                if !takes_secrets(preset) {
                    layer.client.assertion = layer.client.client_secret.take();
                }
                if preset.audience == AudienceRule::AudienceRequired {
                    layer.audience = vec!["https://api.example".into()];
                }
                layer.scope = match preset.scopes {
                    Scopes::OneWithSuffix(suffix) => Some(format!("orders{suffix}")),
                    Scopes::Required => Some("orders".into()),
                    _ => None,
                };
                let parameters = preset.parameters.iter();
                layer.parameters = parameters
                    .map(|name| ((*name).to_owned(), "x".to_owned()))
                    .collect();
            });
            let known = known.unwrap();
            let url = known.address.url();
            assert!(url.starts_with("https://"), "{url}");
        }
    }

    #[test]
    fn authorization_details_are_checked_and_change_the_namespace() {
        let with = |details: &str, required| {
            settings(|layer| {
                layer.authorization_details = Some(details.into());
                layer.require_granted_authorization_details = required;
            })
        };
        let all = [
            settings(|_| {}).unwrap().namespace(),
            with(r#"[{"type":"a"}]"#, None).unwrap().namespace(),
            with(r#"[{"type":"b"}]"#, None).unwrap().namespace(),
            with(r#"[{"type":"b"}]"#, Some(true)).unwrap().namespace(),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        let error = with(r#"[{"x":"CANARY"}]"#, None).unwrap_err().to_string();
        assert!(
            error.contains("`authorization_details`: element 1"),
            "{error}"
        );
        assert!(!error.contains("CANARY"), "{error}");
    }
}
