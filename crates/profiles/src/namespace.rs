//! The name under which processes share the tokens of a profile.

use std::time::Duration;

use hallpass_cache::StoreKey;

use crate::{format::FormatSettings, settings::Settings};

impl Settings {
    /// Returns the settings that two processes must have in common to share a token.
    ///
    /// The request is one of them, since it completes the request of each call: an empty one would otherwise mean the
    /// same token for all profiles of a client. Settings that decide whether a token is accepted are part of it: a token
    /// accepted without them must not be used with them. The secret is not: a token stays valid when the secret is
    /// rotated.
    pub fn namespace(&self) -> String {
        let set = |is_set: bool| is_set.then(String::new);
        let time = |time: Option<Duration>| time.map(|time| time.as_millis().to_string());
        let format = self.format.as_deref();
        let parts = [
            ("server", Some(self.address.url().to_owned())),
            ("client_id", Some(self.client_id.clone())),
            (
                "provider",
                self.provider.as_ref().map(|own| own.name().to_owned()),
            ),
            ("max_lifetime", time(self.max_lifetime)),
            ("default_lifetime", time(self.default_lifetime)),
            ("lenient_responses", set(self.lenient_responses)),
            ("require_granted_scopes", set(self.require_granted_scopes)),
            (
                "require_granted_authorization_details",
                set(self.require_granted_authorization_details),
            ),
            ("dpop", set(self.dpop.is_some())),
            (
                "security_profile",
                self.security_profile.map(|held| held.title().to_owned()),
            ),
            ("format", format.and_then(FormatSettings::canonical)),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let own = self.own.iter().flat_map(|own| own.canonical());
        let own = own.map(|setting| ("provider_settings", setting));
        // Length-prefixed, so that fields cannot run into each other.
        let measured = parts
            .chain(own)
            .map(|(name, value)| format!("{name}:{}:{value}", value.len()));
        let client: String = measured.collect();
        StoreKey::new(&client, &self.request).as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::tests::settings;

    // covers: F-98
    #[test]
    fn clients_and_servers_have_separate_namespaces() {
        let namespace = |endpoint: &str, id: &str| {
            settings(|layer| {
                layer.server.token_endpoint = Some(endpoint.into());
                layer.client.client_id = Some(id.into());
            })
            .unwrap()
            .namespace()
        };
        assert_ne!(namespace("https://a/", "b"), namespace("https://a/", "c"));
        assert_ne!(namespace("https://a/b", "c"), namespace("https://a/", "bc"));
        let lenient = settings(|layer| layer.lenient_responses = Some(true));
        let strict = settings(|_| {}).unwrap();
        assert_ne!(lenient.unwrap().namespace(), strict.namespace());
    }
}
