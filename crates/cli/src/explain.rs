//! Context from the settings and the environment that is added to a library's errors.

use std::{env, time::Duration};

use hallpass::{TokenError, endpoint::hints, profiles::PROXY_CREDENTIALS_HINT};
use url::Url;

use crate::{
    config::{AuthenticationSettings, SecretReference, Settings},
    failure::{Exit, Failure},
    http,
};

/// The proxy variables, which are used only with `proxy = "system"`.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Returns the failure for a token error, with the time to wait and the proxy in use.
pub(crate) fn token_error(error: &TokenError, settings: &Settings) -> Failure {
    let failure = in_context(error, settings);
    match error.retry_after() {
        Some(wait) => {
            let whole = humantime::format_duration(Duration::from_secs(wait.as_secs().max(1)));
            with_hint(failure, &format!("try again in {whole}"))
        }
        None => failure,
    }
}

fn in_context(error: &TokenError, settings: &Settings) -> Failure {
    let failure = Failure::from(error.clone());
    if error.status().is_some() {
        return failure;
    }
    if let Some((setting, reference)) = separate_text(error, &settings.authentication) {
        return failure.with_remedy(format!("correct the text of `{setting}`, `{reference}`"));
    }
    if error.is_local() && settings.authentication.runs_a_command() {
        return with_hint(
            failure,
            "`command_timeout` of the profile sets the timeout of the command",
        );
    }
    match (error.host(), Url::parse(settings.address.url())) {
        (Some(_), Ok(url)) => connection_failure(failure, settings, &url),
        // No request was sent, as the credential could not be read.
        _ => failure,
    }
}

/// Returns the setting with the error, where certificate and key are separate.
fn separate_text(
    error: &TokenError,
    authentication: &AuthenticationSettings,
) -> Option<(&'static str, SecretReference)> {
    let tls = authentication.tls_certificate()?;
    let name = error.hint_name()?;
    if Some(name) == hints::CERTIFICATE_TEXT.name() {
        Some(("certificate", tls.certificate))
    } else if Some(name) == hints::KEY_TEXT.name() {
        Some(("private_key", tls.key?))
    } else {
        None
    }
}

/// Returns the remedy for a proxy that requires credentials, or refuses them.
fn proxy_credentials(settings: &Settings) -> String {
    match (settings.proxy.as_deref(), proxy_variable()) {
        (Some("system"), Some((name, value))) if value.contains('@') => {
            format!("correct the user name and password in the variable `{name}`")
        }
        (Some("system"), Some((name, _))) => {
            format!("add the user name and password to the URL in the variable `{name}`")
        }
        _ => PROXY_CREDENTIALS_HINT.to_owned(),
    }
}

/// Adds the setting of the proxy to the failure of a connection to this URL.
pub(crate) fn connection_failure(failure: Failure, settings: &Settings, url: &Url) -> Failure {
    if failure.remedy() == Some(PROXY_CREDENTIALS_HINT) {
        return failure.with_remedy(proxy_credentials(settings));
    }
    if failure.exit() != Exit::Unavailable || http::is_loopback(url) {
        return failure;
    }
    let setting = match (settings.proxy.as_deref(), proxy_variable()) {
        (Some("system") | None, None) => return failure,
        (None, Some((name, _))) => {
            let unused = format!(
                "the variable `{name}` is set but not used: set `proxy = \"system\"` to use that proxy"
            );
            return with_hint(failure, &unused);
        }
        (Some("system"), Some((name, value))) if value.starts_with("socks") => {
            let unsupported = format!(
                "the variable `{name}` names a SOCKS proxy, which is not supported: name an HTTP proxy"
            );
            return with_hint(failure, &unsupported);
        }
        (Some("system"), Some((name, _))) => format!("the variable `{name}`"),
        (Some(_), _) => "`proxy`".to_owned(),
    };
    match http::proxy_for(settings, url) {
        // In place of the library's hint, which does not know where the proxy is set.
        Some(_) => failure.with_remedy(format!(
            "check that the proxy of {setting} runs and allows this connection"
        )),
        None => failure,
    }
}

fn with_hint(failure: Failure, remedy: &str) -> Failure {
    let both = match failure.remedy() {
        Some(first) => format!("{first}; {remedy}"),
        None => remedy.to_owned(),
    };
    failure.with_remedy(both)
}

/// Returns the first proxy variable that is set, and its value.
fn proxy_variable() -> Option<(&'static str, String)> {
    PROXY_VARIABLES.into_iter().find_map(|name| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}
