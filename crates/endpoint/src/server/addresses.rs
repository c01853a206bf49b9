//! The addresses of an authorization server: set, or resolved from its metadata.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hallpass_core::TokenError;
use url::Url;

use super::{
    address::{Address, AddressRules},
    document::MetadataDocument,
    metadata::Metadata,
};
use crate::{BuildError, hints};

/// An endpoint for issued tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManagementEndpoint {
    Introspection,
    Revocation,
}

impl ManagementEndpoint {
    /// Returns the endpoint's name in the metadata, which is also the setting's.
    pub(crate) fn metadata_name(self) -> &'static str {
        match self {
            Self::Introspection => "introspection_endpoint",
            Self::Revocation => "revocation_endpoint",
        }
    }
}

/// An endpoint whose addresses were checked, or will be once they are discovered.
pub(crate) enum AddressSource {
    Fixed(Arc<ServerAddresses>),
    Resolved(Box<AddressResolver>),
}

/// The addresses that were set, in addition to the token endpoint or the metadata.
pub(super) struct AddressOverrides {
    pub(super) introspection: Option<Address>,
    pub(super) revocation: Option<Address>,
    pub(super) mtls_alias: Option<Address>,
}

/// A resolver of discovered addresses that caches them per document.
pub(crate) struct AddressResolver {
    server: Arc<MetadataDocument>,
    overrides: AddressOverrides,
    rules: AddressRules,
    last: Mutex<Option<Arc<ServerAddresses>>>,
}

/// An optional address, checked only when it is used: a bad one must not fail requests to other endpoints.
type OptionalAddress = Option<Result<Address, BuildError>>;

/// The addresses of an authorization server.
#[derive(Debug)]
pub(crate) struct ServerAddresses {
    token: Address,
    introspection: OptionalAddress,
    revocation: OptionalAddress,
    aliases: Aliases,
    metadata: Option<Arc<Metadata>>,
}

/// The addresses for clients that present a certificate.
#[derive(Debug, Default)]
struct Aliases {
    token: OptionalAddress,
    introspection: OptionalAddress,
    revocation: OptionalAddress,
}

impl AddressSource {
    pub(super) fn fixed(token: Address, overrides: AddressOverrides) -> Self {
        Self::Fixed(Arc::new(ServerAddresses {
            token,
            introspection: overrides.introspection.map(Ok),
            revocation: overrides.revocation.map(Ok),
            aliases: Aliases {
                token: overrides.mtls_alias.map(Ok),
                ..Aliases::default()
            },
            metadata: None,
        }))
    }

    pub(super) fn resolved(
        server: Arc<MetadataDocument>,
        overrides: AddressOverrides,
        rules: AddressRules,
    ) -> Self {
        Self::Resolved(Box::new(AddressResolver {
            server,
            overrides,
            rules,
            last: Mutex::default(),
        }))
    }

    /// Returns the current addresses, for a call with this time left.
    pub(crate) async fn addresses(
        &self,
        left: Duration,
    ) -> Result<Arc<ServerAddresses>, TokenError> {
        match self {
            Self::Fixed(addresses) => Ok(addresses.clone()),
            Self::Resolved(resolver) => resolver.addresses(left).await,
        }
    }

    /// Returns the host as shown in errors and traces.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Fixed(addresses) => addresses.host(),
            Self::Resolved(resolver) => resolver.server.host(),
        }
    }
}

impl AddressResolver {
    async fn addresses(&self, left: Duration) -> Result<Arc<ServerAddresses>, TokenError> {
        let metadata = self.server.metadata(left).await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last
            .as_ref()
            .filter(|addresses| addresses.is_from(&metadata));
        if let Some(addresses) = known {
            return Ok(addresses.clone());
        }
        let addresses = Arc::new(self.read(metadata)?);
        *last = Some(addresses.clone());
        Ok(addresses)
    }

