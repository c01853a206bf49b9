//! The authorization server: its kind and its address.

use hallpass_camall as camall;
use hallpass_endpoint::presets::{self, Preset};

use crate::error::ProfileError;
use crate::{provider::Provider, unit::ServerUnit, values};

/// The kind of authorization server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Server {
    /// camall.io.
    Camall,
    /// A server with a preset.
    Preset(&'static Preset),
    /// Any RFC 6749 token endpoint.
    Any,
    /// A provider that the program registered.
    Registered,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        match self {
            Self::Camall => matches!(other, Self::Camall),
            Self::Preset(preset) => {
                matches!(other, Self::Preset(other) if std::ptr::eq(*preset, *other))
            }
            Self::Registered => matches!(other, Self::Registered),
            Self::Any => matches!(other, Self::Any),
        }
    }
}

/// The names of the supported providers.
pub(crate) const PROVIDERS: [(&str, Server); 23] = [
    ("camall", Server::Camall),
    ("auth0", Server::Preset(&presets::AUTH0)),
    ("okta", Server::Preset(&presets::OKTA)),
    ("okta-org", Server::Preset(&presets::OKTA_ORG)),
    ("entra-id", Server::Preset(&presets::ENTRA_ID)),
    ("keycloak", Server::Preset(&presets::KEYCLOAK)),
    ("cognito", Server::Preset(&presets::COGNITO)),
    ("ory-hydra", Server::Preset(&presets::ORY_HYDRA)),
    ("ory-network", Server::Preset(&presets::ORY_NETWORK)),
    ("xsuaa", Server::Preset(&presets::XSUAA)),
    ("servicenow", Server::Preset(&presets::SERVICENOW)),
    ("salesforce", Server::Preset(&presets::SALESFORCE)),
    ("zoom", Server::Preset(&presets::ZOOM)),
    ("paypal", Server::Preset(&presets::PAYPAL)),
    ("paypal-sandbox", Server::Preset(&presets::PAYPAL_SANDBOX)),
    ("ups", Server::Preset(&presets::UPS)),
    ("ups-test", Server::Preset(&presets::UPS_TEST)),
    ("fedex", Server::Preset(&presets::FEDEX)),
    ("fedex-sandbox", Server::Preset(&presets::FEDEX_SANDBOX)),
    ("ebay", Server::Preset(&presets::EBAY)),
    ("ebay-sandbox", Server::Preset(&presets::EBAY_SANDBOX)),
    ("databricks", Server::Preset(&presets::DATABRICKS)),
    (
        "databricks-account",
        Server::Preset(&presets::DATABRICKS_ACCOUNT),
    ),
];

/// The address of the server: the token endpoint, or the issuer to discover it from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerAddress {
    /// The URL of the token endpoint.
    TokenEndpoint(String),
    /// An issuer whose metadata is discovered.
    #[non_exhaustive]
    Issuer {
        /// The issuer.
        issuer: String,
        /// True if its metadata are at the OpenID Connect location.
        openid: bool,
    },
    /// An address that only the registered provider knows.
    OfProvider,
}

impl ServerAddress {
    /// Returns the known address: the token endpoint's or the issuer's; empty if only the provider knows it.
    pub fn url(&self) -> &str {
        match self {
            Self::TokenEndpoint(url) | Self::Issuer { issuer: url, .. } => url,
            Self::OfProvider => "",
        }
    }
}

/// The provider of Google's service accounts, which is known to be unusable here.
const GOOGLE: &str = "google";

/// Returns the kind of server, and the provider if it is a registered one.
pub(crate) fn parse_provider(
    provider: Option<&str>,
    registered: &[Provider],
) -> Result<(Server, Option<Provider>), ProfileError> {
    let Some(provider) = provider else {
        return Ok((Server::Any, None));
    };
    let known = PROVIDERS.iter().find(|(name, _)| *name == provider);
    if let Some((_, server)) = known {
        return Ok((*server, None));
    }
    if let Some(known) = registered.iter().find(|known| known.name() == provider) {
        return Ok((Server::Registered, Some(known.clone())));
    }
    if provider == GOOGLE {
        return Err(ProfileError::new(
            "Google does not support the client credentials grant: its service accounts use the JWT bearer grant (RFC 7523 section 2.1), which this command does not support",
        ));
    }
    let names = PROVIDERS.iter().map(|(name, _)| *name);
    let names = names.chain(registered.iter().map(Provider::name));
    let failure = ProfileError::new("`provider`: unknown provider");
    Err(match values::nearest_name(provider, names.clone()) {
        Some(nearest) => failure.with_hint(format!("a similar name exists: `{nearest}`")),
        None => failure.with_hint(format!(
            "known providers: `{}`; for any other server set `token_endpoint`",
            names.collect::<Vec<_>>().join("`, `")
        )),
    })
}

/// Checks the names of registered providers.
pub(crate) fn check_registered(registered: &[Provider]) -> Result<(), ProfileError> {
    for (index, provider) in registered.iter().enumerate() {
        let name = provider.name();
        let wrong = |why: &str| {
            ProfileError::new(format!("the provider {} {why}", values::quoted_name(name)))
                .with_hint("register it under another name")
        };
        if name == GOOGLE || PROVIDERS.iter().any(|(known, _)| *known == name) {
            return Err(wrong("is built in, and cannot be replaced"));
        }
        if name.is_empty() || registered[..index].iter().any(|other| other.name() == name) {
            return Err(wrong("is registered twice, or without a name"));
        }
    }
    Ok(())
}

/// Returns the token endpoint or the issuer, if one is set.
pub(crate) fn token_endpoint(
    server: Server,
    unit: &ServerUnit,
) -> Result<Option<String>, ProfileError> {
    if let Some(endpoint) = &unit.token_endpoint {
        return Ok(Some(endpoint.clone()));
    }
    Ok(match server {
        Server::Camall => Some(camall::TOKEN_ENDPOINT.to_owned()),
        Server::Preset(preset) => {
            let values = unit.variables.iter();
            let values: Vec<_> = values
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let endpoint = preset.endpoint(&values);
            Some(endpoint.map_err(|error| {
                ProfileError::from(error).with_hint("set it in `variables` of the profile")
            })?)
        }
        Server::Any | Server::Registered => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_lists_every_provider() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/command.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        let row = guide
            .lines()
            .find(|line| line.starts_with("| `provider` |"));
        for (name, _) in PROVIDERS {
            assert!(row.unwrap().contains(&format!("`{name}`")), "{name}");
        }
    }
}
