//! The token source that the settings describe. It is built when a token is fetched, not for a cached one.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use hallpass::{
    AccessToken, TokenError, TokenRequest, TokenSource, async_trait,
    camall::Camall,
    endpoint::{
        BuildError, ClientAuthentication, ClientCredentials, Endpoint, HttpTransport, Retry,
        SourceBuilder,
    },
    secrets::RegularFile,
};

use crate::{
    config::{AuthenticationSettings, Server, ServerAddress, Settings, TokenCache},
    failure::Failure,
};

mod authentication;

pub(crate) use authentication::{
    client_authentication, client_certificate, open_private_key, open_secret, parse_private_key,
    parse_signing_key,
};

/// A source that is built on first use: TLS and root certificates are not set up before.
pub(crate) struct LazySource {
    settings: Arc<Settings>,
    built: OnceLock<Arc<dyn TokenSource>>,
}

impl LazySource {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            built: OnceLock::new(),
        }
    }

    /// Returns the source, built by the first call.
    fn source(&self) -> Result<&dyn TokenSource, TokenError> {
        if let Some(built) = self.built.get() {
            return Ok(built);
        }
        let retry = Retry::new().deadline(self.settings.call_deadline());
        let built = build_source(&self.settings, retry)
            .map_err(|failure| TokenError::configuration(failure.to_string()))?;
        // Another call may have been first; both sources are equivalent.
        Ok(self.built.get_or_init(|| built))
    }
}

#[async_trait]
impl TokenSource for LazySource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.source()?.token(request).await
    }

    fn invalidate(&self, token: &AccessToken) {
        if let Some(source) = self.built.get() {
            source.invalidate(token);
        }
    }

    /// Checks the token as the source would, without building it: a cached token needs neither TLS nor root
    /// certificates.
    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        if self.settings.require_granted_scopes {
            token.require_scopes(request.or(&self.settings.request).scopes())?;
        }
        Ok(())
    }

    fn binds_tokens(&self) -> bool {
        self.settings.authentication.binds_tokens()
    }

    fn credential_epoch(&self) -> u64 {
        self.built.get().map_or(0, TokenSource::credential_epoch)
    }

    /// Shares refusals through Redis only. Runs of one user are often a person's, who corrects the cause at the server
    /// or in another setting, and has to see whether that worked.
    async fn credential_digest(&self) -> Option<[u8; 32]> {
        match self.settings.cache {
            TokenCache::Redis => self.source().ok()?.credential_digest().await,
            _ => None,
        }
    }
}

/// Builds the source. Does not connect, and reads no secret yet.
pub(crate) fn build_source(
    settings: &Settings,
    retry: Retry,
) -> Result<Arc<dyn TokenSource>, Failure> {
    let authentication = client_authentication(settings)?;
    let endpoint = build_endpoint(settings)?;
    let transport = build_transport(settings)?;
    let change = |source: SourceBuilder<ClientCredentials>| {
        let source = source
            .token_endpoint(endpoint)
            .transport(transport)
            .retry(retry);
        apply_settings(source, settings)
    };
    Ok(match settings.server {
        Server::Camall => {
            let (method, secret) = authentication::camall_authentication(settings)?;
            let camall = Camall::builder(settings.client_id.clone(), secret);
            let camall = match method {
                Some(method) => camall.authentication(method),
                None => camall,
            };
            Arc::new(camall.with_endpoint(change).build()?)
        }
        Server::Preset(preset) => {
            Arc::new(change(preset_builder(preset, settings, authentication)?).build()?)
        }
        Server::Any => {
            let id = settings.client_id.clone();
            Arc::new(change(ClientCredentials::builder("", id, authentication)).build()?)
        }
    })
}

/// Configures the server's address; sends no request yet.
pub(crate) fn build_endpoint(settings: &Settings) -> Result<Endpoint, Failure> {
    let (issuer, openid) = match &settings.address {
        ServerAddress::TokenEndpoint(url) => return Ok(Endpoint::new(url)),
        ServerAddress::Issuer { issuer, openid } => (issuer, *openid),
    };
    let mut discovery = Endpoint::discover(issuer).transport(build_transport(settings)?);
    if openid {
        discovery = discovery.openid_location();
    }
    if settings.danger_allow_http_on_loopback {
        discovery = discovery.danger_allow_http_on_loopback();
    }
    Ok(discovery.build()?)
}

/// Creates the preset's builder with placeholder variables, since the address is already known.
fn preset_builder(
    preset: &'static hallpass::endpoint::presets::Preset,
    settings: &Settings,
    authentication: Arc<dyn ClientAuthentication>,
) -> Result<SourceBuilder<ClientCredentials>, BuildError> {
    let names = preset.token_endpoint.split('{').skip(1);
    let names = names.filter_map(|rest| rest.split('}').next());
    let variables: Vec<_> = names.map(|name| (name, "x")).collect();
    match &settings.authentication {
        AuthenticationSettings::ClientSecret {
            encoding: None,
            secret,
        } => {
            let secret = open_secret(settings, "client_secret", secret);
            let secret = secret.map_err(|why| BuildError::new("client_secret", why.to_string()))?;
            preset.builder(&variables, &settings.client_id, secret)
        }
        _ => preset.builder_with(&variables, &settings.client_id, authentication),
    }
}

fn apply_settings(
    mut source: SourceBuilder<ClientCredentials>,
    settings: &Settings,
) -> SourceBuilder<ClientCredentials> {
    let request = &settings.request;
    if !request.scopes().is_empty() {
        source = source.scope(request.scopes().as_str());
    }
    for audience in request.audiences() {
        source = source.audience(audience);
    }
    for resource in request.resources() {
        source = source.resource(resource);
    }
    for (name, value) in request.parameters() {
        source = source.parameter(name, value);
    }
    if settings.require_granted_scopes {
        source = source.require_granted_scopes();
    }
    if settings.lenient_responses {
        source = source.lenient_responses();
    }
    if let Some(lifetime) = settings.max_lifetime {
        source = source.max_lifetime(lifetime);
    }
    if settings.danger_allow_http_on_loopback {
        source = source.danger_allow_http_on_loopback();
    }
    source
}

pub(crate) fn build_transport(settings: &Settings) -> Result<HttpTransport, Failure> {
    let mut transport = HttpTransport::builder();
    if let Some(timeout) = settings.timeout {
        transport = transport.timeout(timeout);
    }
    if let Some(timeout) = settings.connect_timeout {
        transport = transport.connect_timeout(timeout);
    }
    if let Some(user_agent) = &settings.user_agent {
        transport = transport.user_agent(user_agent);
    }
    if let Some(pem) = ca_certificates(settings)? {
        transport = transport.add_root_certificates_pem(pem);
    }
    transport = match settings.proxy.as_deref() {
        None => transport,
        Some("system") => transport.system_proxy(),
        Some(proxy) => transport.proxy(proxy),
    };
    Ok(transport.build()?)
}

/// Reads the file of additional certificate authorities, if one is set.
pub(crate) fn ca_certificates(settings: &Settings) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &settings.ca_file else {
        return Ok(None);
    };
    read_pem("ca_file", path).map(Some)
}

/// Reads the file of certificates that this setting names.
pub(crate) fn read_pem(setting: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let pem = RegularFile::open(path).and_then(|file| file.read(MAX_CA_BYTES));
    pem.map_err(|error| Failure::configuration(format!("`{setting}`: {} {error}", path.display())))
}

/// Far more than all public authorities need.
const MAX_CA_BYTES: usize = 16 << 20;
