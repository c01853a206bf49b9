//! The choice of a profile, with a program's own settings.

use std::time::Duration;

use hallpass_endpoint::SecurityProfile;
use hallpass_secrets::SecretReference;

use crate::{layer::Layer, method::AuthenticationMethod};

/// The choice of a profile, with settings that a program sets itself, such as by command-line flags. These have
/// precedence over the profile and the environment.
///
/// Errors name these settings like flags: `--client-id`.
///
/// ```
/// use hallpass_profiles::Selection;
///
/// let selection = Selection::new().profile("orders").scope("orders.read");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Selection {
    pub(crate) profile: Option<String>,
    pub(crate) layer: Layer,
    pub(crate) danger_allow_mixed_settings: bool,
}

impl Selection {
    /// Creates a selection without settings: the profile that `HALLPASS_PROFILE` names, or the one named `default`, if
    /// there is one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses a profile by its name. Variables such as `HALLPASS_CLIENT_ID` then do not override it; they complete it.
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Sets the provider, such as `auth0`.
    pub fn provider(mut self, provider: impl Into<String>) -> Self {
        self.layer.server.provider = Some(provider.into());
        self
    }

    /// Sets the URL of the token endpoint.
    pub fn token_endpoint(mut self, url: impl Into<String>) -> Self {
        self.layer.server.token_endpoint = Some(url.into());
        self
    }

    /// Sets the issuer, whose metadata name the token endpoint (RFC 8414).
    pub fn issuer(mut self, url: impl Into<String>) -> Self {
        self.layer.server.issuer = Some(url.into());
        self
    }

    /// Sets the client identifier.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.layer.client.client_id = Some(id.into());
        self
    }

    /// Sets the client authentication method.
    pub fn authentication(mut self, method: AuthenticationMethod) -> Self {
        self.layer.client.authentication = Some(method);
        self
    }

    /// Sets the reference to the private key that tokens are bound to (DPoP, RFC 9449).
    pub fn dpop(mut self, key: SecretReference) -> Self {
        self.layer.dpop = Some(key);
        self
    }

    /// Holds the client to a security profile. No profile and no variable relaxes it.
    pub fn security_profile(mut self, profile: SecurityProfile) -> Self {
        self.layer.security_profile = Some(profile);
        self
    }

    /// Sets the scopes, separated by spaces.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.layer.scope = Some(scope.into());
        self
    }

    /// Adds an audience.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.layer.audience.push(audience.into());
        self
    }

    /// Adds a resource, an absolute URI (RFC 8707).
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.layer.resource.push(resource.into());
        self
    }

    /// Adds a parameter to the token request.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.layer.parameters.push((name.into(), value.into()));
        self
    }

    /// Sets the timeout of a token request.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.layer.timeout = Some(timeout);
        self
    }

    /// Allows plain HTTP to this machine, for tests.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.layer.danger_allow_http_on_loopback = Some(true);
        self
    }

    /// Allows a server and credentials from different sources, such as a server from a variable and a secret from a
    /// profile. A variable that is left in a shell can then send a profile's secret to another server.
    pub fn danger_allow_mixed_settings(mut self) -> Self {
        self.danger_allow_mixed_settings = true;
        self
    }
}
