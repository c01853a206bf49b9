use std::time::Duration;

use hallpass_core::{SecretSource, TokenRequest};

use crate::{
    BuildError, ClientAuthentication, ClientCredentials, ClientSecretBasic, ClientSecretPost,
    Endpoint, SourceBuilder,
};

/// The facts about a server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Preset {
    /// The display name.
    pub name: &'static str,
    /// The token endpoint, with placeholders in braces for tenant-specific parts.
    pub token_endpoint: &'static str,
    /// The client authentication method for a client secret.
    pub authentication: SecretAuthentication,
    /// The way a request names the token's audience.
    pub audience: AudienceRule,
    /// The server's requirements for scopes.
    pub scopes: Scopes,
    /// The `grant_type` of the server's own grant, in place of `client_credentials`.
    pub grant_type: Option<&'static str>,
    /// The names of the parameters that each request needs.
    pub parameters: &'static [&'static str],
    /// The lifetime of a token whose response has no `expires_in`, from the server's documentation.
    pub default_lifetime: Option<Duration>,
    /// The server's name for bearer tokens, which
    /// [`token_type_name`](SourceBuilder::token_type_name) accepts.
    pub token_type_name: Option<&'static str>,
    /// True if its tokens or responses are accepted only with
    /// [`lenient_responses`](SourceBuilder::lenient_responses).
    pub lenient_responses: bool,
    /// Surprising behaviour, one sentence each.
    pub quirks: &'static [&'static str],
    /// The pages of the server's documentation that state these facts.
    pub sources: &'static [&'static str],
}

/// The client authentication method for a client secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretAuthentication {
    /// `client_secret_basic`, form-encoded (RFC 6749 section 2.3.1).
    Basic,
    /// `client_secret_basic` without the encoding: the server does not decode.
    BasicRaw,
    /// `client_secret_post`.
    Post,
    /// None: the server accepts signed assertions only (RFC 7523).
    Assertion,
}

/// The way a request names the token's audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudienceRule {
    /// By scopes only; `resource` and `audience` are refused or ignored.
    ScopesAlone,
    /// By `audience`; a token without one is useless.
    AudienceRequired,
    /// By an optional `audience`.
    AudienceAllowed,
}

/// The server's requirements for scopes, which are separated by spaces (RFC 6749 section 3.3) on all these servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scopes {
    /// Optional: without any, the server grants the configured ones.
    Optional,
    /// At least one.
    Required,
    /// Exactly one, with this suffix.
    OneWithSuffix(&'static str),
}

impl Preset {
    /// The fields of a server without a format of its own; each preset sets the first ones.
    pub(super) const STANDARD: Self = Self {
        name: "",
        token_endpoint: "",
        authentication: SecretAuthentication::Basic,
        audience: AudienceRule::ScopesAlone,
        scopes: Scopes::Optional,
        grant_type: None,
        parameters: &[],
        default_lifetime: None,
        token_type_name: None,
        lenient_responses: false,
        quirks: &[],
        sources: &[],
    };

    /// Returns the token endpoint with these values for the placeholders.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the value that is missing, unknown, or not valid in a host name or in one segment of
    /// a path.
    pub fn endpoint(&self, values: &[(&str, &str)]) -> Result<String, BuildError> {
        let wrong = |message: String| Err(BuildError::new("token_endpoint", message));
        let mut endpoint = self.token_endpoint.to_owned();
        for (name, value) in values {
            let place = format!("{{{name}}}");
            if !endpoint.contains(&place) {
                return wrong(format!(
                    "{} has no variable `{name}`; its endpoint is {}",
                    self.name, self.token_endpoint
                ));
            }
            let fit = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
            if value.is_empty() || value.contains("..") || !value.chars().all(fit) {
                return wrong(format!(
                    "the `{name}` of {} cannot be part of an address; write it without scheme, path or spaces",
                    self.name
                ));
            }
            endpoint = endpoint.replace(&place, value);
        }
        match endpoint.split_once('{') {
            None => Ok(endpoint),
            Some((_, rest)) => {
                let name = rest.split('}').next().unwrap_or_default();
                wrong(format!(
                    "{} needs a `{name}`: {}",
                    self.name, self.token_endpoint
                ))
            }
        }
    }

