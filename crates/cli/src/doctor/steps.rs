//! The steps, each based on the results of the ones before.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallpass::{
    AccessToken, ErrorKind, TokenSource as _,
    core::TextFilter,
    endpoint::{Metadata, Retry},
};
use reqwest::{
    Url,
    header::{DATE, HeaderMap},
    redirect,
    tls::TlsInfo,
};
use tokio::{net, time::timeout};
use x509_cert::{Certificate, der::Decode as _};

use super::{proof, report::Report};
use crate::{
    command::inspect,
    config::{Settings, Source},
    explain,
    failure::{Exit, Failure},
    http, source,
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
pub(super) const ALL: [&str; 11] = [
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
];

/// The timeout for a step that is not a token request.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// The remaining validity below which a certificate should have been renewed.
pub(super) const CERTIFICATE_DAYS: u64 = 14;
/// The largest clock difference that does no harm.
const SKEW: Duration = Duration::from_secs(60);
/// The lifetime below which fetching a token is hardly worthwhile.
const SHORT: Duration = Duration::from_secs(60);
/// The longest lifetime that is used, regardless of what the server reports.
const LONG: Duration = Duration::from_secs(86_400);

/// A failed step, already recorded in the report.
pub(super) struct Failed;

/// Runs the steps in order until one fails.
pub(super) async fn examine(settings: &Settings, report: &mut Report) -> Result<(), Failed> {
    let source = note(
        report,
        CONFIGURATION,
        source::build(settings, Retry::never()),
    )?;
    report.ok(CONFIGURATION, described(settings));
    let proof = note(report, SECRET, proof::read(settings).await)?;
    proof.report(SECRET, settings, report);

    // Building the source has validated the URL.
    let url = Url::parse(settings.place.url()).map_err(|_| Failed)?;
    if let Some(proxy) = http::proxy_for(settings, &url) {
        let connection = format!("the proxy {proxy} makes the connection");
        report.skipped(DNS, &connection);
        report.skipped(TCP, &connection);
    } else {
        let addresses = note(report, DNS, dns(&url).await)?;
        report.ok(DNS, listed(&addresses));
        let address = note(report, TCP, tcp(&addresses).await)?;
        report.ok(TCP, format!("{address} takes connections"));
    }
    let looked = note(report, TLS, look(settings, &url).await)?;
    tls(&url, looked.certificate.as_deref(), report);
    clock(&looked, report);

    let metadata = metadata(settings, report).await;
    let metadata = note(report, METADATA, metadata)?;

    let token = source.token(&settings.request).await;
    if let Err(error) = &token
        && error.kind() == ErrorKind::CredentialsRefused
    {
        let failure = explain::token_error(error, settings);
        report.failed(AUTHENTICATION, &proof.refused(&failure));
        return Err(Failed);
    }
    proof.judge(metadata.as_deref(), AUTHENTICATION, report);
    let token = token.map_err(|error| explain::token_error(&error, settings));
    let token = note(report, TOKEN, token)?;
    report.ok(
        TOKEN,
        format!(
            "of type {}, {} characters",
            token.token_type(),
            token.expose().len()
        ),
    );
    let scopes = note(report, SCOPES, scopes(settings, &token))?;
    report.ok(SCOPES, scopes);
    lifetime(&token, report);
    Ok(())
}

/// Reports the failure of a step, which ends the examination.
fn note<T>(
    report: &mut Report,
    step: &'static str,
    found: Result<T, Failure>,
) -> Result<T, Failed> {
    found.map_err(|failure| {
        report.failed(step, &failure);
        Failed
    })
}

fn described(settings: &Settings) -> String {
    let from = match (&settings.server_source, &settings.file) {
        (Source::Profile(profile), Some(file)) => {
            format!("profile `{profile}` of {}", file.display())
        }
        _ => "flags and environment".to_owned(),
    };
    format!(
        "{from}: client `{}` at {}",
        settings.client_id,
        settings.host()
    )
}

/// Fetches the server's metadata, if it is identified by its issuer.
async fn metadata(
    settings: &Settings,
    report: &mut Report,
) -> Result<Option<Arc<Metadata>>, Failure> {
    let metadata = source::endpoint(settings)?.metadata().await;
    let metadata = metadata.map_err(|error| explain::token_error(&error, settings))?;
    match metadata.as_ref().map(|known| known.token_endpoint()) {
        None => report.skipped(
            METADATA,
            "the token endpoint is set, and not sought by an issuer",
        ),
        Some(None) => report.ok(METADATA, "of this issuer, without a token endpoint"),
        Some(Some(endpoint)) => {
            let shown = TextFilter::new().clean(endpoint);
            report.ok(METADATA, format!("of this issuer; tokens are at {shown}"));
        }
    }
    Ok(metadata)
}

async fn dns(url: &Url) -> Result<Vec<SocketAddr>, Failure> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let unknown = |why: String| {
        Failure::new(
            Exit::Unavailable,
            format!("the name {host} could not be resolved{why}"),
        )
        .with_remedy(
            "check the host in `token_endpoint` or `issuer`, and this machine's name service",
        )
    };
    // An IPv6 address is in brackets in a URL but not here.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(STEP_TIMEOUT, net::lookup_host((name, port))).await;
    let found = found.map_err(|_| unknown(format!(" within {STEP_TIMEOUT:?}")))?;
    let addresses: Vec<SocketAddr> = found
        .map_err(|error| unknown(format!(": {error}")))?
        .collect();
    if addresses.is_empty() {
        return Err(unknown(String::new()));
    }
    Ok(addresses)
}

fn listed(addresses: &[SocketAddr]) -> String {
    let mut all: Vec<String> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    all.dedup();
    all.join(", ")
}

