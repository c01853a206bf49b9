//! HTTP transports that sources with equal settings share: one pool of connections, and one set of root certificates.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use hallpass_core::TokenError;
use hallpass_endpoint::{HttpTransport, HttpTransportBuilder};

use crate::{
    error::ProfileError,
    lazy::{Lazy, run_blocking},
    settings::Settings,
};

/// The settings of a profile's transport, with the contents of its file: a replaced file is another setting.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TransportSettings {
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    user_agent: Option<String>,
    proxy: Option<String>,
    decompress: bool,
    ca_certificates: Option<Vec<u8>>,
}

impl TransportSettings {
    /// Reads the file of certificate authorities, if one is set.
    pub(crate) fn read(settings: &Settings) -> Result<Self, ProfileError> {
        Ok(Self {
            timeout: settings.timeout,
            connect_timeout: settings.connect_timeout,
            user_agent: settings.user_agent.clone(),
            proxy: settings.proxy.clone(),
            decompress: settings.compressed_responses,
            ca_certificates: settings.ca_certificates()?,
        })
    }

    /// Builds the transport, which takes milliseconds: it parses root certificates.
    pub(crate) fn build(&self) -> Result<HttpTransport, ProfileError> {
        let mut transport = HttpTransport::builder();
        if let Some(timeout) = self.timeout {
            transport = transport.timeout(timeout);
        }
        if let Some(timeout) = self.connect_timeout {
            transport = transport.connect_timeout(timeout);
        }
        if let Some(user_agent) = &self.user_agent {
            transport = transport.user_agent(user_agent);
        }
        if let Some(pem) = &self.ca_certificates {
            transport = transport.add_root_certificates_pem(pem.clone());
        }
        if self.decompress {
            transport = decompress(transport)?;
        }
        transport = match self.proxy.as_deref() {
            None => transport,
            Some("system") => transport.system_proxy(),
            Some(proxy) => transport.proxy(proxy),
        };
        Ok(transport.build()?)
    }
}

#[cfg(feature = "gzip")]
#[allow(clippy::unnecessary_wraps)] // As without the feature.
fn decompress(transport: HttpTransportBuilder) -> Result<HttpTransportBuilder, ProfileError> {
    Ok(transport.compressed_responses())
}

#[cfg(not(feature = "gzip"))]
fn decompress(_: HttpTransportBuilder) -> Result<HttpTransportBuilder, ProfileError> {
    Err(ProfileError::new(
        "`compressed_responses` is set, but this program was built without the feature `gzip`",
    )
    .with_hint("build it with the feature `gzip` of `hallpass`"))
}

/// The transports in use, by their settings. Client certificates are not among these: a transport has separate
/// connections for each.
#[derive(Default)]
pub(crate) struct Transports(Mutex<HashMap<Arc<TransportSettings>, Weak<SharedTransport>>>);

/// A transport that the first use builds.
pub(crate) struct SharedTransport {
    settings: Arc<TransportSettings>,
    transport: Lazy<HttpTransport>,
}

impl Transports {
    /// Returns the transport with the settings of this profile, whose file is read for it.
    pub(crate) async fn transport(
        &self,
        settings: &Arc<Settings>,
    ) -> Result<Arc<SharedTransport>, TokenError> {
        let read = if settings.ca_file.is_some() {
            let settings = settings.clone();
            run_blocking(move || TransportSettings::read(&settings)).await?
        } else {
            TransportSettings::read(settings)
        };
        Ok(self.shared(read?))
    }

    /// Returns the same, and reads the file on this thread.
    pub(crate) fn transport_blocking(
        &self,
        settings: &Settings,
    ) -> Result<Arc<SharedTransport>, ProfileError> {
        Ok(self.shared(TransportSettings::read(settings)?))
    }

    fn shared(&self, settings: TransportSettings) -> Arc<SharedTransport> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(transport) = known.get(&settings).and_then(Weak::upgrade) {
            return transport;
        }
        known.retain(|_, transport| transport.strong_count() > 0);
        let settings = Arc::new(settings);
        let transport = Arc::new(SharedTransport {
            settings: settings.clone(),
            transport: Lazy::new(),
        });
        known.insert(settings, Arc::downgrade(&transport));
        transport
    }
}

impl SharedTransport {
    /// Returns the certificate authorities that were read for it, if there are any.
    pub(crate) fn ca_certificates(&self) -> Option<&[u8]> {
        self.settings.ca_certificates.as_deref()
    }

    /// Returns the transport, which the first caller builds while the others wait.
    pub(crate) async fn get(&self) -> Result<HttpTransport, TokenError> {
        let build = async {
            let settings = self.settings.clone();
            Ok::<_, TokenError>(run_blocking(move || settings.build()).await??)
        };
        let transport = self.transport.get_or_build(build).await?;
        Ok(HttpTransport::clone(&transport))
    }

    /// Returns the same, and builds the transport on this thread.
    pub(crate) fn get_blocking(&self) -> Result<HttpTransport, ProfileError> {
        let transport = match self.transport.get() {
            Some(transport) => transport,
            None => self.transport.replace(self.settings.build()?),
        };
        Ok(HttpTransport::clone(&transport))
    }
}
