//! The HTTP client for an API and for a look at the token endpoint: with the settings' trust, and nothing of its own.

use std::{error::Error as _, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy};

use crate::{
    config::{Proof, Settings},
    failure::{Exit, Failure, Told},
    source,
};

/// How long a connection may take where the settings say nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// Starts a client; what it does about redirects is up to the caller.
pub(crate) fn client(settings: &Settings) -> Result<ClientBuilder, Failure> {
    let mut client = Client::builder()
        .referer(false)
        .user_agent(concat!("hallpass/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout.unwrap_or(CONNECT));
    client = match settings.proxy.as_deref() {
        None => client.no_proxy(),
        Some("system") => client,
        Some(proxy) => {
            let proxy = Proxy::all(proxy);
            client.proxy(
                proxy.map_err(|_| Failure::configuration("`proxy`: it is no URL of a proxy"))?,
            )
        }
    };
    if let Some(pem) = source::ca_certificates(settings)? {
        let roots = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|roots| !roots.is_empty());
        client =
            client.tls_certs_merge(roots.ok_or_else(|| {
                Failure::configuration("`ca_file`: it holds no certificate in PEM")
            })?);
    }
    Ok(client)
}

/// The same, with the certificate that the client's tokens are bound to, where it has one.
pub(crate) async fn client_with_certificate(settings: &Settings) -> Result<ClientBuilder, Failure> {
    let client = client(settings)?;
    let Proof::Certificate { .. } = settings.proof else {
        return Ok(client);
    };
    let identity = source::certificate(settings)?.identity().await?;
    // It was read, so that it is one.
    let identity = Identity::from_pem(identity.expose_pem().as_bytes());
    let identity = identity.map_err(|error| failure(&error, "the HTTP client"))?;
    Ok(client.identity(identity))
}

/// What went wrong between here and a server. The error's own text names the URL, and is left out.
pub(crate) fn failure(error: &reqwest::Error, host: &str) -> Failure {
    let cause = Told::of(error.source());
    let why = cause.as_ref().map_or("", Told::deepest);
    let failure = if cause
        .as_ref()
        .is_some_and(|cause| cause.contains("certificate"))
    {
        Failure::configuration(format!(
            "the identity of {host} could not be verified with TLS: {why}"
        ))
        .with_remedy("check the host and its certificate; add a private authority with `ca_file`")
    } else if error.is_timeout() {
        Failure::new(Exit::Unavailable, format!("{host} was too slow"))
    } else if error.is_builder() {
        Failure::configuration(format!("the request could not be written: {why}"))
    } else {
        Failure::new(
            Exit::Unavailable,
            format!("{host} could not be reached: {why}"),
        )
    };
    match cause {
        Some(cause) => failure.with_cause(cause),
        None => failure,
    }
}
