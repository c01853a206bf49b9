//! The HTTP client for API requests and for the doctor's look at the token endpoint, with the configured trust.

use std::{error::Error as _, time::Duration};

use hallpass::{endpoint::explain_tls_error, is_loopback_host, profiles::PROXY_CREDENTIALS_HINT};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, Url};

use crate::{
    config::Settings,
    failure::{CauseText, Exit, Failure},
};

/// The default connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The remedy if no connection can be made.
const UNREACHABLE: &str =
    "check host and port, that the server is running, and that no firewall blocks the connection";

const USER_AGENT: &str = concat!("hallpass/", env!("CARGO_PKG_VERSION"));

/// Creates a client for requests to the origin of `url`; the caller decides about redirects.
///
/// Requests to a loopback address are sent directly: a proxy may be on any host.
pub(crate) fn build_client(settings: &Settings, url: &Url) -> Result<ClientBuilder, Failure> {
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
        .connect_timeout(settings.connect_timeout.unwrap_or(CONNECT_TIMEOUT));
    client = match settings.proxy.as_deref() {
        Some("system") if !is_loopback(url) => client,
        Some(proxy) if !is_loopback(url) => {
            let proxy = Proxy::all(proxy);
            client.proxy(proxy.map_err(|_| Failure::configuration("proxy: the URL is invalid"))?)
        }
        _ => client.no_proxy(),
    };
    if let Some(pem) = settings.ca_certificates()? {
        let roots = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|roots| !roots.is_empty());
        client = client.tls_certs_merge(roots.ok_or_else(|| {
            Failure::configuration("`ca_file`: the file contains no PEM certificate")
        })?);
    }
    Ok(client)
}

/// Returns true if requests to this URL stay on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

/// Creates the same client, with the certificate that the client's tokens are bound to, if there is one.
pub(crate) async fn client_with_certificate(
    settings: &Settings,
    url: &Url,
) -> Result<ClientBuilder, Failure> {
    let client = build_client(settings, url)?;
    if settings.authentication.tls_certificate().is_none() {
        return Ok(client);
    }
    let identity = settings.client_certificate()?.identity().await?;
    // The certificate was read before, so it is valid.
    let identity = Identity::from_pem(identity.expose_pem().as_bytes());
    let identity = identity.map_err(|error| request_failure(&error, "the HTTP client", None))?;
    Ok(client.identity(identity))
}

/// Returns host and port of the proxy for requests to this URL; `None` for a direct connection.
pub(crate) fn proxy_for(settings: &Settings, url: &Url) -> Option<String> {
    let transport = settings.transport().ok()?;
    transport.proxy_for(url.as_str())
}

/// Describes a failed request to this host, through this proxy if any. The error's own text names the URL and is left
/// out.
pub(crate) fn request_failure(error: &reqwest::Error, host: &str, proxy: Option<&str>) -> Failure {
    let cause = CauseText::copy_chain(error.source());
    let tls = explain_tls_error(error);
    let why = cause.as_ref().map_or("", CauseText::deepest);
    let why = tls.as_deref().unwrap_or(why);
    let through = proxy.map(|proxy| format!(" through the proxy {proxy}"));
    let through = through.unwrap_or_default();
    let failure = if tls.is_some() && why.contains("certificate") {
        Failure::configuration(format!(
            "the TLS connection to {host}{through} failed: {why}"
        ))
        .with_remedy(
            "check the host and its certificate; `ca_file` adds a private certificate authority",
        )
    } else if let Some(proxy) = proxy.filter(|_| why.contains("proxy auth")) {
        Failure::configuration(format!("the proxy {proxy} requires credentials"))
            .with_remedy(PROXY_CREDENTIALS_HINT)
    } else if error.is_timeout() && error.is_connect() {
        let what = format!("connecting to {host}{through} timed out");
        Failure::new(Exit::Unavailable, what).with_remedy(UNREACHABLE)
    } else if error.is_timeout() {
        let what = format!("{host} did not respond in time{through}");
        Failure::new(Exit::Unavailable, what)
    } else if error.is_builder() {
        Failure::configuration(format!("the request could not be created: {why}"))
    } else {
        let failure = Failure::new(
            Exit::Unavailable,
            format!("{host} could not be reached{through}: {why}"),
        );
        if error.is_connect() {
            failure.with_remedy(UNREACHABLE)
        } else {
            failure
        }
    };
    match cause {
        Some(cause) => failure.with_cause(cause),
        None => failure,
    }
}
