//! The token source that the settings describe. It is built when a token is fetched, not for a cached one.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_cache::{CacheBuilder, CachedTokenSource};
use hallpass_camall::Camall;
use hallpass_core::{AccessToken, Prover, TokenError, TokenRequest, TokenSource, TokenType};
use hallpass_endpoint::{ClientCredentials, Endpoint, HttpTransport, Retry, SourceBuilder};
use hallpass_secrets::RegularFile;

use crate::{
    error::ProfileError,
    format::Headers,
    lazy::{Lazy, run_blocking},
    paths::MAX_CERTIFICATE_BYTES,
    server::{Server, ServerAddress},
    settings::Settings,
    shared::Shared,
    store::Stores,
    transports::{SharedTransport, TransportSettings},
};

mod authentication;
#[cfg(any(feature = "jwt", feature = "jwt-ring"))]
mod dpop;
mod key_with_certificate;
#[cfg(not(feature = "unstable-spiffe"))]
mod not_built;
mod registered;
#[cfg(any(feature = "jwt", feature = "jwt-ring"))]
mod signed;
#[cfg(not(any(feature = "jwt", feature = "jwt-ring")))]
#[path = "source/unsigned.rs"]
mod signed;

#[cfg(any(feature = "jwt", feature = "jwt-ring"))]
use dpop::prover;
#[cfg(any(feature = "jwt", feature = "jwt-ring"))]
pub use signed::parse_private_key;
#[cfg(not(any(feature = "jwt", feature = "jwt-ring")))]
use signed::prover;

/// The source of a profile. The first token request builds it, away from the runtime's threads: reading certificates and
/// setting up TLS takes milliseconds, and a token from a shared store needs neither.
pub struct ProfileSource {
    settings: Arc<Settings>,
    shares_refusals: bool,
    shared: Arc<Shared>,
    /// The prover of a key that other processes have too.
    prover: Option<Arc<dyn Prover>>,
    built: Lazy<BuiltSource>,
}

struct BuiltSource {
    source: Arc<dyn TokenSource>,
    /// Held, so that other sources find it.
    transport: Option<Arc<SharedTransport>>,
}

impl ProfileSource {
    /// Creates the source of these settings.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            shares_refusals: true,
            shared: Arc::default(),
            prover: None,
            built: Lazy::new(),
        }
    }

    /// Shares transports and stores with the other sources that have this collection.
    pub(crate) fn sharing(mut self, shared: Arc<Shared>) -> Self {
        self.shared = shared;
        self
    }

    /// Shares no refusals through a store. For the runs of a person, who corrects the cause at the server or in another
    /// setting, and has to see whether that worked.
    #[must_use]
    pub fn without_shared_refusals(mut self) -> Self {
        self.shares_refusals = false;
        self
    }

    /// Shares tokens that are bound to the profile's key (`dpop`) with other processes through a store, for programs that
    /// run often. `key` is [`Settings::dpop_key`]: it is read before the first look-up, since the tokens of each key have
    /// names of their own in the store. Default: bound tokens are not shared.
    #[cfg(any(feature = "jwt", feature = "jwt-ring"))]
    #[must_use]
    pub fn sharing_bound_tokens(mut self, key: hallpass_jwt::Dpop) -> Self {
        self.prover = Some(Arc::new(key.share_tokens()));
        self
    }

    /// Returns a builder of a cache of this source, without the profile's store.
    pub fn cache_builder(self) -> CacheBuilder<Self> {
        let (settings, prover) = (self.settings.clone(), self.prover.clone());
        with_prover(settings.cache_of(self), prover)
    }

    /// Returns the same with the profile's Redis store, if it has one. No I/O.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if a setting of the store is wrong, or this program was built without the feature `redis`.
    pub fn shared_cache_builder(self) -> Result<CacheBuilder<Self>, ProfileError> {
        let (settings, shared) = (self.settings.clone(), self.shared.clone());
        let prover = self.prover.clone();
        let builder = settings.shared_cache_of(self, &shared.stores)?;
        Ok(with_prover(builder, prover))
    }

    fn check_granted(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        if self.settings.require_granted_scopes {
            token.require_scopes(request.scopes())?;
        }
        match request.authorization_details() {
            Some(wanted) if self.settings.require_granted_authorization_details => {
                token.require_authorization_details(wanted)
            }
            _ => Ok(()),
        }
    }

    /// Returns the source, built by the first call.
    async fn source(&self) -> Result<Arc<BuiltSource>, TokenError> {
        self.built.get_or_build(self.build()).await
    }

    async fn build(&self) -> Result<BuiltSource, TokenError> {
        let settings = self.settings.clone();
        let retry = Retry::new().deadline(settings.call_deadline());
        let prover = match &self.prover {
            Some(prover) => Some(prover.clone()),
            None => prover(&settings)?,
        };
        if settings.provider.is_some() {
            let shared = self.shared.clone();
            let build = move || registered::build(&settings, &shared.transports, retry, prover);
            let (source, transport) = run_blocking(build).await??;
            return Ok(BuiltSource { source, transport });
        }
        let shared = self.shared.transports.transport(&settings).await?;
        let transport = shared.get().await?;
        let build = move || settings.source_over(&|| Ok(transport.clone()), retry, prover);
        let source = run_blocking(build).await??;
        Ok(BuiltSource {
            source,
            transport: Some(shared),
        })
    }
}

