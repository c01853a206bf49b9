//! The settings from one source, and how several are combined.

use std::{path::PathBuf, time::Duration};

use hallpass_endpoint::SecurityProfile;
use hallpass_secrets::SecretReference;

use crate::{
    format::FormatSettings,
    redis::RedisSettings,
    unit::{ClientUnit, ServerUnit},
};

/// The settings from one source: all are optional, and they are not yet checked against each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) server: ServerUnit,
    pub(crate) client: ClientUnit,
    pub(crate) dpop: Option<SecretReference>,
    pub(crate) security_profile: Option<SecurityProfile>,
    pub(crate) scope: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) resource: Vec<String>,
    pub(crate) authorization_details: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) command_timeout: Option<Duration>,
    pub(crate) proxy: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) default_lifetime: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) compressed_responses: Option<bool>,
    pub(crate) lenient_responses: Option<bool>,
    pub(crate) require_granted_scopes: Option<bool>,
    pub(crate) require_granted_authorization_details: Option<bool>,
    pub(crate) cache: Option<bool>,
    /// Set by profiles only.
    pub(crate) redis: Option<Box<RedisSettings>>,
    pub(crate) danger_allow_http_on_loopback: Option<bool>,
    pub(crate) format: Option<Box<FormatSettings>>,
}

impl Layer {
    /// Returns this layer, with unset values taken from the one below.
    ///
    /// The settings of a server, and those of a client, are replaced as a group ([`ServerUnit`], [`ClientUnit`]).
    pub(crate) fn over(self, below: Self) -> Self {
        let list = |ours: Vec<String>, below| if ours.is_empty() { below } else { ours };
        let (server, client) = units(self.server, self.client, below.server, below.client);
        Self {
            server,
            client,
            dpop: self.dpop.or(below.dpop),
            // No value relaxes it.
            security_profile: self.security_profile.or(below.security_profile),
            scope: self.scope.or(below.scope),
            audience: list(self.audience, below.audience),
            resource: list(self.resource, below.resource),
            authorization_details: self.authorization_details.or(below.authorization_details),
            parameters: merge_parameters(self.parameters, below.parameters),
            allowed_origins: list(self.allowed_origins, below.allowed_origins),
            timeout: self.timeout.or(below.timeout),
            connect_timeout: self.connect_timeout.or(below.connect_timeout),
            ca_file: self.ca_file.or(below.ca_file),
            command_timeout: self.command_timeout.or(below.command_timeout),
            proxy: self.proxy.or(below.proxy),
            user_agent: self.user_agent.or(below.user_agent),
            default_lifetime: self.default_lifetime.or(below.default_lifetime),
            max_lifetime: self.max_lifetime.or(below.max_lifetime),
            compressed_responses: self.compressed_responses.or(below.compressed_responses),
            lenient_responses: self.lenient_responses.or(below.lenient_responses),
            require_granted_scopes: self.require_granted_scopes.or(below.require_granted_scopes),
            require_granted_authorization_details: self
                .require_granted_authorization_details
                .or(below.require_granted_authorization_details),
            cache: self.cache.or(below.cache),
            redis: self.redis.or(below.redis),
            danger_allow_http_on_loopback: self
                .danger_allow_http_on_loopback
                .or(below.danger_allow_http_on_loopback),
            format: match (self.format, below.format) {
                (Some(above), Some(below)) => Some(Box::new(above.over(*below))),
                (above, below) => above.or(below),
            },
        }
    }
}

/// Returns the server and the client of two layers.
fn units(
    server: ServerUnit,
    client: ClientUnit,
    server_below: ServerUnit,
    client_below: ClientUnit,
) -> (ServerUnit, ClientUnit) {
    let own = (server.clone(), client.clone());
    let both = (server.over(server_below), client.over(client_below));
    // A group that the layer below repeats counts as one of that layer. The upper layer needs none if it is complete.
    if both.1.check(&both.0).is_err() && own.1.is_complete_for(&own.0) {
        return own;
    }
    both
}

/// Merges two lists of variables; the upper layer's value wins.
fn merge_parameters(
    ours: Vec<(String, String)>,
    below: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let mut all = ours;
    for (name, value) in below {
        if !all.iter().any(|(known, _)| *known == name) {
            all.push((name, value));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::SettingSource;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn upper_layers_override_lower_ones() {
        let above = Layer {
            scope: Some("a".into()),
            parameters: vec![pair("x", "1")],
            ..Layer::default()
        };
        let below = Layer {
            scope: Some("b".into()),
            timeout: Some(Duration::from_secs(7)),
            parameters: vec![pair("x", "2"), pair("y", "2")],
            audience: vec!["c".into()],
            ..Layer::default()
        };
        let both = above.over(below);
        assert_eq!(
            (both.scope, both.timeout),
            (Some("a".into()), Some(Duration::from_secs(7)))
        );
        assert_eq!(both.parameters, [pair("x", "1"), pair("y", "2")]);
        assert_eq!(both.audience, ["c"]);
    }

    #[test]
    fn a_complete_layer_needs_nothing_that_another_repeats() {
        let layer = |source: SettingSource, secret: Option<&str>| Layer {
            server: ServerUnit {
                source: source.clone(),
                token_endpoint: Some("https://a/t".into()),
                ..ServerUnit::default()
            },
            client: ClientUnit {
                client_id: secret.map(|_| "orders".into()),
                client_secret: secret.map(|name| format!("env:{name}").parse().unwrap()),
                ..ClientUnit::default()
            }
            .with_source(&source),
            ..Layer::default()
        };
        let profile = || layer(SettingSource::Profile("a".into()), Some("SECRET"));
        let variables = |secret| layer(SettingSource::Variables("HALLPASS"), secret);
        let mut same_client = variables(Some("SECRET"));
        same_client.server.token_endpoint = None;
        for below in [variables(None), variables(Some("SECRET")), same_client] {
            let both = profile().over(below);
            both.client.check(&both.server).unwrap();
        }
        // A part of the server that only the layer below has is not used with the credential of this one.
        let mut below = variables(None);
        below.server.issuer = Some("https://b".into());
        let both = profile().over(below);
        both.client.check(&both.server).unwrap();
        assert_eq!(both.server.issuer, None);
    }
}
