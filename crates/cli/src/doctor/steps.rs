//! The steps, each based on the results of the ones before.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallpass::{
    AccessToken, ErrorKind, OAuthError, TextFilter, TokenError, TokenSource as _,
    endpoint::{Metadata, Retry},
    jwt::Dpop,
};
use reqwest::{
    Url,
    header::{DATE, HeaderMap},
    redirect,
    tls::TlsInfo,
};
use tokio::{net, time::timeout};
use x509_cert::{Certificate, der::Decode as _};

use super::{authentication, binding::report_binding, report::Report, validity::Validity};
use crate::{
    config::{SettingSource, Settings},
    explain,
    failure::{Exit, Failure},
    http, jwt,
};

pub(super) const CONFIGURATION: &str = "configuration";
const SECRET: &str = "secret";
const DNS: &str = "dns";
const TCP: &str = "tcp";
const TLS: &str = "tls";
const CLOCK: &str = "clock";
const METADATA: &str = "metadata";
const AUTHENTICATION: &str = "authentication";
const TOKEN: &str = "token";
const SCOPES: &str = "scopes";
const LIFETIME: &str = "lifetime";
const BINDING: &str = "binding";
const STORE: &str = "store";
pub(super) const ALL: [&str; 13] = [
    CONFIGURATION,
    SECRET,
    DNS,
    TCP,
    TLS,
    CLOCK,
    METADATA,
    AUTHENTICATION,
    TOKEN,
    SCOPES,
    LIFETIME,
    BINDING,
    STORE,
];

/// The timeout for a step that is not a token request.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest clock difference that does no harm.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// The lifetime below which fetching a token is hardly worthwhile.
const MIN_LIFETIME: Duration = Duration::from_secs(60);
/// The longest lifetime that is used, regardless of what the server reports.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400);

/// A failed step, already recorded in the report.
pub(super) struct StepFailure;

/// Runs the steps in order until one fails.
pub(super) async fn run_steps(settings: &Settings, report: &mut Report) -> Result<(), StepFailure> {
    let source = record(
        report,
        CONFIGURATION,
        settings.token_source(Retry::never()).map_err(Failure::from),
    )?;
    report.ok(CONFIGURATION, describe_settings(settings));
    let credential = record(
        report,
        SECRET,
        authentication::check_credential(settings).await,
    )?;
    let key = settings.dpop_key().await;
    let key = key.map_err(|error| explain::token_error(&error, settings));
    let key = record(report, SECRET, key)?;
    credential.report_credential(SECRET, settings, report);

    // Building the source has validated the URL.
    let url = Url::parse(settings.address.url()).map_err(|_| StepFailure)?;
    if let Some(proxy) = http::proxy_for(settings, &url) {
        let connection = format!("the proxy {proxy} makes the connection");
        report.skipped(DNS, &connection);
        report.skipped(TCP, &connection);
    } else {
        let addresses = record(report, DNS, resolve_host(&url).await)?;
        report.ok(DNS, join_addresses(&addresses));
        let address = record(report, TCP, connect(&addresses).await)?;
        report.ok(TCP, format!("connected to {address}"));
    }
    let probe = record(report, TLS, probe_server(settings, &url).await)?;
    report_certificate(&url, probe.certificate.as_deref(), report);
    report_clock(&probe, report);

    let metadata = fetch_metadata(settings, report).await;
    let metadata = record(report, METADATA, metadata)?;

    let mut token = source.token(&settings.request).await;
    if token.as_ref().is_err_and(demands_nonce) {
        // The refusal had the nonce, which the next proof contains (RFC 9449 section 8).
        token = source.token(&settings.request).await;
    }
    if let Err(error) = &token
        && error.kind() == ErrorKind::CredentialsRefused
    {
        let failure = explain::token_error(error, settings);
        report.failed(AUTHENTICATION, &credential.refusal(&failure));
        return Err(StepFailure);
    }
    credential.report_method(metadata.as_deref(), AUTHENTICATION, report);
    let token = token.map_err(|error| explain::token_error(&error, settings));
    let token = record(report, TOKEN, token)?;
    report.ok(
        TOKEN,
        format!(
            "type {}, {} characters",
            token.token_type(),
            token.expose().len()
        ),
    );
    let scopes = record(report, SCOPES, check_scopes(settings, &token))?;
    report.ok(SCOPES, scopes);
    report_lifetime(&token, report);
    let key = key.as_ref().map(Dpop::thumbprint);
    report_binding(BINDING, settings, key, &token, report);
    Ok(())
}

fn demands_nonce(error: &TokenError) -> bool {
    let code = error.oauth_error().map(OAuthError::code);
    error.is_transient() && code == Some("use_dpop_nonce")
}

