//! The source of a provider that the program registered.

use std::{cell::RefCell, sync::Arc};

use hallpass_core::{Prover, SecretSource, TokenSource};
use hallpass_endpoint::{
    ClientAuthentication, ClientCredentials, Endpoint, HttpTransport, Retry, SourceBuilder,
};
use hallpass_secrets::SecretReference;

use crate::{
    authentication::AuthenticationSettings,
    error::ProfileError,
    format::FormatSettings,
    missing::missing_client_id,
    provider::ServerContext,
    server::ServerAddress,
    settings::Settings,
    transports::{SharedTransport, Transports},
};

type SourceWithTransport = (Arc<dyn TokenSource>, Option<Arc<SharedTransport>>);

/// Builds the source on this thread, and the transport that it shares if the provider needs one.
pub(super) fn build(
    settings: &Settings,
    transports: &Transports,
    retry: Retry,
    prover: Option<Arc<dyn Prover>>,
) -> Result<SourceWithTransport, ProfileError> {
    let shared = RefCell::new(None);
    let transport = || {
        let found = transports.transport_blocking(settings)?;
        let transport = found.get_blocking();
        shared.replace(Some(found));
        transport
    };
    let source = settings.source_over(&transport, retry, prover)?;
    Ok((source, shared.into_inner()))
}

/// The settings of a profile, as the function of a registered provider reads them.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) transport: &'a dyn Fn() -> Result<HttpTransport, ProfileError>,
    pub(super) retry: Retry,
    pub(super) prover: Option<Arc<dyn Prover>>,
}

impl ServerContext for Context<'_> {
    fn set_settings(&self) -> Vec<&'static str> {
        let settings = self.settings;
        let address = match settings.address {
            ServerAddress::TokenEndpoint(_) => Some("token_endpoint"),
            ServerAddress::Issuer { .. } => Some("issuer"),
            ServerAddress::OfProvider => None,
        };
        let others = [
            (!settings.client_id.is_empty(), "client_id"),
            (settings.timeout.is_some(), "timeout"),
            (settings.connect_timeout.is_some(), "connect_timeout"),
            (settings.ca_file.is_some(), "ca_file"),
            (settings.proxy.is_some(), "proxy"),
            (settings.user_agent.is_some(), "user_agent"),
            (settings.compressed_responses, "compressed_responses"),
            (settings.default_lifetime.is_some(), "default_lifetime"),
            (settings.max_lifetime.is_some(), "max_lifetime"),
            (settings.lenient_responses, "lenient_responses"),
            (settings.dpop.is_some(), "dpop"),
            (settings.security_profile.is_some(), "security_profile"),
        ];
        let others = others.into_iter().filter(|(is_set, _)| *is_set);
        let others = others.map(|(_, name)| name);
        let formats = settings.format.as_deref().into_iter();
        let formats = formats.flat_map(FormatSettings::names);
        let credential = settings.authentication.setting();
        credential
            .into_iter()
            .chain(address)
            .chain(others)
            .chain(formats)
            .collect()
    }

    fn client_id(&self) -> Result<&str, ProfileError> {
        match &*self.settings.client_id {
            "" => Err(missing_client_id(self.settings.file.as_ref())),
            client_id => Ok(client_id),
        }
    }

    fn client_secret(&self) -> Result<Arc<dyn SecretSource>, ProfileError> {
        match &self.settings.authentication {
            AuthenticationSettings::ClientSecret {
                secret,
                certificate: None,
                ..
            } => self.open_secret("client_secret", secret),
            AuthenticationSettings::NotSet => Err(self.settings.missing_credential()),
            _ => Err(ProfileError::new(
                "the provider supports no credential but `client_secret`",
            )),
        }
    }

    fn client_authentication(&self) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
        self.settings.client_authentication()
    }

    fn open_secret(
        &self,
        setting: &str,
        reference: &SecretReference,
    ) -> Result<Arc<dyn SecretSource>, ProfileError> {
        self.settings.open_secret(setting, reference)
    }

    fn endpoint(&self) -> Result<Option<Endpoint>, ProfileError> {
        match &self.settings.address {
            ServerAddress::OfProvider => Ok(None),
            _ => self.settings.endpoint_over(self.transport).map(Some),
        }
    }

    fn transport(&self) -> Result<HttpTransport, ProfileError> {
        (self.transport)()
    }

    fn client_credentials(
        &self,
        endpoint: Endpoint,
    ) -> Result<SourceBuilder<ClientCredentials>, ProfileError> {
        let authentication = self.client_authentication()?;
        let source = ClientCredentials::builder(endpoint, self.client_id()?, authentication)
            .transport(self.transport()?)
            .retry(self.retry());
        let headers = self.settings.open_headers()?;
        Ok(self
            .settings
            .apply_to(&headers, self.prover.clone(), source))
    }

    fn retry(&self) -> Retry {
        self.retry
    }

    fn allows_http_on_loopback(&self) -> bool {
        self.settings.danger_allow_http_on_loopback
    }
}
