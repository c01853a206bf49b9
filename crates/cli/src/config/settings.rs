//! The settings of a run, validated as far as possible without network access.

use std::{path::PathBuf, time::Duration};

use hallpass::{
    TokenRequest, camall,
    endpoint::presets::{self, Preset},
};
use url::Url;

use super::{
    layer::Layer,
    proof::Proof,
    unit::{ServerUnit, Source},
    values,
};
use crate::failure::Failure;

/// The server, the client and the request of a run.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is an independent setting.
pub(crate) struct Settings {
    /// The profile's name, if there is one.
    pub(crate) profile: Option<String>,
    /// The path of the configuration file, whether it exists or not.
    pub(crate) file: Option<PathBuf>,
    pub(crate) server: Server,
    pub(crate) place: Place,
    /// The source that names the server.
    pub(crate) server_source: Source,
    /// The audience of assertions.
    pub(crate) audience: Audience,
    pub(crate) client_id: String,
    pub(crate) proof: Proof,
    pub(crate) request: TokenRequest,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) command_timeout: Option<Duration>,
    pub(crate) proxy: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) lenient_responses: bool,
    pub(crate) require_granted_scopes: bool,
    /// The folder of the token cache; `None` if tokens are not cached.
    pub(crate) cache_folder: Option<PathBuf>,
    pub(crate) danger_allow_http_on_loopback: bool,
}

/// The token endpoint, or the issuer to discover it from.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Endpoint(String),
    /// An issuer whose metadata is discovered.
    Issuer {
        issuer: String,
        openid: bool,
    },
}

impl Place {
    /// Returns the known address: the token endpoint's or the issuer's.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Endpoint(url) | Self::Issuer { issuer: url, .. } => url,
        }
    }
}

/// The audience of the client's assertions.
#[derive(Clone, Debug)]
pub(crate) enum Audience {
    Issuer(String),
    /// The issuer found by discovery.
    Discovered,
    TokenEndpoint,
}

/// The kind of authorization server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Server {
    Camall,
    Preset(&'static Preset),
    /// Any RFC 6749 token endpoint.
    Any,
}

/// The names of the supported providers.
const PROVIDERS: [(&str, Server); 8] = [
    ("camall", Server::Camall),
    ("auth0", Server::Preset(&presets::AUTH0)),
    ("okta", Server::Preset(&presets::OKTA)),
    ("entra-id", Server::Preset(&presets::ENTRA_ID)),
    ("keycloak", Server::Preset(&presets::KEYCLOAK)),
    ("cognito", Server::Preset(&presets::COGNITO)),
    ("ory-hydra", Server::Preset(&presets::ORY_HYDRA)),
    ("ory-network", Server::Preset(&presets::ORY_NETWORK)),
];

impl Settings {
    pub(crate) fn new(
        profile: Option<String>,
        file: Option<PathBuf>,
        cache_folder: Option<PathBuf>,
        layer: Layer,
    ) -> Result<Self, Failure> {
        let server = server(layer.server.provider.as_deref())?;
        let wanted = request(&layer)?;
        let place = match (endpoint(server, &layer)?, &layer.server.issuer) {
            (Some(endpoint), _) => Place::Endpoint(endpoint),
            (None, Some(issuer)) => Place::Issuer {
                issuer: issuer.clone(),
                openid: layer.server.openid_discovery.unwrap_or(false),
            },
            (None, None) => {
                return Err(missing(
                    "which server to ask",
                    "`token_endpoint`, `issuer` or `provider`",
                    "HALLPASS_TOKEN_ENDPOINT, HALLPASS_ISSUER or HALLPASS_PROVIDER (for camall.io CAMALL_CLIENT_ID and \
                     CAMALL_CLIENT_SECRET)",
                    file.as_ref(),
                ));
            }
        };
        let Some(client_id) = layer.client.client_id.clone() else {
            return Err(missing(
                "which client to be",
                "`client_id`",
                "HALLPASS_CLIENT_ID",
                file.as_ref(),
            ));
        };
        let proof = Proof::new(&layer.client, server, file.as_ref())?;
        let token_endpoint_as_audience = layer
            .server
            .danger_token_endpoint_as_audience
            .unwrap_or(false);
        if proof.signs() && layer.server.issuer.is_none() && !token_endpoint_as_audience {
            return Err(missing(
                "for which issuer the client's assertions are",
                "`issuer` as the server's metadata has it",
                "HALLPASS_ISSUER",
                file.as_ref(),
            ));
        }
        all_have_effect(&layer.server, server, &place, &proof)?;
        if layer.command_timeout.is_some() && !proof.runs_a_command() {
            return Err(Failure::configuration(
                "`command_timeout` has no effect: no `command:` is run for a secret",
            )
            .with_remedy("leave it out"));
        }
        check_proxy(layer.proxy.as_deref())?;
        Ok(Self {
            profile,
            file,
            server,
            place,
            server_source: layer.server.source,
            audience: match layer.server.issuer {
                _ if token_endpoint_as_audience => Audience::TokenEndpoint,
                Some(issuer) => Audience::Issuer(issuer),
                None => Audience::Discovered,
            },
            client_id,
            proof,
            request: wanted,
            allowed_origins: layer.allowed_origins,
            timeout: layer.timeout,
            connect_timeout: layer.connect_timeout,
            ca_file: layer.ca_file,
            command_timeout: layer.command_timeout,
            proxy: layer.proxy,
            user_agent: layer.user_agent,
            max_lifetime: layer.max_lifetime,
            lenient_responses: layer.lenient_responses.unwrap_or(false),
            require_granted_scopes: layer.require_granted_scopes.unwrap_or(false),
            cache_folder,
            danger_allow_http_on_loopback: layer.danger_allow_http_on_loopback.unwrap_or(false),
        })
    }

