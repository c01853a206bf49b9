use std::{fmt, sync::Arc, time::Duration};

use hallpass_core::TokenError;

use super::{
    address::{Address, AddressRules},
    addresses::{AddressOverrides, AddressSource},
    document::MetadataDocument,
    metadata::Metadata,
};
use crate::{BuildError, Requirement, SecurityProfile};

/// An authorization server's addresses, set or discovered.
///
/// Builders accept anything that converts into one, so a token endpoint can be a string:
///
/// ```
/// use hallpass_endpoint::{ClientCredentials, Endpoint, PublicClient};
///
/// let source = ClientCredentials::builder("https://login.example/token", "orders-service", PublicClient::new()).build()?;
///
/// let login = Endpoint::discover("https://login.example").build()?;
/// let source = ClientCredentials::builder(login, "orders-service", PublicClient::new()).build()?;
/// # Ok::<(), hallpass_endpoint::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Endpoint {
    server: Server,
    introspection: Option<String>,
    revocation: Option<String>,
    mtls_alias: Option<String>,
}

#[derive(Clone)]
enum Server {
    Fixed(String),
    Discovered(Arc<MetadataDocument>),
}

impl Endpoint {
    /// Creates an endpoint with this token endpoint URL, which is checked when a source is built.
    pub fn new(token_endpoint: impl Into<String>) -> Self {
        Self::at(Server::Fixed(token_endpoint.into()))
    }

    pub(super) fn discovered(document: MetadataDocument) -> Self {
        Self::at(Server::Discovered(Arc::new(document)))
    }

    fn at(server: Server) -> Self {
        Self {
            server,
            introspection: None,
            revocation: None,
            mtls_alias: None,
        }
    }

    /// Sets the introspection endpoint (RFC 7662), overriding the metadata.
    #[must_use]
    pub fn with_introspection_endpoint(mut self, url: impl Into<String>) -> Self {
        self.introspection = Some(url.into());
        self
    }

    /// Sets the revocation endpoint (RFC 7009), overriding the metadata.
    #[must_use]
    pub fn with_revocation_endpoint(mut self, url: impl Into<String>) -> Self {
        self.revocation = Some(url.into());
        self
    }

    /// Sets the token endpoint for clients that present a certificate, overriding the metadata; all others use the
    /// usual one (RFC 8705 section 5).
    #[must_use]
    pub fn with_mtls_alias(mut self, token_endpoint: impl Into<String>) -> Self {
        self.mtls_alias = Some(token_endpoint.into());
        self
    }

    /// Returns the server's metadata, reading it if it is not cached; `None` for an endpoint that is not discovered.
    ///
    /// Call it when a program starts, to detect a wrong issuer before the first token is needed.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if there is no such document
    /// or it belongs to another issuer, of kind [`UnusableResponse`](hallpass_core::ErrorKind::UnusableResponse) if it
    /// cannot be read, and of kind [`Unavailable`](hallpass_core::ErrorKind::Unavailable) if a later call may succeed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels the read; another call starts it again.
    pub async fn metadata(&self) -> Result<Option<Arc<Metadata>>, TokenError> {
        match &self.server {
            Server::Fixed(_) => Ok(None),
            Server::Discovered(document) => document.metadata(Duration::MAX).await.map(Some),
        }
    }

    /// Checks that there is metadata, which this setting needs. `need` is a clause about the setting.
    pub(crate) fn check_discovered(
        &self,
        setting: &'static str,
        need: &str,
    ) -> Result<(), BuildError> {
        match self.server {
            Server::Discovered(_) => Ok(()),
            Server::Fixed(_) => {
                let message = format!("{need}, which is not read if `token_endpoint` is set");
                Err(BuildError::new(setting, message).with_hint("use `Endpoint::discover`"))
            }
        }
    }

    /// Checks that the addresses are those of the server's metadata alone, which is read over TLS.
    pub(crate) fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        const OVERRIDDEN: &str = "an address of the metadata is overridden";
        let document = match &self.server {
            Server::Discovered(document) => document,
            Server::Fixed(_) => {
                let fault = "the address is set";
                let error = profile.excludes("token_endpoint", fault, &Requirement::METADATA);
                return Err(error.with_hint("use `Endpoint::discover` with the server's issuer"));
            }
        };
        let overrides = [
            ("with_introspection_endpoint", &self.introspection),
            ("with_revocation_endpoint", &self.revocation),
            ("with_mtls_alias", &self.mtls_alias),
        ];
        if let Some((setting, _)) = overrides.iter().find(|(_, url)| url.is_some()) {
            return Err(profile
                .excludes(setting, OVERRIDDEN, &Requirement::METADATA)
                .with_hint("remove it"));
        }
        if !document.is_over_tls() {
            let error = profile.excludes(
                "issuer",
                "the metadata is read over plain HTTP",
                &Requirement::TLS,
            );
            return Err(error.with_hint("remove `danger_allow_http_on_loopback`"));
        }
        document.transport().check_profile(profile)
    }

    /// Checks the addresses that are set.
    pub(crate) fn locate(self, rules: AddressRules) -> Result<AddressSource, BuildError> {
        // Those of the metadata are not known yet.
        rules.check()?;
        let parse = |setting, url: Option<String>| {
            let parsed = url.map(|url| Address::parse_as(setting, &url, rules));
            parsed.transpose()
        };
        let overrides = AddressOverrides {
            introspection: parse("introspection_endpoint", self.introspection)?,
            revocation: parse("revocation_endpoint", self.revocation)?,
            mtls_alias: parse("mtls_alias", self.mtls_alias)?,
        };
        match self.server {
            Server::Fixed(token) => {
                let token = Address::parse_as("token_endpoint", &token, rules)?;
                if token.url().scheme() == "http" {
                    tracing::warn!(host = token.host(), "token requests sent over plain HTTP");
                }
                Ok(AddressSource::fixed(token, overrides))
            }
            Server::Discovered(document) => Ok(AddressSource::resolved(document, overrides, rules)),
        }
    }
}

impl From<&str> for Endpoint {
    fn from(token_endpoint: &str) -> Self {
        Self::new(token_endpoint)
    }
}

impl From<&String> for Endpoint {
    fn from(token_endpoint: &String) -> Self {
        Self::new(token_endpoint)
    }
}

impl From<String> for Endpoint {
    fn from(token_endpoint: String) -> Self {
        Self::new(token_endpoint)
    }
}

/// Hides the address: before it is checked, it may contain anything.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Server::Fixed(_) => f.write_str("Endpoint(..)"),
            Server::Discovered(document) => f.debug_tuple("Endpoint").field(document).finish(),
        }
    }
}
