//! A client for each certificate that is presented: connections of the one never carry requests of the other.

use std::sync::{Arc, Mutex, PoisonError};

use hallpass_core::TokenError;
use reqwest::{Client, Identity};
use tokio::sync::OnceCell;

use super::HttpTransportBuilder;
use crate::{ClientIdentity, mtls::WeakIdentity};

/// The clients of the certificates in use.
pub(super) struct Clients {
    settings: HttpTransportBuilder,
    known: Mutex<Vec<Known>>,
}

struct Known {
    identity: WeakIdentity,
    client: Arc<OnceCell<Client>>,
}

impl Clients {
    pub(super) fn new(settings: HttpTransportBuilder) -> Self {
        Self {
            settings,
            known: Mutex::default(),
        }
    }

    /// The client that presents this certificate; made by the first that asks, while the others wait.
    pub(super) async fn of(&self, identity: &ClientIdentity) -> Result<Client, TokenError> {
        let cell = self.cell(identity);
        let client = cell.get_or_try_init(|| self.set_up(identity)).await?;
        Ok(client.clone())
    }

    fn cell(&self, identity: &ClientIdentity) -> Arc<OnceCell<Client>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| known.identity.is_of(identity)) {
            return known.client.clone();
        }
        // A certificate that was replaced takes its idle connections along.
        known.retain(|known| known.identity.is_in_use());
        let client = Arc::default();
        known.push(Known {
            identity: identity.downgrade(),
            client: Arc::clone(&client),
        });
        client
    }

    async fn set_up(&self, identity: &ClientIdentity) -> Result<Client, TokenError> {
        let wrong = |message: String| TokenError::configuration(message);
        let identity = Identity::from_pem(identity.expose_pem().as_bytes())
            .map_err(|_| wrong("the client certificate cannot be used for TLS".to_owned()))?;
        let settings = self.settings.clone();
        // It reads the platform's certificate authorities from files.
        let client = tokio::task::spawn_blocking(move || settings.client(Some(identity))).await;
        match client {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(wrong(error.to_string())),
            // The runtime is shutting down.
            Err(_) => Err(TokenError::unavailable(
                "the connection with the client certificate could not be set up",
            )),
        }
    }
}
