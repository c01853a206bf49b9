//! Context from the settings and the environment that is added to a library's errors.

use std::{env, time::Duration};

use hallpass::TokenError;
use url::Url;

use crate::{
    config::Settings,
    failure::{Exit, Failure},
};

/// The proxy variables, which are used only with `proxy = "system"`.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Returns the failure for a token error, with the time to wait and the proxy in use.
pub(crate) fn token_error(error: &TokenError, settings: &Settings) -> Failure {
    let mut failure = Failure::from(error.clone());
    if let Some(wait) = error.retry_after() {
        let whole = humantime::format_duration(Duration::from_secs(wait.as_secs().max(1)));
        failure = and(failure, &format!("try again in {whole}"));
    }
    if error.status().is_some() {
        return failure;
    }
    if settings.proof.runs_a_command() && failure.message().contains("was killed") {
        return and(
            failure,
            "`command_timeout` of the profile sets how long it may take",
        );
    }
    unreachable(failure, settings)
}

/// Adds the proxy in use to a connection failure.
pub(crate) fn unreachable(failure: Failure, settings: &Settings) -> Failure {
    if failure.exit() != Exit::Unavailable {
        return failure;
    }
    let check = "check that it runs and lets you through";
    let on_the_way = match (settings.proxy.as_deref(), variable()) {
        (Some("system"), Some((name, value))) if value.starts_with("socks") => format!(
            "the variable `{name}` names a SOCKS proxy, which is not supported: name an HTTP proxy"
        ),
        (Some("system"), Some((name, _))) => {
            format!("requests go through the proxy that the variable `{name}` names: {check}")
        }
        (Some("system") | None, None) => return failure,
        (Some(proxy), _) => {
            let url = Url::parse(proxy).ok();
            let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
            format!("requests go through the proxy {host} (`proxy`): {check}")
        }
        (None, Some((name, _))) => format!(
            "the variable `{name}` is set and not used: to go through that proxy, set `proxy = \"system\"`"
        ),
    };
    and(failure, &on_the_way)
}

fn and(failure: Failure, remedy: &str) -> Failure {
    let both = match failure.remedy() {
        Some(first) => format!("{first}; {remedy}"),
        None => remedy.to_owned(),
    };
    failure.with_remedy(both)
}

/// Returns the first proxy variable that is set, and its value.
fn variable() -> Option<(&'static str, String)> {
    PROXY_VARIABLES.into_iter().find_map(|name| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}