    fn read(&self, metadata: Arc<Metadata>) -> Result<ServerAddresses, TokenError> {
        let named = |error: TokenError| error.with_host(self.server.host());
        metadata.require("token_endpoint").map_err(named)?;
        let token = metadata.token_endpoint().ok_or_else(|| {
            let missing = "the metadata has no `token_endpoint`, so the server issues no tokens";
            named(TokenError::unusable_response(missing))
        })?;
        let token = Address::parse(token, self.rules).map_err(|error| named(unusable(&error)))?;
        let found = |setting, overrides: &Option<Address>, said: Option<&str>| -> OptionalAddress {
            let said = || said.map(|url| Address::parse_as(setting, url, self.rules));
            overrides.clone().map(Ok).or_else(said)
        };
        // An address that was set is not replaced by an alias of another one.
        let alias = |setting, overrides: Option<&Address>| -> OptionalAddress {
            let said = metadata.mtls_alias(setting).filter(|_| overrides.is_none());
            said.map(|url| Address::parse_as("mtls_endpoint_aliases", url, self.rules))
        };
        let aliases = Aliases {
            token: (self.overrides.mtls_alias.clone().map(Ok))
                .or_else(|| alias("token_endpoint", None)),
            introspection: alias(
                "introspection_endpoint",
                self.overrides.introspection.as_ref(),
            ),
            revocation: alias("revocation_endpoint", self.overrides.revocation.as_ref()),
        };
        let addresses = ServerAddresses {
            token,
            aliases,
            introspection: found(
                "introspection_endpoint",
                &self.overrides.introspection,
                metadata.introspection_endpoint(),
            ),
            revocation: found(
                "revocation_endpoint",
                &self.overrides.revocation,
                metadata.revocation_endpoint(),
            ),
            metadata: Some(metadata),
        };
        tracing::info!(
            issuer = self.server.host(),
            host = addresses.host(),
            "token endpoint discovered"
        );
        Ok(addresses)
    }
}

impl ServerAddresses {
    pub(crate) fn token_endpoint(&self) -> &Url {
        self.token.url()
    }

    /// Returns the address for token requests: the alias, if there is one and the client presents a certificate.
    pub(crate) fn token_endpoint_for(
        &self,
        with_certificate: bool,
    ) -> Result<&Address, TokenError> {
        alias(&self.aliases.token, with_certificate).unwrap_or(Ok(&self.token))
    }

    pub(crate) fn host(&self) -> &str {
        self.token.host()
    }

    /// Returns the address for introspection or revocation.
    pub(crate) fn address_for(
        &self,
        endpoint: ManagementEndpoint,
        with_certificate: bool,
    ) -> Result<&Address, TokenError> {
        let alias = alias(self.alias_for(endpoint), with_certificate);
        alias.unwrap_or_else(|| self.address(endpoint))
    }

    /// Checks that there is an address; cheaper than making credentials first.
    pub(crate) fn require(&self, endpoint: ManagementEndpoint) -> Result<(), TokenError> {
        if self.alias_for(endpoint).is_some() {
            return Ok(());
        }
        self.address(endpoint).map(drop)
    }

    fn alias_for(&self, endpoint: ManagementEndpoint) -> &OptionalAddress {
        match endpoint {
            ManagementEndpoint::Introspection => &self.aliases.introspection,
            ManagementEndpoint::Revocation => &self.aliases.revocation,
        }
    }

    fn address(&self, endpoint: ManagementEndpoint) -> Result<&Address, TokenError> {
        let found = match endpoint {
            ManagementEndpoint::Introspection => &self.introspection,
            ManagementEndpoint::Revocation => &self.revocation,
        };
        let name = endpoint.metadata_name();
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

    fn is_from(&self, metadata: &Arc<Metadata>) -> bool {
        let ours = self.metadata.as_ref();
        ours.is_some_and(|ours| Arc::ptr_eq(ours, metadata))
    }
}

fn unusable(error: &BuildError) -> TokenError {
    TokenError::unusable_response(format!("the metadata's address cannot be used, {error}"))
}

/// Returns the alias, if there is one and the client presents a certificate.
fn alias(found: &OptionalAddress, with_certificate: bool) -> Option<Result<&Address, TokenError>> {
    let address = found.as_ref().filter(|_| with_certificate)?;
    Some(address.as_ref().map_err(unusable))
}
