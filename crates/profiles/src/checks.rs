//! Settings without effect, and a proxy with a password.

use hallpass_secrets::SecretReference;
use url::Url;

use crate::{
    authentication::AuthenticationSettings,
    error::ProfileError,
    redis::RedisSettings,
    server::{Server, ServerAddress},
    unit::ServerUnit,
};

/// Checks the URL of the proxy for token and API requests. It must not contain a password, which would be stored in the
/// file.
pub(crate) fn check_proxy(proxy: Option<&str>) -> Result<(), ProfileError> {
    let Some(proxy) = proxy.filter(|proxy| *proxy != "system") else {
        return Ok(());
    };
    let refuse = |why: &str| ProfileError::new(format!("proxy: {why}"));
    let Ok(url) = Url::parse(proxy) else {
        return Err(
            refuse("not an absolute URL").with_hint("write it as `http://proxy.example:3128`")
        );
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("the URL contains a user name or password").with_hint(
            "set `proxy = \"system\"` and the variable `HTTPS_PROXY` to the proxy's URL with user name and password",
        ));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("the URL's scheme must be `http` or `https`"));
    }
    Ok(())
}

/// Checks that the key of the tokens is not one of the client's credentials, which serves another purpose.
pub(crate) fn check_dpop(
    dpop: &SecretReference,
    authentication: &AuthenticationSettings,
) -> Result<(), ProfileError> {
    if !authentication.references().any(|used| used == dpop) {
        return Ok(());
    }
    let other = authentication.setting().unwrap_or("authentication");
    let message = format!("`dpop` and `{other}` refer to the same secret");
    Err(ProfileError::new(message).with_hint("generate another key with `hallpass keygen`"))
}

/// Checks that the Redis store has an effect.
pub(crate) fn check_redis(
    redis: &RedisSettings,
    cache: Option<bool>,
    authentication: &AuthenticationSettings,
) -> Result<(), ProfileError> {
    let unused = |why: &str, remedy: &str| {
        let message = format!("{}: `redis` has no effect: {why}", redis.location);
        Err(ProfileError::new(message).with_hint(remedy))
    };
    if cache == Some(false) {
        return unused("`cache` is `false`", "remove one of them");
    }
    if authentication.binds_tokens() {
        return unused(
            "tokens that are bound to a certificate are not cached between runs",
            "remove it, or set `bound_tokens` to `false` if the server binds no tokens to certificates",
        );
    }
    Ok(())
}

const SIGNS_NOTHING: &str = "the client signs no assertions";

/// Checks that every setting of the server has an effect.
pub(crate) fn check_effects(
    unit: &ServerUnit,
    server: Server,
    address: &ServerAddress,
    authentication: &AuthenticationSettings,
) -> Result<(), ProfileError> {
    let has_variables = matches!(server, Server::Preset(_)) && unit.token_endpoint.is_none();
    let assertion = unit.assertion.as_deref();
    let unused = [
        (
            !unit.variables.is_empty() && !has_variables,
            "variables",
            "they apply only to a `provider` with variables, and without `token_endpoint`",
        ),
        (
            unit.provider_settings.is_set() && !matches!(server, Server::Registered),
            "provider_settings",
            "they apply only to a `provider` that the program registers",
        ),
        (
            unit.openid_discovery.is_some() && !matches!(address, ServerAddress::Issuer { .. }),
            "openid_discovery",
            "the token endpoint is not discovered",
        ),
        (
            unit.danger_token_endpoint_as_audience.is_some() && !authentication.signs_assertions(),
            "danger_token_endpoint_as_audience",
            SIGNS_NOTHING,
        ),
        (
            assertion.is_some_and(|set| set.audience.is_some())
                && !authentication.signs_assertions(),
            "assertion_audience",
            SIGNS_NOTHING,
        ),
        (
            assertion.is_some_and(|set| set.typ.is_some()) && !authentication.signs_assertions(),
            "assertion_typ",
            SIGNS_NOTHING,
        ),
    ];
    let mut unused = unused.iter().filter(|(is_unused, ..)| *is_unused);
    match unused.next() {
        None => Ok(()),
        Some((_, setting, why)) => Err(ProfileError::new(format!(
            "`{setting}` has no effect: {why}"
        ))
        .with_hint("remove it")),
    }
}
