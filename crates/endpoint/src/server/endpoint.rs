use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hallpass_core::TokenError;
use url::Url;

use crate::{
    BuildError, Credentials, Discovery, Metadata,
    exchange::retry::Tries,
    hints,
    management::client::Action,
    server::address::{Address, AddressRules},
    server::discovery::Discovered,
};

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
    Known(String),
    Discovered(Arc<Discovered>),
}

impl Endpoint {
    /// Creates an endpoint with this token endpoint URL, which is checked when a source is built.
    pub fn new(token_endpoint: impl Into<String>) -> Self {
        Self::at(Server::Known(token_endpoint.into()))
    }

    /// Discovers the endpoints of the server with this issuer identifier from its metadata (RFC 8414): an `https` URL
    /// without query and fragment, exactly as the server spells it.
    pub fn discover(issuer: impl Into<String>) -> Discovery {
        Discovery::new(issuer.into())
    }

    pub(crate) fn discovered(discovered: Discovered) -> Self {
        Self::at(Server::Discovered(Arc::new(discovered)))
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
            Server::Known(_) => Ok(None),
            Server::Discovered(discovered) => discovered.metadata().await.map(Some),
        }
    }

    /// Checks the addresses that are set.
    pub(crate) fn locate(self, rules: AddressRules) -> Result<Located, BuildError> {
        let parse = |setting, url: Option<String>| {
            let parsed = url.map(|url| Address::parse_as(setting, &url, rules));
            parsed.transpose()
        };
        let given = Given {
            introspection: parse("introspection_endpoint", self.introspection)?,
            revocation: parse("revocation_endpoint", self.revocation)?,
            mtls_alias: parse("mtls_alias", self.mtls_alias)?,
        };
        match self.server {
            Server::Known(token) => {
                let token = Address::parse_as("token_endpoint", &token, rules)?;
                if token.url().scheme() == "http" {
                    tracing::warn!(host = token.host(), "token requests go over plain HTTP");
                }
                let place = Place {
                    token,
                    introspection: given.introspection.map(Ok),
                    revocation: given.revocation.map(Ok),
                    aliases: Aliases {
                        token: given.mtls_alias.map(Ok),
                        ..Aliases::default()
                    },
                    metadata: None,
                };
                Ok(Located::Known(Arc::new(place)))
            }
            Server::Discovered(server) => Ok(Located::Discovered(Box::new(Finder {
                server,
                given,
                rules,
                last: Mutex::default(),
            }))),
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
            Server::Known(_) => f.write_str("Endpoint(..)"),
            Server::Discovered(discovered) => f.debug_tuple("Endpoint").field(discovered).finish(),
        }
    }
}

/// An endpoint whose addresses were checked, or will be once they are discovered.
pub(crate) enum Located {
    Known(Arc<Place>),
    Discovered(Box<Finder>),
}

/// The addresses that were set, in addition to the metadata.
struct Given {
    introspection: Option<Address>,
    revocation: Option<Address>,
    mtls_alias: Option<Address>,
}

/// A resolver of discovered addresses that caches them per document.
pub(crate) struct Finder {
    server: Arc<Discovered>,
    given: Given,
    rules: AddressRules,
    last: Mutex<Option<Arc<Place>>>,
}

/// An optional address, checked only when it is used: a bad one must not fail requests to other endpoints.
type Found = Option<Result<Address, BuildError>>;

/// The addresses of an authorization server.
#[derive(Debug)]
pub(crate) struct Place {
    token: Address,
    introspection: Found,
    revocation: Found,
    aliases: Aliases,
    metadata: Option<Arc<Metadata>>,
}

/// The addresses for clients that present a certificate.
#[derive(Debug, Default)]
struct Aliases {
    token: Found,
    introspection: Found,
    revocation: Found,
}

impl Located {
    /// Returns the current addresses.
    pub(crate) async fn place(&self) -> Result<Arc<Place>, TokenError> {
        match self {
            Self::Known(place) => Ok(place.clone()),
            Self::Discovered(finder) => finder.place().await,
        }
    }

    /// Returns the current addresses, within the call's remaining time.
    pub(crate) async fn place_within(&self, tries: &Tries) -> Result<Arc<Place>, TokenError> {
        let late = || {
            TokenError::unavailable(
                "the server's metadata did not arrive within the call's deadline",
            )
            .with_host(self.host())
        };
        tries.within(self.place(), late).await
    }

    /// Returns the host as shown in errors and traces.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Known(place) => place.host(),
            Self::Discovered(finder) => finder.server.host(),
        }
    }
}

impl Finder {
    async fn place(&self) -> Result<Arc<Place>, TokenError> {
        let metadata = self.server.metadata().await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.as_ref().filter(|place| place.is_of(&metadata));
        if let Some(place) = known {
            return Ok(place.clone());
        }
        let place = Arc::new(self.read(metadata)?);
        *last = Some(place.clone());
        Ok(place)
    }

