//! One place that settings come from; several lie over one another.

use std::{path::PathBuf, time::Duration};

use hallpass::secrets::SecretReference;

use super::values;
use crate::{
    args::{Authentication, Client},
    failure::Failure,
};

/// What one place says: nothing of it need be there, and nothing of it is checked against the rest yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) provider: Option<String>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) token_endpoint: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) openid_discovery: Option<bool>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<SecretReference>,
    pub(crate) private_key: Option<SecretReference>,
    pub(crate) certificate: Option<SecretReference>,
    pub(crate) bound_tokens: Option<bool>,
    pub(crate) key_id: Option<String>,
    pub(crate) algorithm: Option<String>,
    pub(crate) assertion: Option<SecretReference>,
    pub(crate) authentication: Option<Authentication>,
    pub(crate) scope: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) resource: Vec<String>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<String>,
    pub(crate) require_granted_scopes: Option<bool>,
    pub(crate) cache: Option<bool>,
    pub(crate) danger_allow_http_on_loopback: Option<bool>,
}

impl Layer {
    /// This layer, and what it leaves open from the one below.
    ///
    /// Another provider takes along what belongs to the one below: its address, its variables, its way of
    /// authentication.
    pub(crate) fn over(self, below: Self) -> Self {
        let below = if self.provider.is_some() && self.provider != below.provider {
            Self {
                token_endpoint: None,
                issuer: None,
                variables: Vec::new(),
                authentication: None,
                ..below
            }
        } else {
            below
        };
        let list = |ours: Vec<String>, below| if ours.is_empty() { below } else { ours };
        Self {
            provider: self.provider.or(below.provider),
            variables: merged(self.variables, below.variables),
            token_endpoint: self.token_endpoint.or(below.token_endpoint),
            issuer: self.issuer.or(below.issuer),
            openid_discovery: self.openid_discovery.or(below.openid_discovery),
            client_id: self.client_id.or(below.client_id),
            client_secret: self.client_secret.or(below.client_secret),
            private_key: self.private_key.or(below.private_key),
            certificate: self.certificate.or(below.certificate),
            bound_tokens: self.bound_tokens.or(below.bound_tokens),
            key_id: self.key_id.or(below.key_id),
            algorithm: self.algorithm.or(below.algorithm),
            assertion: self.assertion.or(below.assertion),
            authentication: self.authentication.or(below.authentication),
            scope: self.scope.or(below.scope),
            audience: list(self.audience, below.audience),
            resource: list(self.resource, below.resource),
            parameters: merged(self.parameters, below.parameters),
            allowed_origins: list(self.allowed_origins, below.allowed_origins),
            timeout: self.timeout.or(below.timeout),
            connect_timeout: self.connect_timeout.or(below.connect_timeout),
            ca_file: self.ca_file.or(below.ca_file),
            proxy: self.proxy.or(below.proxy),
            require_granted_scopes: self.require_granted_scopes.or(below.require_granted_scopes),
            cache: self.cache.or(below.cache),
            danger_allow_http_on_loopback: self
                .danger_allow_http_on_loopback
                .or(below.danger_allow_http_on_loopback),
        }
    }
}

/// Each name once, as the upper one has it.
fn merged(ours: Vec<(String, String)>, below: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut all = ours;
    for (name, value) in below {
        if !all.iter().any(|(known, _)| *known == name) {
            all.push((name, value));
        }
    }
    all
}

/// What the flags say.
pub(crate) fn of_flags(flags: &Client) -> Result<Layer, Failure> {
    let mut parameters = Vec::new();
    for pair in &flags.parameter {
        // It is not repeated: it may be anything.
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::usage(
                "`--parameter` takes a name and a value: `NAME=VALUE`",
            ));
        };
        parameters.push((name.to_owned(), value.to_owned()));
    }
    let timeout = flags.timeout.as_deref().map(values::duration).transpose();
    Ok(Layer {
        provider: flags.provider.clone(),
        token_endpoint: flags.token_endpoint.clone(),
        issuer: flags.issuer.clone(),
        client_id: flags.client_id.clone(),
        authentication: flags.authentication,
        scope: flags.scope.clone(),
        audience: flags.audience.clone(),
        resource: flags.resource.clone(),
        parameters,
        timeout: timeout.map_err(|why| Failure::usage(format!("`--timeout`: {why}")))?,
        danger_allow_http_on_loopback: flags.danger_allow_http_on_loopback.then_some(true),
        ..Layer::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn what_lies_above_wins_and_the_rest_shows_through() {
        let above = Layer {
            scope: Some("a".into()),
            parameters: vec![pair("x", "1")],
            ..Layer::default()
        };
        let below = Layer {
            scope: Some("b".into()),
            client_id: Some("id".into()),
            parameters: vec![pair("x", "2"), pair("y", "2")],
            audience: vec!["c".into()],
            ..Layer::default()
        };
        let both = above.over(below);
        assert_eq!(
            (both.scope, both.client_id),
            (Some("a".into()), Some("id".into()))
        );
        assert_eq!(both.parameters, [pair("x", "1"), pair("y", "2")]);
        assert_eq!(both.audience, ["c"]);
    }

    #[test]
    fn another_provider_takes_its_address_along() {
        let below = Layer {
            provider: Some("camall".into()),
            token_endpoint: Some("https://staging.example/".into()),
            authentication: Some(Authentication::Form),
            client_id: Some("id".into()),
            ..Layer::default()
        };
        let over = |provider: &str| {
            Layer {
                provider: Some(provider.into()),
                ..Layer::default()
            }
            .over(below.clone())
        };
        assert!(over("camall").token_endpoint.is_some());
        let other = over("auth0");
        assert!(other.token_endpoint.is_none() && other.authentication.is_none());
        assert_eq!(other.client_id.as_deref(), Some("id"));
    }
}