    /// Creates a builder for this server. [`build`](SourceBuilder::build) refuses scopes and audiences that the server
    /// would refuse.
    ///
    /// # Errors
    ///
    /// A [`BuildError`], as for [`endpoint`](Self::endpoint), or if the server does not accept secrets.
    pub fn builder(
        &'static self,
        values: &[(&str, &str)],
        client_id: &str,
        secret: impl SecretSource + 'static,
    ) -> Result<SourceBuilder<ClientCredentials>, BuildError> {
        let endpoint = self.endpoint(values)?;
        Ok(match self.authentication {
            SecretAuthentication::Basic => {
                self.builder_at(endpoint, client_id, ClientSecretBasic::new(secret))
            }
            SecretAuthentication::BasicRaw => {
                self.builder_at(endpoint, client_id, ClientSecretBasic::raw(secret))
            }
            SecretAuthentication::Post => {
                self.builder_at(endpoint, client_id, ClientSecretPost::new(secret))
            }
            SecretAuthentication::Assertion => {
                return Err(BuildError::new(
                    "authentication",
                    format!(
                        "{} does not accept client secrets; use a signed assertion (RFC 7523)",
                        self.name
                    ),
                ));
            }
        })
    }

    /// Creates a builder as [`builder`](Self::builder) does, for any token endpoint and client authentication method.
    ///
    /// ```
    /// use hallpass_core::Secret;
    /// use hallpass_endpoint::{ClientSecretBasic, presets::KEYCLOAK};
    ///
    /// let endpoint = KEYCLOAK.endpoint(&[("host", "sso.example"), ("realm", "orders")])?;
    /// let authentication = ClientSecretBasic::new(Secret::new("s3cr3t")?);
    /// let source = KEYCLOAK.builder_at(endpoint, "orders-service", authentication).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder_at(
        &'static self,
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
    ) -> SourceBuilder<ClientCredentials> {
        let mut builder = ClientCredentials::builder(token_endpoint, client_id, authentication);
        if let Some(grant_type) = self.grant_type {
            builder = builder.grant_type(grant_type);
        }
        if let Some(lifetime) = self.default_lifetime {
            builder.rules.default_lifetime = lifetime;
        }
        if let Some(name) = self.token_type_name {
            builder = builder.token_type_name(name);
        }
        if self.lenient_responses {
            builder = builder.lenient_responses();
        }
        builder.check_defaults(|request| self.check_request(request))
    }

    /// Refuses a request that this server would refuse. The source of [`builder_at`](Self::builder_at) checks its default
    /// request when it is built; this is for settings that are checked earlier.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the setting.
    pub fn check_request(&self, request: &TokenRequest) -> Result<(), BuildError> {
        let wrong = |setting, message: String| Err(BuildError::new(setting, message));
        let name = self.name;
        let scopes = request.scopes();
        let audiences = request.audiences().next().is_some();
        match self.audience {
            AudienceRule::AudienceRequired if !audiences => {
                return wrong(
                    "audience",
                    format!("{name} requires an audience: the API that the token is for"),
                );
            }
            AudienceRule::ScopesAlone if audiences => {
                return wrong(
                    "audience",
                    format!("{name} does not support audiences; request scopes"),
                );
            }
            _ => {}
        }
        if request.resources().next().is_some() {
            return wrong(
                "resource",
                format!("{name} does not support `resource`; see the quirks of its preset"),
            );
        }
        let is_set = |name: &str| request.parameters().any(|(set, _)| set == name);
        if let Some(missing) = self.parameters.iter().find(|name| !is_set(name)) {
            return wrong(
                "parameter",
                format!("{name} requires the parameter `{missing}`"),
            );
        }
        match self.scopes {
            Scopes::Required if scopes.is_empty() => {
                wrong("scope", format!("{name} requires at least one scope"))
            }
            Scopes::OneWithSuffix(suffix)
                if scopes.as_str().split(' ').count() != 1
                    || !scopes.as_str().ends_with(suffix) =>
            {
                wrong(
                    "scope",
                    format!(
                        "{name} requires exactly one scope that ends in `{suffix}`, such as `api://orders{suffix}`"
                    ),
                )
            }
            _ => Ok(()),
        }
    }
}