/// Checks the Redis store, regardless of the other steps: tokens can be fetched without it.
#[allow(clippy::unused_async)] // Without the feature `redis`.
pub(super) async fn check_store(settings: &Settings, report: &mut Report) {
    report.complete(&ALL[..ALL.len() - 1]);
    let Some(redis) = &settings.redis else {
        report.skipped(STORE, "not needed: tokens are not shared through Redis");
        return;
    };
    #[cfg(feature = "redis")]
    let checked = super::redis::check(settings, redis).await;
    #[cfg(not(feature = "redis"))]
    let checked = settings
        .cache_builder()
        .map(|_| format!("{}: not checked", redis.location))
        .map_err(Failure::from);
    match checked {
        Ok(detail) => report.ok(STORE, detail),
        Err(failure) => report.failed(STORE, &failure),
    }
}

/// Reports the failure of a step, which ends the examination.
fn record<T>(
    report: &mut Report,
    step: &'static str,
    found: Result<T, Failure>,
) -> Result<T, StepFailure> {
    found.map_err(|failure| {
        report.failed(step, &failure);
        StepFailure
    })
}

fn describe_settings(settings: &Settings) -> String {
    let from = match (&settings.server_source, &settings.file) {
        (SettingSource::Profile(profile), Some(file)) => {
            format!("profile `{profile}` of {}", file.display())
        }
        _ => "flags and environment".to_owned(),
    };
    let held = settings.security_profile;
    let held = held.map(|profile| format!(", by the {profile}"));
    format!(
        "{from}: client `{}` at {}{}",
        settings.client_id,
        settings.host(),
        held.unwrap_or_default()
    )
}

/// Fetches the server's metadata, if it is identified by its issuer.
async fn fetch_metadata(
    settings: &Settings,
    report: &mut Report,
) -> Result<Option<Arc<Metadata>>, Failure> {
    let metadata = settings.endpoint()?.metadata().await;
    let metadata = metadata.map_err(|error| explain::token_error(&error, settings))?;
    match metadata.as_ref().map(|known| known.token_endpoint()) {
        None => report.skipped(METADATA, "not needed: the token endpoint is set"),
        Some(None) => report.ok(METADATA, "found for this issuer, without a token endpoint"),
        Some(Some(endpoint)) => {
            let shown = TextFilter::new().clean(endpoint);
            report.ok(
                METADATA,
                format!("found for this issuer, with the token endpoint {shown}"),
            );
        }
    }
    Ok(metadata)
}

async fn resolve_host(url: &Url) -> Result<Vec<SocketAddr>, Failure> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let unknown = |why: String| {
        Failure::new(
            Exit::Unavailable,
            format!("the host name {host} could not be resolved{why}"),
        )
        .with_remedy(
            "check the host in `token_endpoint` or `issuer`, and this machine's DNS configuration",
        )
    };
    // An IPv6 address is in brackets in a URL but not here.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let lookup = timeout(STEP_TIMEOUT, net::lookup_host((name, port))).await;
    let lookup = lookup.map_err(|_| unknown(format!(" within {STEP_TIMEOUT:?}")))?;
    let addresses: Vec<SocketAddr> = lookup
        .map_err(|error| unknown(format!(": {error}")))?
        .collect();
    if addresses.is_empty() {
        return Err(unknown(String::new()));
    }
    Ok(addresses)
}

fn join_addresses(addresses: &[SocketAddr]) -> String {
    let mut all: Vec<String> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    all.dedup();
    all.join(", ")
}

/// Returns the first address that accepts a connection.
async fn connect(addresses: &[SocketAddr]) -> Result<SocketAddr, Failure> {
    let mut why = String::new();
    for address in addresses {
        match timeout(STEP_TIMEOUT, net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(*address),
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no response within {STEP_TIMEOUT:?}"),
        }
    }
    Err(Failure::new(Exit::Unavailable, format!("connecting failed: {why}")).with_remedy(
        "check that the server is running and that no firewall blocks the connection; set `proxy` if a proxy is required",
    ))
}

/// The server's public properties: its certificate and its time.
struct Probe {
    certificate: Option<Vec<u8>>,
    headers: HeaderMap,
    /// The midpoint between request and response, by the local clock.
    at: SystemTime,
}

/// Requests the server's root path. Sends no credentials, and accepts any response.
async fn probe_server(settings: &Settings, url: &Url) -> Result<Probe, Failure> {
    let host = settings.host();
    let client = http::build_client(settings, url)?
        .redirect(redirect::Policy::none())
        .timeout(settings.timeout.unwrap_or(STEP_TIMEOUT))
        .tls_info(true)
        .build()
        .map_err(|error| http::request_failure(&error, "the HTTP client", None))?;
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    let requested = SystemTime::now();
    let answer = client.get(root).send().await;
    let answer = answer.map_err(|error| {
        let proxy = http::proxy_for(settings, url);
        let failure = http::request_failure(&error, &host, proxy.as_deref());
        explain::connection_failure(failure, settings, url)
    })?;
    let took = requested.elapsed().unwrap_or_default();
    let info = answer.extensions().get::<TlsInfo>();
    Ok(Probe {
        certificate: info.and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec),
        headers: answer.headers().clone(),
        at: requested + took / 2,
    })
}

