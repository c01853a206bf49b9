//! A client for each certificate, and those that skip the proxy: they never share connections.

use std::sync::{Arc, Mutex, PoisonError};

use hallpass_core::TokenError;
use reqwest::{Client, Identity};
use tokio::sync::OnceCell;

use super::{
    builder::HttpTransportBuilder,
    identity::{ClientIdentity, WeakIdentity},
};

/// The clients in addition to the transport's usual one, each built at its first request.
pub(super) struct Clients {
    settings: HttpTransportBuilder,
    entries: Mutex<Vec<ClientEntry>>,
}

struct ClientEntry {
    identity: Option<WeakIdentity>,
    direct: bool,
    client: Arc<OnceCell<Client>>,
}

impl ClientEntry {
    fn serves(&self, identity: Option<&ClientIdentity>, direct: bool) -> bool {
        let same = match (&self.identity, identity) {
            (None, None) => true,
            (Some(known), Some(identity)) => known.refers_to(identity),
            _ => false,
        };
        same && self.direct == direct
    }

    fn is_in_use(&self) -> bool {
        self.identity.as_ref().is_none_or(WeakIdentity::is_in_use)
    }
}

impl Clients {
    pub(super) fn new(settings: HttpTransportBuilder) -> Self {
        Self {
            settings,
            entries: Mutex::default(),
        }
    }

    /// Returns the client that presents this certificate, if any, and skips the proxy if `direct`. The first caller
    /// builds it while the others wait.
    pub(super) async fn client(
        &self,
        identity: Option<&ClientIdentity>,
        direct: bool,
    ) -> Result<Client, TokenError> {
        let cell = self.cell(identity, direct);
        let client = cell.get_or_try_init(|| self.set_up(identity, direct));
        Ok(client.await?.clone())
    }

    fn cell(&self, identity: Option<&ClientIdentity>, direct: bool) -> Arc<OnceCell<Client>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.iter().find(|entry| entry.serves(identity, direct)) {
            return entry.client.clone();
        }
        // Drops replaced certificates with their idle connections.
        entries.retain(ClientEntry::is_in_use);
        let client = Arc::default();
        entries.push(ClientEntry {
            identity: identity.map(ClientIdentity::downgrade),
            direct,
            client: Arc::clone(&client),
        });
        client
    }

    async fn set_up(
        &self,
        identity: Option<&ClientIdentity>,
        direct: bool,
    ) -> Result<Client, TokenError> {
        let wrong = |message: String| TokenError::configuration(message);
        let identity = identity
            .map(|identity| Identity::from_pem(identity.expose_pem().as_bytes()))
            .transpose()
            .map_err(|_| wrong("the client certificate cannot be used for TLS".to_owned()))?;
        let settings = self.settings.clone();
        // Building reads the platform's certificate authorities from files.
        let client = tokio::task::spawn_blocking(move || settings.client(identity, direct)).await;
        match client {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(wrong(error.to_string())),
            // The runtime is shutting down.
            Err(_) => Err(TokenError::unavailable(
                "the HTTP client could not be set up, because the runtime is shutting down",
            )),
        }
    }
}