/// Returns the first address that accepts a connection.
async fn tcp(addresses: &[SocketAddr]) -> Result<SocketAddr, Failure> {
    let mut why = String::new();
    for address in addresses {
        match timeout(STEP_TIMEOUT, net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(*address),
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer within {STEP_TIMEOUT:?}"),
        }
    }
    Err(Failure::new(Exit::Unavailable, format!("no connection could be made: {why}")).with_remedy(
        "check that the server runs, and firewalls on the way; where a proxy is needed, set `proxy`",
    ))
}

/// The server's public properties: its certificate and its time.
struct Looked {
    certificate: Option<Vec<u8>>,
    headers: HeaderMap,
    /// The midpoint between request and response, by the local clock.
    at: SystemTime,
}

/// Requests the server's root path. Sends no credentials, and accepts any response.
async fn look(settings: &Settings, url: &Url) -> Result<Looked, Failure> {
    let host = settings.host();
    let client = http::client(settings, url)?
        .redirect(redirect::Policy::none())
        .timeout(settings.timeout.unwrap_or(STEP_TIMEOUT))
        .tls_info(true)
        .build()
        .map_err(|error| http::failure(&error, "the HTTP client", None))?;
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    let asked = SystemTime::now();
    let answer = client.get(root).send().await;
    let answer = answer.map_err(|error| {
        let proxy = http::proxy_for(settings, url);
        let failure = http::failure(&error, &host, proxy.as_deref());
        explain::unreachable(failure, settings, url)
    })?;
    let took = asked.elapsed().unwrap_or_default();
    let info = answer.extensions().get::<TlsInfo>();
    Ok(Looked {
        certificate: info.and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec),
        headers: answer.headers().clone(),
        at: asked + took / 2,
    })
}

fn tls(url: &Url, certificate: Option<&[u8]>, report: &mut Report) {
    if url.scheme() != "https" {
        report.skipped(TLS, "plain HTTP on this machine");
        return;
    }
    let parsed = certificate.and_then(|der| Certificate::from_der(der).ok());
    let Some(certificate) = parsed else {
        report.ok(TLS, "verified; the certificate does not tell its end");
        return;
    };
    let ends = certificate
        .tbs_certificate()
        .validity()
        .not_after
        .to_unix_duration();
    let ends = UNIX_EPOCH + ends;
    let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
    let days = left.as_secs() / 86_400;
    let detail = format!("verified; the certificate is good for {days} more days");
    if days < CERTIFICATE_DAYS {
        report.warning(
            TLS,
            detail,
            "tell whoever runs the server: it should have been renewed by now",
        );
    } else {
        report.ok(TLS, detail);
    }
}

fn clock(looked: &Looked, report: &mut Report) {
    let date = looked.headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        report.ok(CLOCK, "the server does not tell its time");
        return;
    };
    // The header has whole seconds, which cut off half a second on average.
    let there = date + Duration::from_millis(500);
    let (skew, direction) = match there.duration_since(looked.at) {
        Ok(ahead) => (ahead, "behind"),
        Err(behind) => (behind.duration(), "ahead of"),
    };
    if skew < Duration::from_secs(2) {
        report.ok(CLOCK, "in step with the server's");
        return;
    }
    let whole = humantime::format_duration(Duration::from_secs(skew.as_secs()));
    let detail = format!("{whole} {direction} the server's");
    if skew > SKEW {
        report.warning(
            CLOCK,
            detail,
            "set this machine's clock by NTP: servers refuse what comes from another time",
        );
    } else {
        report.ok(CLOCK, detail);
    }
}

fn scopes(settings: &Settings, token: &AccessToken) -> Result<String, Failure> {
    let asked = settings.request.scopes();
    token.require_scopes(asked)?;
    let granted = token.scopes();
    Ok(match (asked.is_empty(), granted.is_empty()) {
        (true, true) => "none was asked for, none was told".to_owned(),
        (true, false) => format!("none was asked for; granted is `{granted}`"),
        (false, _) if asked == granted => format!("`{granted}`, as asked for"),
        (false, _) => format!("granted is more than was asked for: `{granted}`"),
    })
}

fn lifetime(token: &AccessToken, report: &mut Report) {
    let whole = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs()));
    let detail = format!("a token is valid for {}", whole(token.lifetime()));
    let says = token.expires_at().zip(inspect::expiry(token.expose()));
    let early = says.and_then(|(ours, says)| ours.duration_since(says).ok());
    if let Some(early) = early.filter(|early| *early > SKEW) {
        report.warning(
            LIFETIME,
            format!("{detail}, and the token itself says {} less", whole(early)),
            "have the server's `expires_in` corrected, or set `max_lifetime`",
        );
    } else if token.lifetime() < SHORT {
        report.warning(
            LIFETIME,
            detail,
            "have tokens of some minutes issued: so short ones cost a request each",
        );
    } else if token.lifetime() >= LONG {
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

    fn told(date: Option<&str>, at: u64) -> String {
        let mut headers = HeaderMap::new();
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        let mut report = Report::default();
        let looked = Looked {
            certificate: None,
            headers,
            at: UNIX_EPOCH + Duration::from_secs(at),
        };
        clock(&looked, &mut report);
        report.to_json()["steps"][0].to_string()
    }

    #[test]
    fn clocks_are_compared() {
        let date = Some("Fri, 15 Jan 2027 08:00:00 GMT");
        assert!(told(date, 1_800_000_000).contains("in step"));
        assert!(told(date, 1_800_000_010).contains("9s ahead of"));
        let far = told(date, 1_799_999_000);
        assert!(
            far.contains("behind") && far.contains("warning") && far.contains("NTP"),
            "{far}"
        );
        assert!(
            told(None, 0).contains("does not tell")
                && told(Some("soon"), 0).contains("does not tell")
        );
    }
}
