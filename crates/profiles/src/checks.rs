//! Settings without effect, and a proxy with a password.

use std::time::Duration;

use hallpass_core::TokenRequest;
use hallpass_secrets::SecretReference;
use url::Url;

use crate::{
    audience::Audience,
    authentication::AuthenticationSettings,
    error::ProfileError,
    format::FormatSettings,
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
            "tokens that are bound to a `certificate` are not cached between runs",
            "remove it, or set `bound_tokens` to `false` if the server binds no tokens to certificates",
        );
    }
    Ok(())
}

/// Checks that the formats of responses have an effect with the other settings.
pub(crate) fn check_format(
    format: &FormatSettings,
    default_lifetime: Option<Duration>,
    dpop: Option<&SecretReference>,
) -> Result<(), ProfileError> {
    format.check()?;
    if default_lifetime.is_some() && format.expiry_member.is_some() {
        return Err(ProfileError::new(
            "`default_lifetime` has no effect with `expiry_member`, without which a response is refused",
        )
        .with_hint("remove one of the two"));
    }
    if dpop.is_some() && format.token_type_name.is_some() {
        return Err(ProfileError::new(
            "`token_type_name` has no effect with `dpop`, which accepts no bearer token",
        )
        .with_hint("remove one of the two"));
    }
    Ok(())
}

/// Checks that the provider's server supports the request, and tokens that are bound to a key.
pub(crate) fn check_preset(
    server: Server,
    request: &TokenRequest,
    dpop: Option<&SecretReference>,
) -> Result<(), ProfileError> {
    let Server::Preset(preset) = server else {
        return Ok(());
    };
    if dpop.is_some() && preset.token_type_name.is_some() {
        let message = format!(
            "`dpop` cannot be used with this `provider`: {} issues bearer tokens only",
            preset.name
        );
        return Err(ProfileError::new(message).with_hint("remove `dpop`"));
    }
    preset.check_request(request).map_err(|error| {
        ProfileError::from(error).with_hint(
            "change it, or set `token_endpoint` in place of `provider`, so that the request is not checked",
        )
    })
}

/// Checks that every setting of the server has an effect. `client` is that of the same source: one of another source may
/// leave settings for assertions unused.
pub(crate) fn check_effects(
    unit: &ServerUnit,
    server: Server,
    address: &ServerAddress,
    client: Option<&AuthenticationSettings>,
    audience: &Audience,
) -> Result<(), ProfileError> {
    let has_variables = matches!(server, Server::Preset(_)) && unit.token_endpoint.is_none();
    let assertion = unit.assertion.as_deref();
    let is_discovered = matches!(address, ServerAddress::Issuer { .. });
    let signs = client.is_none_or(AuthenticationSettings::signs_assertions);
    let is_audience = signs && matches!(audience, Audience::Issuer(_));
    let named_by = match unit.setting() {
        Some("issuer") if !is_discovered => "provider",
        named_by => named_by.unwrap_or("provider"),
    };
    let named = || format!("the server is named by `{named_by}`");
    let signs_nothing = || {
        let description = client.map(AuthenticationSettings::description);
        format!(
            "{}, and signs no assertions",
            description.unwrap_or_default()
        )
    };
    let not_the_audience = || {
        let audience = if !signs {
            signs_nothing()
        } else if unit.danger_token_endpoint_as_audience == Some(true) {
            "`danger_token_endpoint_as_audience` sets the audience of assertions".to_owned()
        } else {
            "`assertion_audience` sets the audience of assertions".to_owned()
        };
        format!("{}, and {audience}", named())
    };
    let remove = "remove it";
    let sign = "remove it, or authenticate with `private_key`";
    let unused: [(bool, _, &dyn Fn() -> String, _); 7] = [
        (
            !unit.variables.is_empty() && !has_variables,
            "variables",
            &|| {
                format!(
                    "{}, and only a `provider` without `token_endpoint` has variables",
                    named()
                )
            },
            remove,
        ),
        (
            unit.provider_settings.is_set() && !matches!(server, Server::Registered),
            "provider_settings",
            &|| {
                format!(
                    "{}, and only a `provider` that the program registers has settings",
                    named()
                )
            },
            remove,
        ),
        (
            unit.openid_discovery.is_some() && !is_discovered,
            "openid_discovery",
            &|| format!("{}, and nothing is discovered", named()),
            remove,
        ),
        (
            unit.danger_token_endpoint_as_audience.is_some() && !signs,
            "danger_token_endpoint_as_audience",
            &signs_nothing,
            sign,
        ),
        (
            assertion.is_some_and(|set| set.audience.is_some()) && !signs,
            "assertion_audience",
            &signs_nothing,
            sign,
        ),
        (
            assertion.is_some_and(|set| set.typ.is_some()) && !signs,
            "assertion_typ",
            &signs_nothing,
            sign,
        ),
        (
            unit.issuer.is_some() && !is_discovered && !is_audience,
            "issuer",
            &not_the_audience,
            remove,
        ),
    ];
    let mut unused = unused.iter().filter(|(is_unused, ..)| *is_unused);
    match unused.next() {
        None => Ok(()),
        Some((_, setting, why, hint)) => {
            Err(ProfileError::new(format!("`{setting}` has no effect: {}", why())).with_hint(*hint))
        }
    }
}
