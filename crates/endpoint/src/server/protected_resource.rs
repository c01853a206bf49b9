//! From a protected resource to its authorization server (RFC 9728), within the user's lists of both.

use std::{fmt, time::Duration};

use hallpass_core::{
    Clock as _, SystemClock, TextFilter, TokenError, TokenRequest,
    authorize::{Challenge, Origin, Target},
};
use http::HeaderMap;
use url::Url;

use super::{
    address::{Address, AddressRules},
    discovery::Discovery,
    endpoint::Endpoint,
    fetch::{self, DocumentKind},
    resource_document::ResourceDocument,
};
use crate::{BuildError, HttpTransport, hints};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
const METADATA_SETTING: &str = "resource_metadata";
/// The maximum number of issuers in an error.
const MAX_SHOWN_ISSUERS: usize = 4;

/// A client for the metadata of protected resources (RFC 9728), which leads from an API to its authorization server.
///
/// A resource names its own authorization server, so a hostile one can name a hostile one. Therefore only resources and
/// issuers that the program allows are used: [`allow_resource`](ResourceDiscoveryBuilder::allow_resource),
/// [`allow_issuer`](ResourceDiscoveryBuilder::allow_issuer).
///
/// Each call reads the document: build a source from the result, and keep it.
///
/// ```no_run
/// use hallpass_core::Secret;
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, ResourceDiscovery};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let resources = ResourceDiscovery::builder()
///     .allow_resource("https://orders.example")
///     .allow_issuer("https://login.example")
///     .build()?;
/// let orders = resources.discover("https://orders.example/api").await?;
/// let secret = ClientSecretBasic::new(Secret::new("s3cr3t")?);
/// let source = ClientCredentials::builder(orders.authorization_server().build()?, "reports", secret)
///     .resource(orders.resource())
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ResourceDiscovery {
    resources: Vec<Origin>,
    issuers: Vec<Box<str>>,
    accept_parent: bool,
    transport: HttpTransport,
    rules: AddressRules,
}

/// A builder of a [`ResourceDiscovery`].
#[must_use]
pub struct ResourceDiscoveryBuilder {
    resources: Vec<Origin>,
    issuers: Vec<String>,
    accept_parent: bool,
    transport: Option<HttpTransport>,
    rules: AddressRules,
    /// The first invalid setting.
    wrong: Option<BuildError>,
}

impl ResourceDiscoveryBuilder {
    /// Allows resources of this origin, such as `https://api.example`.
    pub fn allow_resource(mut self, origin: &str) -> Self {
        match origin.parse() {
            Ok(origin) => self.resources.push(origin),
            Err(error) => self.note("allow_resource", &error),
        }
        self
    }

    /// Allows this issuer, exactly as the server's metadata spells it.
    pub fn allow_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Accepts a `resource` that is above the URL of the request: one of the same origin whose path is the beginning of the
    /// request's, in whole segments. For metadata that a 401 names; RFC 9728 section 3.3 demands the URL itself.
    ///
    /// Most servers of the Model Context Protocol need it. Danger: an API that shares its origin with others can name a
    /// resource that is not its own, and gets tokens for it.
    pub fn accept_parent_resource(mut self) -> Self {
        self.accept_parent = true;
        self
    }

    /// Sets the transport, also for the authorization server's metadata. Default: one with default settings.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Allows plain HTTP to this machine, for tests and development, also for the issuer's metadata.
    ///
    /// Danger: other processes on this machine may impersonate the servers. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.rules.allow_http_on_loopback = true;
        self
    }

    /// Builds the client without connecting to anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if a list is empty, an origin or issuer is invalid, or the transport cannot be set up.
    pub fn build(self) -> Result<ResourceDiscovery, BuildError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let missing = |setting, what| Err(BuildError::new(setting, what));
        if self.resources.is_empty() {
            return missing("allow_resource", "no origin of a resource is allowed");
        }
        if self.issuers.is_empty() {
            return missing("allow_issuer", "no issuer is allowed");
        }
        for origin in &self.resources {
            Address::parse_as("allow_resource", &origin.to_string(), self.rules)?;
        }
        let transport = HttpTransport::or_default(self.transport)?;
        for issuer in &self.issuers {
            let discovery = discovery(issuer, &transport, self.rules);
            discovery
                .build()
                .map_err(|error| BuildError::new("allow_issuer", error.message().to_owned()))?;
        }
        Ok(ResourceDiscovery {
            resources: self.resources,
            issuers: self.issuers.into_iter().map(Into::into).collect(),
            accept_parent: self.accept_parent,
            transport,
            rules: self.rules,
        })
    }

    fn note(&mut self, setting: &'static str, error: &dyn fmt::Display) {
        self.wrong
            .get_or_insert_with(|| BuildError::new(setting, error.to_string()));
    }
}