    fn read(&self, metadata: Arc<Metadata>) -> Result<Place, TokenError> {
        let named = |error: TokenError| error.with_host(self.server.host());
        metadata.require("token_endpoint").map_err(named)?;
        let token = metadata.token_endpoint().ok_or_else(|| {
            let missing = "the metadata has no `token_endpoint`, so the server issues no tokens";
            named(TokenError::unusable_response(missing))
        })?;
        let token = Address::parse(token, self.rules).map_err(|error| named(unusable(&error)))?;
        let found = |setting, given: &Option<Address>, said: Option<&str>| -> Found {
            let said = || said.map(|url| Address::parse_as(setting, url, self.rules));
            given.clone().map(Ok).or_else(said)
        };
        // An address that was set is not replaced by an alias of another one.
        let alias = |setting, given: Option<&Address>| -> Found {
            let said = metadata.mtls_alias(setting).filter(|_| given.is_none());
            said.map(|url| Address::parse_as("mtls_endpoint_aliases", url, self.rules))
        };
        let aliases = Aliases {
            token: (self.given.mtls_alias.clone().map(Ok))
                .or_else(|| alias("token_endpoint", None)),
            introspection: alias("introspection_endpoint", self.given.introspection.as_ref()),
            revocation: alias("revocation_endpoint", self.given.revocation.as_ref()),
        };
        let place = Place {
            token,
            aliases,
            introspection: found(
                "introspection_endpoint",
                &self.given.introspection,
                metadata.introspection_endpoint(),
            ),
            revocation: found(
                "revocation_endpoint",
                &self.given.revocation,
                metadata.revocation_endpoint(),
            ),
            metadata: Some(metadata),
        };
        tracing::info!(
            issuer = self.server.host(),
            host = place.host(),
            "token endpoint discovered"
        );
        Ok(place)
    }
}

impl Place {
    pub(crate) fn token_endpoint(&self) -> &Url {
        self.token.url()
    }

    /// Returns the URL of a token request with these credentials: the alias, if there is one and they have a
    /// certificate.
    pub(crate) fn token_endpoint_for(
        &self,
        credentials: &Credentials,
    ) -> Result<&Address, TokenError> {
        alias(&self.aliases.token, credentials).unwrap_or(Ok(&self.token))
    }

    pub(crate) fn host(&self) -> &str {
        self.token.host()
    }

    /// Returns the URL of an introspection or revocation request with these credentials.
    pub(crate) fn address_for(
        &self,
        action: Action,
        credentials: &Credentials,
    ) -> Result<&Address, TokenError> {
        let alias = alias(self.alias_for(action), credentials);
        alias.unwrap_or_else(|| self.address(action))
    }

    /// Checks that there is an address for the action; cheaper than making credentials first.
    pub(crate) fn require(&self, action: Action) -> Result<(), TokenError> {
        if self.alias_for(action).is_some() {
            return Ok(());
        }
        self.address(action).map(drop)
    }

    fn alias_for(&self, action: Action) -> &Found {
        match action {
            Action::Introspect => &self.aliases.introspection,
            Action::Revoke => &self.aliases.revocation,
        }
    }

    fn address(&self, action: Action) -> Result<&Address, TokenError> {
        let found = match action {
            Action::Introspect => &self.introspection,
            Action::Revoke => &self.revocation,
        };
        let name = action.endpoint();
        if let (None, Some(metadata)) = (found, &self.metadata) {
            metadata.require(name)?;
        }
        match found {
            Some(Ok(address)) => Ok(address),
            Some(Err(error)) => Err(unusable(error)),
            None => Err(
                TokenError::configuration(format!("the server's `{name}` is not known")).with_hint(
                    if self.metadata.is_some() {
                        hints::NO_ADDRESS
                    } else {
                        hints::UNKNOWN_ADDRESS
                    },
                ),
            ),
        }
    }

    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_deref()
    }

    fn is_of(&self, metadata: &Arc<Metadata>) -> bool {
        let ours = self.metadata.as_ref();
        ours.is_some_and(|ours| Arc::ptr_eq(ours, metadata))
    }
}

fn unusable(error: &BuildError) -> TokenError {
    TokenError::unusable_response(format!("the metadata's address cannot be used, {error}"))
}

/// Returns the alias, if there is one and the credentials have a certificate.
fn alias<'a>(
    found: &'a Found,
    credentials: &Credentials,
) -> Option<Result<&'a Address, TokenError>> {
    let found = found
        .as_ref()
        .filter(|_| credentials.identity().is_some())?;
    Some(found.as_ref().map_err(unusable))
}