    /// Returns how long a token request may take with its retries, and with the command that prints the secret.
    pub(crate) fn call_deadline(&self) -> Duration {
        const REQUESTS: Duration = Duration::from_secs(30);
        REQUESTS.saturating_add(self.command_timeout.unwrap_or_default())
    }

    /// Returns the server's host, with its port if it is not the scheme's default.
    pub(crate) fn host(&self) -> String {
        let url = Url::parse(self.place.url()).ok();
        let host = url
            .as_ref()
            .and_then(|url| url.host_str().zip(Some(url.port())));
        match host {
            Some((host, Some(port))) => format!("{host}:{port}"),
            Some((host, None)) => host.to_owned(),
            None => "no host".to_owned(),
        }
    }

    /// Returns the settings, apart from the request, that two runs must have in common to share a token.
    ///
    /// Settings that decide whether a token is accepted are part of it: a token accepted without them must not be used
    /// with them. The secret is not: a token stays valid when the secret is rotated.
    pub(crate) fn namespace(&self) -> String {
        let lifetime = self.max_lifetime.map(|lifetime| lifetime.as_millis());
        let lifetime = lifetime.map(|lifetime| lifetime.to_string());
        let checks = [
            self.require_granted_scopes.then_some("scopes"),
            lifetime.as_deref(),
        ];
        let parts = [Some(self.place.url()), Some(&*self.client_id)];
        let parts = parts.into_iter().chain(checks);
        // Length-prefixed, so that fields cannot run into each other.
        let measured = parts.map(|part| {
            let part = part.unwrap_or_default();
            format!("{}:{part}", part.len())
        });
        measured.collect()
    }
}

/// Checks the URL of the proxy for token and API requests. It must not contain a password, which would be stored in the
/// file.
fn check_proxy(proxy: Option<&str>) -> Result<(), Failure> {
    let Some(proxy) = proxy.filter(|proxy| *proxy != "system") else {
        return Ok(());
    };
    let refuse = |why: &str| Failure::configuration(format!("proxy: {why}"));
    let Ok(url) = Url::parse(proxy) else {
        return Err(
            refuse("not an absolute URL").with_remedy("write it as `http://proxy.example:3128`")
        );
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("the URL holds a user name or password").with_remedy(
            "set `proxy = \"system\"`, and the proxy with its password in the variable `HTTPS_PROXY`",
        ));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("the URL's scheme is neither `http` nor `https`"));
    }
    Ok(())
}

fn server(provider: Option<&str>) -> Result<Server, Failure> {
    let Some(provider) = provider else {
        return Ok(Server::Any);
    };
    let known = PROVIDERS.iter().find(|(name, _)| *name == provider);
    if let Some((_, server)) = known {
        return Ok(*server);
    }
    if provider == "google" {
        return Err(Failure::configuration(
            "Google has no client credentials grant: its service accounts sign assertions of another grant (RFC 7523 section 2.1), which this command does not make",
        ));
    }
    let names = PROVIDERS.iter().map(|(name, _)| *name);
    let failure = Failure::configuration("`provider` names no known server");
    Err(match values::nearest(provider, names.clone()) {
        Some(nearest) => failure.with_remedy(format!("did you mean `{nearest}`?")),
        None => failure.with_remedy(format!(
            "known are `{}`; for another one set `token_endpoint`",
            names.collect::<Vec<_>>().join("`, `")
        )),
    })
}

