//! The token source that the settings describe; built when a token is fetched, and not for one that is at hand.

use std::{
    fs,
    sync::{Arc, OnceLock},
};

use hallpass::{
    AccessToken, TokenError, TokenRequest, TokenSource,
    camall::Camall,
    core::{SecretSource, async_trait},
    endpoint::{
        BuildError, ClientCredentials, ClientSecretBasic, ClientSecretPost, HttpTransport, Retry,
        SourceBuilder,
    },
};

use crate::{
    args::Authentication,
    config::{Server, Settings},
    failure::Failure,
};

/// A source that costs nothing until it is asked: neither TLS nor its root certificates are set up before.
pub(crate) struct Lazy {
    settings: Arc<Settings>,
    built: OnceLock<Arc<dyn TokenSource>>,
}

impl Lazy {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            built: OnceLock::new(),
        }
    }
}

#[async_trait]
impl TokenSource for Lazy {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        if self.built.get().is_none() {
            let built = build(&self.settings, Retry::new())
                .map_err(|failure| TokenError::configuration(failure.to_string()))?;
            // Another call may have been first; either will do.
            let _ = self.built.set(built);
        }
        match self.built.get() {
            Some(source) => source.token(request).await,
            None => Err(TokenError::configuration("the token source was not built")),
        }
    }

    fn invalidate(&self, token: &AccessToken) {
        if let Some(source) = self.built.get() {
            source.invalidate(token);
        }
    }

    fn credential_epoch(&self) -> u64 {
        self.built.get().map_or(0, TokenSource::credential_epoch)
    }
}

/// The source itself. Connects nowhere, and reads no secret yet.
pub(crate) fn build(settings: &Settings, retry: Retry) -> Result<Arc<dyn TokenSource>, Failure> {
    let secret = settings.client_secret.open();
    let secret =
        secret.map_err(|error| Failure::configuration(format!("client_secret: {error}")))?;
    let transport = transport(settings)?;
    let change = |endpoint: SourceBuilder<ClientCredentials>| {
        let endpoint = endpoint
            .token_endpoint(settings.token_endpoint.clone())
            .transport(transport)
            .retry(retry);
        refine(endpoint, settings, &secret)
    };
    Ok(match settings.server {
        Server::Camall => {
            let camall = Camall::builder(settings.client_id.clone(), secret.clone());
            Arc::new(camall.with_endpoint(change).build()?)
        }
        Server::Preset(preset) => Arc::new(change(of_preset(preset, settings, &secret)?).build()?),
        Server::Any => {
            let basic = ClientSecretBasic::new(secret.clone());
            let any = ClientCredentials::builder("", settings.client_id.clone(), basic);
            Arc::new(change(any).build()?)
        }
    })
}

/// With any variables, since the address is known by now.
fn of_preset(
    preset: &'static hallpass::endpoint::presets::Preset,
    settings: &Settings,
    secret: &Arc<dyn SecretSource>,
) -> Result<SourceBuilder<ClientCredentials>, BuildError> {
    let names = preset.token_endpoint.split('{').skip(1);
    let names = names.filter_map(|rest| rest.split('}').next());
    let variables: Vec<_> = names.map(|name| (name, "x")).collect();
    preset.builder(&variables, &settings.client_id, secret.clone())
}

fn refine(
    mut endpoint: SourceBuilder<ClientCredentials>,
    settings: &Settings,
    secret: &Arc<dyn SecretSource>,
) -> SourceBuilder<ClientCredentials> {
    let request = &settings.request;
    if !request.scopes().is_empty() {
        endpoint = endpoint.scope(request.scopes().as_str());
    }
    for audience in request.audiences() {
        endpoint = endpoint.audience(audience);
    }
    for resource in request.resources() {
        endpoint = endpoint.resource(resource);
    }
    for (name, value) in request.parameters() {
        endpoint = endpoint.parameter(name, value);
    }
    if settings.require_granted_scopes {
        endpoint = endpoint.require_granted_scopes();
    }
    if settings.danger_allow_http_on_loopback {
        endpoint = endpoint.danger_allow_http_on_loopback();
    }
    let secret = secret.clone();
    match settings.authentication {
        None => endpoint,
        Some(Authentication::Form) => endpoint.authentication(ClientSecretPost::new(secret)),
        Some(Authentication::Basic) => endpoint.authentication(ClientSecretBasic::new(secret)),
        Some(Authentication::RawBasic) => endpoint.authentication(ClientSecretBasic::raw(secret)),
    }
}

fn transport(settings: &Settings) -> Result<HttpTransport, Failure> {
    let mut transport = HttpTransport::builder();
    if let Some(timeout) = settings.timeout {
        transport = transport.timeout(timeout);
    }
    if let Some(timeout) = settings.connect_timeout {
        transport = transport.connect_timeout(timeout);
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

/// The text of the file of further certificate authorities, where one is set.
pub(crate) fn ca_certificates(settings: &Settings) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &settings.ca_file else {
        return Ok(None);
    };
    let pem = fs::read(path).map_err(|error| {
        Failure::configuration(format!(
            "`ca_file`: {} cannot be read: {}",
            path.display(),
            error.kind()
        ))
    })?;
    Ok(Some(pem))
}