impl ResourceDiscovery {
    /// Creates a builder that allows no resource and no issuer.
    pub fn builder() -> ResourceDiscoveryBuilder {
        ResourceDiscoveryBuilder {
            resources: Vec::new(),
            issuers: Vec::new(),
            accept_parent: false,
            transport: None,
            rules: AddressRules::default(),
            wrong: None,
        }
    }

    /// Reads the metadata of a resource by its identifier, from its well-known location (RFC 9728 section 3.1).
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if the resource or all of its
    /// authorization servers are not allowed, if there is no document, or if it is that of another resource; of kind
    /// [`UnusableResponse`](hallpass_core::ErrorKind::UnusableResponse) if it cannot be read, and of kind
    /// [`Unavailable`](hallpass_core::ErrorKind::Unavailable) if a later call may succeed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels the request.
    pub async fn discover(&self, resource: &str) -> Result<ProtectedResource, TokenError> {
        let address = self.allowed(resource)?;
        self.read(&well_known(address.url()), resource, false).await
    }

    /// Reads the metadata that the response to a request names: the parameter `resource_metadata` of a challenge in
    /// `WWW-Authenticate` (RFC 9728 section 5.1). `url` is that of the request, and `headers` are those of the 401.
    ///
    /// # Errors
    ///
    /// As [`discover`](Self::discover), and of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if no
    /// challenge names metadata, or they are not at the request's own origin.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels the request.
    pub async fn discover_from(
        &self,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<ProtectedResource, TokenError> {
        let request = self.allowed(url)?;
        let named = |error: TokenError| error.with_host(request.host());
        let challenges = Challenge::all(headers);
        let mut metadata = challenges
            .iter()
            .filter_map(|found| found.parameter(METADATA_SETTING));
        let metadata = metadata.next().ok_or_else(|| {
            let missing = "the response names no `resource_metadata` in `WWW-Authenticate` (RFC 9728 section 5.1)";
            named(TokenError::configuration(missing).with_hint(hints::NO_RESOURCE_METADATA))
        })?;
        let metadata = Address::parse_as(METADATA_SETTING, metadata, self.rules);
        let metadata = metadata.map_err(|error| {
            named(TokenError::unusable_response(format!(
                "the address of the resource's metadata cannot be used, {error}"
            )))
        })?;
        if metadata.url().origin() != request.url().origin() {
            let host = TextFilter::new().clean(metadata.host());
            let message =
                format!("the response names metadata at another origin than its own, `{host}`");
            return Err(named(TokenError::configuration(message)));
        }
        self.read(metadata.url(), url, self.accept_parent).await
    }

    /// Checks that the resource is one that is allowed.
    fn allowed(&self, resource: &str) -> Result<Address, TokenError> {
        let address = Address::parse_as("resource", resource, self.rules)
            .map_err(|error| TokenError::configuration(error.to_string()))?;
        let url = address.url();
        let host = url.host_str().unwrap_or_default();
        let target = Target::new(url.scheme(), host, url.port());
        if self.resources.iter().any(|origin| origin.is_at(target)) {
            return Ok(address);
        }
        Err(
            TokenError::configuration("the origin of the resource is not allowed")
                .with_hint(hints::RESOURCE_NOT_ALLOWED)
                .with_host(address.host()),
        )
    }

    async fn read(
        &self,
        location: &Url,
        requested: &str,
        accept_parent: bool,
    ) -> Result<ProtectedResource, TokenError> {
        let kind = DocumentKind {
            name: "resource metadata",
            setting: "resource",
            redirect_hint: "resource metadata from a redirect is not accepted; check the resource",
            response_section: "RFC 9728 section 3.2",
            missing_hint: hints::NO_RESOURCE_METADATA,
        };
        let host = match (location.host_str().unwrap_or_default(), location.port()) {
            (host, None) => host.to_owned(),
            (host, Some(port)) => format!("{host}:{port}"),
        };
        let now = || SystemClock.wall();
        let answer = fetch::read(&self.transport, location, &kind, Duration::MAX, now).await;
        let found = answer.and_then(|answer| {
            let document = ResourceDocument::read(&answer.body)?;
            self.check_resource(&document, requested, accept_parent)?;
            self.choose(document)
        });
        let found = found.map_err(|error| error.with_host(&host))?;
        tracing::debug!(
            resource = host,
            issuer = found.issuer(),
            "resource metadata read"
        );
        Ok(found)
    }

    /// Compares code point by code point (RFC 9728 sections 3.3 and 6); otherwise a resource could get tokens for another.
    fn check_resource(
        &self,
        document: &ResourceDocument,
        requested: &str,
        accept_parent: bool,
    ) -> Result<(), TokenError> {
        let said = &*document.resource;
        let is_identifier = Address::parse_as("resource", said, self.rules).is_ok()
            && TokenRequest::new().with_resource(said).is_ok();
        if !is_identifier {
            return Err(TokenError::unusable_response(
                "the resource metadata's `resource` is not an `https` URL without a fragment (RFC 9728 section 1.2)",
            ));
        }
        if said == requested || accept_parent && is_parent(said, requested) {
            return Ok(());
        }
        let shown = TextFilter::new().clean(said);
        let message = format!(
            "the resource metadata is that of another resource, `{shown}` (RFC 9728 section 3.3)"
        );
        Err(TokenError::configuration(message).with_hint(hints::OTHER_RESOURCE))
    }

    /// Returns the resource with the first of its authorization servers that is allowed.
    fn choose(&self, document: ResourceDocument) -> Result<ProtectedResource, TokenError> {
        let listed = &document.authorization_servers;
        let is_allowed = |issuer: &&String| self.issuers.iter().any(|known| **known == ***issuer);
        if let Some(issuer) = listed.iter().find(is_allowed) {
            return Ok(ProtectedResource {
                issuer: issuer.as_str().into(),
                document,
                transport: self.transport.clone(),
                rules: self.rules,
            });
        }
        if listed.is_empty() {
            return Err(TokenError::unusable_response(
                "the resource metadata has no `authorization_servers` (RFC 9728 section 2)",
            ));
        }
        let shown = listed.iter().take(MAX_SHOWN_ISSUERS);
        let shown: Vec<_> = shown
            .map(|issuer| TextFilter::new().clean(issuer))
            .collect();
        let message = format!(
            "none of the resource's authorization servers is allowed: `{}`",
            shown.join("`, `")
        );
        Err(TokenError::configuration(message).with_hint(hints::ISSUER_NOT_ALLOWED))
    }
}

/// Returns the location of the metadata: the well-known path between host and path (RFC 9728 section 3.1).
fn well_known(resource: &Url) -> Url {
    let path = Some(resource.path()).filter(|path| *path != "/");
    let mut location = resource.clone();
    location.set_path(&format!("{WELL_KNOWN}{}", path.unwrap_or_default()));
    location
}

/// Returns true if the resource has the origin of the request, and its path begins the request's in whole segments.
///
/// The path must be written as it is read: a server that compares texts would find another one before `/%2e%2e/`.
fn is_parent(said: &str, request: &str) -> bool {
    let (Ok(resource), Ok(request)) = (Url::parse(said), Url::parse(request)) else {
        return false;
    };
    let above = resource.path().strip_suffix('/').unwrap_or(resource.path());
    let written = said.split_once("://").map(|(_, rest)| {
        let (_, path) = rest.split_once('/').unwrap_or_default();
        path.strip_suffix('/').unwrap_or(path)
    });
    let rest = request.path().strip_prefix(above);
    resource.origin() == request.origin()
        && resource.query().is_none()
        && written == Some(above.strip_prefix('/').unwrap_or(above))
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn discovery(issuer: &str, transport: &HttpTransport, rules: AddressRules) -> Discovery {
    let discovery = Endpoint::discover(issuer).transport(transport.clone());
    if rules.allow_http_on_loopback {
        discovery.danger_allow_http_on_loopback()
    } else {
        discovery
    }
}

/// A protected resource with an authorization server that is allowed to issue its tokens; see [`ResourceDiscovery`].
#[derive(Clone)]
pub struct ProtectedResource {
    issuer: Box<str>,
    document: ResourceDocument,
    transport: HttpTransport,
    rules: AddressRules,
}

impl ProtectedResource {
    /// Returns the resource identifier, exactly as in the metadata: the `resource` parameter of token requests (RFC 8707).
    pub fn resource(&self) -> &str {
        &self.document.resource
    }

    /// Returns the issuer identifier of the authorization server: the first that is listed and allowed.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns a builder for the discovery of the authorization server's endpoints, with the same transport.
    pub fn authorization_server(&self) -> Discovery {
        discovery(&self.issuer, &self.transport, self.rules)
    }

    /// Returns the scopes that the resource lists; there may be more.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.document.scopes.iter().map(String::as_str)
    }

    /// Returns true if the resource accepts only tokens that are bound to a key (RFC 9449).
    pub fn requires_dpop(&self) -> bool {
        self.document.requires_dpop
    }

    /// Returns true if the resource accepts tokens that are bound to a client's certificate (RFC 8705 section 3).
    pub fn binds_tokens_to_certificates(&self) -> bool {
        self.document.binds_tokens_to_certificates
    }

    /// Returns true if the resource has this type of authorization details (RFC 9396); `None` if the metadata does not
    /// say.
    pub fn supports_authorization_details_type(&self, name: &str) -> Option<bool> {
        let list = self.document.authorization_details_types.as_ref()?;
        Some(list.iter().any(|known| known == name))
    }
}

impl fmt::Debug for ResourceDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceDiscovery")
            .field("resources", &self.resources)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

/// The settings may contain anything before they are checked.
impl fmt::Debug for ResourceDiscoveryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceDiscoveryBuilder")
            .field("resources", &self.resources)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProtectedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedResource")
            .field("resource", &self.resource())
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