/// Returns the token endpoint or the issuer, if one is set.
fn endpoint(server: Server, layer: &Layer) -> Result<Option<String>, Failure> {
    if let Some(endpoint) = &layer.server.token_endpoint {
        return Ok(Some(endpoint.clone()));
    }
    Ok(match server {
        Server::Camall => Some(camall::TOKEN_ENDPOINT.to_owned()),
        Server::Preset(preset) => {
            let values = layer.server.variables.iter();
            let values: Vec<_> = values
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let endpoint = preset.endpoint(&values);
            Some(endpoint.map_err(|error| {
                Failure::from(error).with_remedy("set it in `variables` of the profile")
            })?)
        }
        Server::Any => None,
    })
}

/// Checks that every setting of the server has an effect.
fn all_have_effect(
    unit: &ServerUnit,
    server: Server,
    place: &Place,
    proof: &Proof,
) -> Result<(), Failure> {
    let has_variables = matches!(server, Server::Preset(_)) && unit.token_endpoint.is_none();
    let unused = [
        (
            !unit.variables.is_empty() && !has_variables,
            "variables",
            "they fill in the address of a known server, which `provider` names and `token_endpoint` replaces",
        ),
        (
            unit.openid_discovery.is_some() && !matches!(place, Place::Issuer { .. }),
            "openid_discovery",
            "nothing is discovered where the token endpoint is known",
        ),
        (
            unit.danger_token_endpoint_as_audience.is_some() && !proof.signs(),
            "danger_token_endpoint_as_audience",
            "the client signs no assertions",
        ),
    ];
    let mut unused = unused.iter().filter(|(is_unused, ..)| *is_unused);
    match unused.next() {
        None => Ok(()),
        Some((_, setting, why)) => Err(Failure::configuration(format!(
            "`{setting}` has no effect: {why}"
        ))
        .with_remedy("leave it out")),
    }
}

fn request(layer: &Layer) -> Result<TokenRequest, Failure> {
    let wrong = |what: &str, why: &dyn std::fmt::Display| {
        Failure::configuration(format!("`{what}`: {why}"))
    };
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
    for (name, value) in &layer.parameters {
        if name == "grant_type" {
            return Err(Failure::configuration(
                "`parameters`: `grant_type` is always `client_credentials` here",
            )
            .with_remedy("leave it out; other grants are for programs that use the library"));
        }
        let with = request.with_parameter(name, value);
        request = with.map_err(|error| wrong("parameters", &error))?;
    }
    Ok(request)
}

pub(super) fn missing(what: &str, key: &str, variables: &str, file: Option<&PathBuf>) -> Failure {
    let file = file
        .map(|file| format!(" of {}", file.display()))
        .unwrap_or_default();
    Failure::configuration(format!("nothing says {what}")).with_remedy(format!(
        "set {key} in a profile{file}, or {variables} in the environment"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::unit::ClientUnit;

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

    fn settings(change: impl FnOnce(&mut Layer)) -> Result<Settings, Failure> {
        let mut layer = layer();
        change(&mut layer);
        Settings::new(None, None, None, layer)
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(settings(|_| {}).unwrap().host(), "login.example:8443");
        for (settings, says) in [
            (
                settings(|layer| layer.server.token_endpoint = None),
                "which server",
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
                "did you mean `auth0`?",
            ),
            (
                settings(|layer| layer.server.provider = Some("zzz".into())),
                "known are `camall`",
            ),
            (
                settings(|layer| layer.server.provider = Some("google".into())),
                "no client credentials grant",
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
            assert_eq!(failure.exit().code(), 3);
        }
    }

    #[test]
    fn each_known_server_has_an_address() {
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
            });
            let known = known.unwrap();
            let url = known.place.url();
            assert!(url.starts_with("https://"), "{url}");
        }
    }

    // covers: F-98
    #[test]
    fn clients_and_servers_are_apart() {
        let namespace = |endpoint: &str, id: &str| {
            settings(|layer| {
                layer.server.token_endpoint = Some(endpoint.into());
                layer.client.client_id = Some(id.into());
            })
            .unwrap()
            .namespace()
        };
        assert_ne!(namespace("https://a/", "b"), namespace("https://a/", "c"));
        assert_ne!(namespace("https://a/b", "c"), namespace("https://a/", "bc"));
    }
}
