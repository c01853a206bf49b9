//! Context from the settings and the environment that is added to a library's errors.

use std::{env, time::Duration};

use hallpass::TokenError;
use url::Url;

use crate::{
    config::Settings,
    failure::{Exit, Failure},
    http,
};

/// The proxy variables, which are used only with `proxy = "system"`.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Returns the failure for a token error, with the time to wait and the proxy in use.
pub(crate) fn token_error(error: &TokenError, settings: &Settings) -> Failure {
    let mut failure = Failure::from(error.clone());
    if let Some(wait) = error.retry_after() {
        let whole = humantime::format_duration(Duration::from_secs(wait.as_secs().max(1)));
        failure = with_hint(failure, &format!("try again in {whole}"));
    }
    if error.status().is_some() {
        return failure;
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

/// Adds the setting of the proxy to the failure of a connection to this URL.
pub(crate) fn connection_failure(failure: Failure, settings: &Settings, url: &Url) -> Failure {
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
        Some(_) => with_hint(
            failure,
            &format!("check that the proxy of {setting} runs and allows this connection"),
        ),
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