impl ProfileSource {
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the certificate authorities that were read for the current connections; none before the first request.
    pub(crate) fn ca_certificates_in_use(&self) -> Option<Vec<u8>> {
        let built = self.built.get()?;
        let transport = built.transport.as_ref()?;
        transport.ca_certificates().map(<[u8]>::to_vec)
    }

    /// Builds the source again, for new certificate authorities. If that fails, the old one stays in use.
    pub(crate) async fn rebuild(&self) -> Result<(), TokenError> {
        let built = self.build().await?;
        self.built.replace(built);
        Ok(())
    }
}

fn with_prover<S: TokenSource + 'static>(
    builder: CacheBuilder<S>,
    prover: Option<Arc<dyn Prover>>,
) -> CacheBuilder<S> {
    match prover {
        Some(prover) => builder.shared_prover(prover),
        None => builder,
    }
}

impl fmt::Debug for ProfileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileSource")
            .field("profile", &self.settings.profile)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenSource for ProfileSource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let request = request.or(&self.settings.request);
        let token = self.source().await?.source.token(&request).await?;
        self.check_granted(&request, &token)?;
        Ok(token)
    }

    fn invalidate(&self, token: &AccessToken) {
        if let Some(built) = self.built.get() {
            built.source.invalidate(token);
        }
    }

    /// Checks the token as the source would, without building it: a cached token needs neither TLS nor root
    /// certificates.
    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        let request = request.or(&self.settings.request);
        self.check_granted(&request, token)?;
        match self.built.get() {
            Some(built) => built.source.check_token(&request, token),
            // Another writer of the store must not turn bound tokens into bearer tokens.
            None if self.settings.dpop.is_some() && token.token_type() != TokenType::Dpop => Err(
                TokenError::unusable_response("the token is not bound to the key of `dpop`"),
            ),
            None => Ok(()),
        }
    }

    fn binds_tokens(&self) -> bool {
        let built = self.built.get();
        built.is_some_and(|built| built.source.binds_tokens())
            || self.settings.authentication.binds_tokens()
            || self.settings.dpop.is_some() && self.prover.is_none()
    }

    fn credential_epoch(&self) -> u64 {
        let built = self.built.get();
        built.map_or(0, |built| built.source.credential_epoch())
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        if !self.shares_refusals {
            return None;
        }
        let built = self.source().await.ok()?;
        built.source.credential_digest().await
    }
}

impl Settings {
    /// Creates the source, without a cache. Does not connect, and reads no secret yet. Pass [`request`](Self::request) to
    /// it: the source of a registered provider does not complete requests itself.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if a file of certificates cannot be read, or a setting is wrong.
    pub fn token_source(&self, retry: Retry) -> Result<Arc<dyn TokenSource>, ProfileError> {
        self.source_over(&|| self.transport(), retry, prover(self)?)
    }

    /// Creates the source, whose requests and whose discovery use this transport.
    fn source_over(
        &self,
        transport: &dyn Fn() -> Result<HttpTransport, ProfileError>,
        retry: Retry,
        prover: Option<Arc<dyn Prover>>,
    ) -> Result<Arc<dyn TokenSource>, ProfileError> {
        if let Some(provider) = &self.provider {
            let context = registered::Context {
                settings: self,
                transport,
                retry,
                prover,
            };
            let own = self.own.as_deref().cloned().unwrap_or_default();
            return provider.build(&own, &context);
        }
        let transport = transport()?;
        let authentication = self.client_authentication()?;
        let endpoint = self.endpoint_over(|| Ok(transport.clone()))?;
        let headers = self.open_headers()?;
        let change = |source: SourceBuilder<ClientCredentials>| {
            let source = source.transport(transport.clone()).retry(retry);
            self.apply_to(&headers, prover, source)
        };
        let client_id = &*self.client_id;
        let source = match self.server {
            Server::Camall => {
                let (method, secret) = authentication::camall_authentication(self)?;
                let camall = Camall::builder(client_id, secret)
                    .authentication(method)
                    .token_endpoint(endpoint);
                return Ok(Arc::new(camall.with_endpoint(change).build()?));
            }
            Server::Preset(preset) => preset.builder_at(endpoint, client_id, authentication),
            Server::Any | Server::Registered => {
                ClientCredentials::builder(endpoint, client_id, authentication)
            }
        };
        Ok(Arc::new(change(source).build()?))
    }

