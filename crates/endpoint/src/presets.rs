//! What is known of well-known servers, as data: endpoint, authentication, what a request must name, quirks, and where
//! each fact was read.
//!
//! A preset is a start for a [`SourceBuilder`], and checks at its end what that server would refuse:
//!
//! ```
//! use hallpass_core::Secret;
//! use hallpass_endpoint::presets::AUTH0;
//!
//! let builder = AUTH0.builder(&[("domain", "acme.eu.auth0.com")], "orders-service", Secret::new("s3cr3t")?)?;
//! assert!(builder.audience("https://api.acme.example").build().is_ok());
//!
//! let builder = AUTH0.builder(&[("domain", "acme.eu.auth0.com")], "orders-service", Secret::new("s3cr3t")?)?;
//! assert_eq!(builder.build().unwrap_err().setting(), "audience");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod table;

use hallpass_core::{SecretSource, TokenRequest};

use crate::{
    BuildError, ClientAuthentication, ClientCredentials, ClientSecretBasic, ClientSecretPost,
    SourceBuilder,
};

pub use table::{ALL, AUTH0, COGNITO, ENTRA_ID, GOOGLE, KEYCLOAK, OKTA, ORY_HYDRA, ORY_NETWORK};

/// What is known of a server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Preset {
    /// Its name, for people.
    pub name: &'static str,
    /// The token endpoint, with names in braces for what differs between tenants.
    pub token_endpoint: &'static str,
    /// How a client with a secret proves itself.
    pub authentication: SecretAuthentication,
    /// How a request names what the token is for.
    pub target: Target,
    /// What a request must say of scopes.
    pub scopes: Scopes,
    /// What surprises, each in a sentence.
    pub quirks: &'static [&'static str],
    /// Pages of the server's own documentation on which this stands.
    pub sources: &'static [&'static str],
}

/// How a client with a secret proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretAuthentication {
    /// `client_secret_basic`, form-encoded (RFC 6749 section 2.3.1).
    Basic,
    /// `client_secret_basic` as it is, without the encoding: the server decodes nothing.
    BasicRaw,
    /// `client_secret_post`.
    Post,
    /// Not with a secret: the server takes signed assertions alone (RFC 7523).
    Assertion,
}

/// How a request names what the token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// By scopes alone; `resource` and `audience` are refused or passed over.
    ScopesAlone,
    /// By `audience`, and a token without one is of no use.
    AudienceRequired,
    /// By `audience`, if at all.
    AudienceAllowed,
}

/// What a request must say of scopes. Scopes are separated by spaces (RFC 6749 section 3.3) everywhere here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scopes {
    /// Nothing: without any, the server grants what is configured.
    Optional,
    /// At least one.
    Required,
    /// Exactly one, which ends like this.
    OneWithSuffix(&'static str),
}

impl Preset {
    /// The token endpoint with these values in place of the names in braces.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] names the value that is missing, not known, or holds something that does not belong into a host
    /// name or one segment of a path.
    pub fn endpoint(&self, values: &[(&str, &str)]) -> Result<String, BuildError> {
        let wrong = |message: String| Err(BuildError::new("token_endpoint", message));
        let mut endpoint = self.token_endpoint.to_owned();
        for (name, value) in values {
            let place = format!("{{{name}}}");
            if !endpoint.contains(&place) {
                return wrong(format!(
                    "{} knows no `{name}`; its endpoint is {}",
                    self.name, self.token_endpoint
                ));
            }
            let fit = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
            if value.is_empty() || value.contains("..") || !value.chars().all(fit) {
                return wrong(format!(
                    "the `{name}` of {} is not fit for an address: give it without scheme, path or spaces",
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

    /// Starts a source for this server. What it would refuse is told by
    /// [`build`](SourceBuilder::build), for the scopes and audiences that are set by then.
    ///
    /// # Errors
    ///
    /// A [`BuildError`], as [`endpoint`](Self::endpoint) has it, or where the server takes no secrets.
    pub fn builder(
        &'static self,
        values: &[(&str, &str)],
        client_id: &str,
        secret: impl SecretSource + 'static,
    ) -> Result<SourceBuilder<ClientCredentials>, BuildError> {
        let endpoint = self.endpoint(values)?;
        let builder = match self.authentication {
            SecretAuthentication::Basic => {
                ClientCredentials::builder(endpoint, client_id, ClientSecretBasic::new(secret))
            }
            SecretAuthentication::BasicRaw => {
                ClientCredentials::builder(endpoint, client_id, ClientSecretBasic::raw(secret))
            }
            SecretAuthentication::Post => {
                ClientCredentials::builder(endpoint, client_id, ClientSecretPost::new(secret))
            }
            SecretAuthentication::Assertion => {
                return Err(BuildError::new(
                    "authentication",
                    format!(
                        "{} takes no client secrets, but signed assertions (RFC 7523)",
                        self.name
                    ),
                ));
            }
        };
        Ok(builder.preset(self))
    }

    /// As [`builder`](Self::builder), for a client that proves itself in another way than with a secret that is sent.
    ///
    /// # Errors
    ///
    /// A [`BuildError`], as [`endpoint`](Self::endpoint) has it.
    pub fn builder_with(
        &'static self,
        values: &[(&str, &str)],
        client_id: &str,
        authentication: impl ClientAuthentication + 'static,
    ) -> Result<SourceBuilder<ClientCredentials>, BuildError> {
        let endpoint = self.endpoint(values)?;
        Ok(ClientCredentials::builder(endpoint, client_id, authentication).preset(self))
    }

    /// What this server would refuse.
    pub(crate) fn check(&self, request: &TokenRequest) -> Result<(), BuildError> {
        let wrong = |setting, message: String| Err(BuildError::new(setting, message));
        let name = self.name;
        let scopes = request.scopes();
        let audiences = request.audiences().next().is_some();
        match self.target {
            Target::AudienceRequired if !audiences => {
                return wrong(
                    "audience",
                    format!("{name} wants to know the API that a token is for; set it"),
                );
            }
            Target::ScopesAlone if audiences => {
                return wrong(
                    "audience",
                    format!("{name} knows no audiences; ask for scopes"),
                );
            }
            _ => {}
        }
        if request.resources().next().is_some() {
            return wrong(
                "resource",
                format!("{name} knows no `resource`; see its preset's quirks"),
            );
        }
        match self.scopes {
            Scopes::Required if scopes.is_empty() => {
                wrong("scope", format!("{name} wants at least one scope; set it"))
            }
            Scopes::OneWithSuffix(suffix)
                if scopes.as_str().split(' ').count() != 1
                    || !scopes.as_str().ends_with(suffix) =>
            {
                wrong(
                    "scope",
                    format!(
                        "{name} wants exactly one scope that ends in `{suffix}`, such as `api://orders{suffix}`"
                    ),
                )
            }
            _ => Ok(()),
        }
    }
}
