//! The HTTP client for API requests and for the doctor's look at the token endpoint, with the configured trust.

use std::{error::Error as _, time::Duration};

use hallpass::{core::authorize::Origin, endpoint::explain_tls_error};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, Url};

use crate::{
    config::{Proof, Settings},
    failure::{Exit, Failure, Told},
    source,
};

/// The default connect timeout.
const CONNECT: Duration = Duration::from_secs(10);

const USER_AGENT: &str = concat!("hallpass/", env!("CARGO_PKG_VERSION"));

/// Creates a client for requests to the origin of `url`; the caller decides about redirects.
///
/// Requests to a loopback address are sent directly: a proxy may be on any host.
pub(crate) fn client(settings: &Settings, url: &Url) -> Result<ClientBuilder, Failure> {
    // Each of these is set because its default depends on the features that a dependency enables on reqwest. Cookies
    // are stored only by a client with a cookie store.
    let mut client = Client::builder()
        .tls_backend_rustls()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .no_hickory_dns()
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(settings.user_agent.as_deref().unwrap_or(USER_AGENT))
        .connect_timeout(settings.connect_timeout.unwrap_or(CONNECT));
    client = match settings.proxy.as_deref() {
        Some("system") if !is_loopback(url) => client,
        Some(proxy) if !is_loopback(url) => {
            let proxy = Proxy::all(proxy);
            client.proxy(proxy.map_err(|_| {
                Failure::configuration("proxy: the URL cannot be used as a proxy's")
            })?)
        }
        _ => client.no_proxy(),
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

/// Returns true if requests to this URL stay on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let origin = url.origin().ascii_serialization().parse::<Origin>();
    origin.is_ok_and(|origin| origin.is_loopback())
}

/// Creates the same client, with the certificate that the client's tokens are bound to, if there is one.
pub(crate) async fn client_with_certificate(
    settings: &Settings,
    url: &Url,
) -> Result<ClientBuilder, Failure> {
    let client = client(settings, url)?;
    let Proof::Certificate { .. } = settings.proof else {
        return Ok(client);
    };
    let identity = source::certificate(settings)?.identity().await?;
    // The certificate was read before, so it is valid.
    let identity = Identity::from_pem(identity.expose_pem().as_bytes());
    let identity = identity.map_err(|error| failure(&error, "the HTTP client"))?;
    Ok(client.identity(identity))
}

/// Describes a failed request. The error's own text names the URL and is left out.
pub(crate) fn failure(error: &reqwest::Error, host: &str) -> Failure {
    let cause = Told::of(error.source());
    let tls = explain_tls_error(error);
    let why = cause.as_ref().map_or("", Told::deepest);
    let why = tls.as_deref().unwrap_or(why);
    let failure = if tls.is_some() && why.contains("certificate") {
        Failure::configuration(format!(
            "no secure connection to {host} could be made: {why}"
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