fn report_certificate(url: &Url, certificate: Option<&[u8]>, report: &mut Report) {
    if url.scheme() != "https" {
        report.skipped(TLS, "plain HTTP to a loopback address");
        return;
    }
    let parsed = certificate.and_then(|der| Certificate::from_der(der).ok());
    let Some(certificate) = parsed else {
        report.ok(TLS, "certificate verified, with an unknown expiry");
        return;
    };
    let ends = certificate
        .tbs_certificate()
        .validity()
        .not_after
        .to_unix_duration();
    let validity = Validity::until(UNIX_EPOCH + ends);
    let detail = format!("certificate verified, {validity}");
    if validity.is_short() {
        report.warning(TLS, detail, "ask the operator of the server to renew it");
    } else {
        report.ok(TLS, detail);
    }
}

fn report_clock(probe: &Probe, report: &mut Report) {
    let date = probe.headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        report.ok(CLOCK, "the server sent no `Date` header");
        return;
    };
    // The header has whole seconds, which cut off half a second on average.
    let there = date + Duration::from_millis(500);
    let (skew, direction) = match there.duration_since(probe.at) {
        Ok(ahead) => (ahead, "behind"),
        Err(behind) => (behind.duration(), "ahead of"),
    };
    if skew < Duration::from_secs(2) {
        report.ok(CLOCK, "synchronized with the server");
        return;
    }
    let whole = humantime::format_duration(Duration::from_secs(skew.as_secs()));
    let detail = format!("{whole} {direction} the server");
    if skew > MAX_CLOCK_SKEW {
        report.warning(
            CLOCK,
            detail,
            "synchronize this machine's clock with NTP: servers refuse assertions with a wrong time",
        );
    } else {
        report.ok(CLOCK, detail);
    }
}

fn check_scopes(settings: &Settings, token: &AccessToken) -> Result<String, Failure> {
    let requested = settings.request.scopes();
    token.require_scopes(requested)?;
    let granted = token.scopes();
    Ok(match (requested.is_empty(), granted.is_empty()) {
        (true, true) => "none requested, and none reported by the server".to_owned(),
        (true, false) => format!("none requested; granted: `{granted}`"),
        (false, _) if requested == granted => format!("`{granted}`, as requested"),
        (false, _) => format!("more granted than requested: `{granted}`"),
    })
}

fn report_lifetime(token: &AccessToken, report: &mut Report) {
    let whole = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs()));
    let detail = format!("valid for {}", whole(token.lifetime()));
    let says = token.expires_at().zip(jwt::expiry(token.expose()));
    let early = says.and_then(|(ours, says)| ours.duration_since(says).ok());
    if let Some(early) = early.filter(|early| *early > MAX_CLOCK_SKEW) {
        report.warning(
            LIFETIME,
            format!(
                "{detail}, but the token's `exp` claim is {} earlier",
                whole(early)
            ),
            "correct `expires_in` at the server, or set `max_lifetime`",
        );
    } else if token.lifetime() < MIN_LIFETIME {
        report.warning(
            LIFETIME,
            detail,
            "configure a lifetime of several minutes at the server: short lifetimes cause many token requests",
        );
    } else if token.lifetime() >= MAX_LIFETIME {
        report.warning(
            LIFETIME,
            format!("{detail} or longer, which is unusual"),
            "check that the server's `expires_in` is a number of seconds; if not, set `max_lifetime`",
        );
    } else {
        report.ok(LIFETIME, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_step(date: Option<&str>, at: u64) -> String {
        let mut headers = HeaderMap::new();
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        let mut report = Report::default();
        let probe = Probe {
            certificate: None,
            headers,
            at: UNIX_EPOCH + Duration::from_secs(at),
        };
        report_clock(&probe, &mut report);
        report.to_json()["steps"][0].to_string()
    }

    #[test]
    fn the_clock_is_compared_with_the_server() {
        let date = Some("Fri, 15 Jan 2027 08:00:00 GMT");
        assert!(clock_step(date, 1_800_000_000).contains("synchronized"));
        assert!(clock_step(date, 1_800_000_010).contains("9s ahead of"));
        let far = clock_step(date, 1_799_999_000);
        assert!(
            far.contains("behind") && far.contains("warning") && far.contains("NTP"),
            "{far}"
        );
        assert!(
            clock_step(None, 0).contains("no `Date` header")
                && clock_step(Some("soon"), 0).contains("no `Date` header")
        );
    }
}