    /// Returns a builder of the cache of this profile's tokens, with its Redis store if it has one, for other settings
    /// than the default ones. No I/O.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if a setting of the store is wrong, or this program was built without the feature `redis`.
    pub fn cache_builder(&self) -> Result<CacheBuilder<ProfileSource>, ProfileError> {
        ProfileSource::new(Arc::new(self.clone())).shared_cache_builder()
    }

    /// Returns a builder of a cache of the source of these settings, without the profile's store.
    fn cache_of<S: TokenSource + 'static>(&self, source: S) -> CacheBuilder<S> {
        // The deadline of one source call, doubled to leave time for a shared store.
        CachedTokenSource::builder(source)
            .name(self.profile.as_deref().unwrap_or("default"))
            .fetch_timeout(self.call_deadline() * 2)
    }

    /// Returns the same with the profile's store, if it has one.
    pub(crate) fn shared_cache_of<S: TokenSource + 'static>(
        &self,
        source: S,
        stores: &Stores,
    ) -> Result<CacheBuilder<S>, ProfileError> {
        let builder = self.cache_of(source);
        let Some(redis) = &self.redis else {
            return Ok(builder);
        };
        let builder = builder.store(stores.store(self, redis)?, &self.namespace());
        Ok(match redis.timeout {
            Some(timeout) => builder.store_timeout(timeout).store_start_timeout(timeout),
            None => builder,
        })
    }

    /// Returns the server's address; sends no request yet.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the issuer is not a URL, a setting of the transport is wrong, or only a registered provider
    /// knows the address.
    pub fn endpoint(&self) -> Result<Endpoint, ProfileError> {
        self.endpoint_over(|| self.transport())
    }

    fn endpoint_over(
        &self,
        transport: impl FnOnce() -> Result<HttpTransport, ProfileError>,
    ) -> Result<Endpoint, ProfileError> {
        let (issuer, openid) = match &self.address {
            ServerAddress::TokenEndpoint(url) => return Ok(Endpoint::new(url)),
            ServerAddress::Issuer { issuer, openid } => (issuer, *openid),
            ServerAddress::OfProvider => {
                return Err(ProfileError::new("only the provider knows its address"));
            }
        };
        let mut discovery = Endpoint::discover(issuer).transport(transport()?);
        if openid {
            discovery = discovery.openid_location();
        }
        if self.danger_allow_http_on_loopback {
            discovery = discovery.danger_allow_http_on_loopback();
        }
        Ok(discovery.build()?)
    }

    /// Creates the transport of token requests. Reads the file of certificate authorities, if one is set.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the file cannot be read, or a setting is wrong.
    pub fn transport(&self) -> Result<HttpTransport, ProfileError> {
        TransportSettings::read(self)?.build()
    }

    /// Reads the file of additional certificate authorities, if one is set.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the file cannot be read.
    pub fn ca_certificates(&self) -> Result<Option<Vec<u8>>, ProfileError> {
        let Some(path) = &self.ca_file else {
            return Ok(None);
        };
        let pem = RegularFile::open(path).and_then(|file| file.read(MAX_CERTIFICATE_BYTES));
        let pem = pem
            .map_err(|error| ProfileError::new(format!("`ca_file`: {} {error}", path.display())))?;
        Ok(Some(pem))
    }

    /// Sets the profile's settings for requests and responses.
    fn apply_to(
        &self,
        headers: &Headers,
        prover: Option<Arc<dyn Prover>>,
        mut source: SourceBuilder<ClientCredentials>,
    ) -> SourceBuilder<ClientCredentials> {
        let request = &self.request;
        if let Some(prover) = prover {
            source = source.dpop(prover);
        }
        if let Some(profile) = self.security_profile {
            source = source.security_profile(profile);
        }
        if !request.scopes().is_empty() {
            source = source.scope(request.scopes().as_str());
        }
        for audience in request.audiences() {
            source = source.audience(audience);
        }
        for resource in request.resources() {
            source = source.resource(resource);
        }
        if let Some(details) = request.authorization_details() {
            source = source.authorization_details(details.as_str());
        }
        for (name, value) in request.parameters() {
            source = source.parameter(name, value);
        }
        if self.require_granted_scopes {
            source = source.require_granted_scopes();
        }
        if self.require_granted_authorization_details {
            source = source.require_granted_authorization_details();
        }
        if self.lenient_responses {
            source = source.lenient_responses();
        }
        if let Some(lifetime) = self.default_lifetime {
            source = source.default_lifetime(lifetime);
        }
        if let Some(lifetime) = self.max_lifetime {
            source = source.max_lifetime(lifetime);
        }
        if self.danger_allow_http_on_loopback {
            source = source.danger_allow_http_on_loopback();
        }
        match &self.format {
            Some(format) => format.apply_to(source, headers),
            None => source,
        }
    }

    fn open_headers(&self) -> Result<Headers, ProfileError> {
        let format = self.format.as_deref().into_iter();
        let headers = format.flat_map(|format| &format.request_headers);
        let open = headers.map(|(name, value)| {
            let value = self.open_secret("request_headers", value)?;
            Ok((name.clone(), value))
        });
        open.collect()
    }
}
