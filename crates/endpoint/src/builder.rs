use std::{fmt, sync::Arc, time::Duration};

use hallpass_core::{
    Clock, Hint, InvalidRequest, Prover, ScopeSet, SystemClock, TokenError, TokenRequest, TokenType,
};

use crate::{
    BuildError, ClientAuthentication, Endpoint, HttpTransport, Retry, address::AddressRules,
    authentication::check_client_id, client::Client, grant::Source, presets::Preset,
    response::ResponseRules,
};

/// What an adapter knows about its server's errors: a hint to show in place of the general one, or `None`.
pub type Hints = fn(&TokenError) -> Option<Hint>;

/// Sets up a source, of [`ClientCredentials`](crate::ClientCredentials) for one: what all grants have in common. What is wrong is told by
/// [`build`](Self::build), before any I/O.
#[must_use]
pub struct SourceBuilder<S: Source> {
    pub(crate) grant: S::Grant,
    endpoint: Endpoint,
    client_id: String,
    authentication: Box<dyn ClientAuthentication>,
    prover: Option<Arc<dyn Prover>>,
    address_rules: AddressRules,
    allow_utf8: bool,
    defaults: TokenRequest,
    /// The first thing that was wrong.
    wrong: Option<BuildError>,
    transport: Option<HttpTransport>,
    retry: Retry,
    pub(crate) rules: ResponseRules,
    require_scopes: bool,
    hints: Option<Hints>,
    preset: Option<&'static Preset>,
    clock: Arc<dyn Clock>,
}

impl<S: Source> SourceBuilder<S> {
    pub(crate) fn new(
        endpoint: Endpoint,
        client_id: String,
        authentication: Box<dyn ClientAuthentication>,
        grant: S::Grant,
    ) -> Self {
        Self {
            grant,
            endpoint,
            client_id,
            authentication,
            prover: None,
            address_rules: AddressRules::default(),
            allow_utf8: false,
            defaults: TokenRequest::new(),
            wrong: None,
            transport: None,
            retry: Retry::default(),
            rules: ResponseRules::default(),
            require_scopes: false,
            hints: None,
            preset: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Asks this endpoint in place of the one before: for adapters, which start from their server's.
    pub fn token_endpoint(mut self, endpoint: impl Into<Endpoint>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// Proves the client this way in place of the one before: for adapters, which start from their server's.
    pub fn authentication(mut self, authentication: impl ClientAuthentication + 'static) -> Self {
        self.authentication = Box::new(authentication);
        self
    }

    /// Binds tokens to a key (DPoP, RFC 9449): each request to the token endpoint proves it, a token that comes back
    /// without the bond is dropped, and each token brings the prover along for those who use it. Default: tokens are of
    /// type Bearer, and others are dropped.
    ///
    /// It goes on top of the [`authentication`](Self::authentication), which stays as it is. `hallpass-jwt` has a
    /// prover, `Dpop`.
    pub fn dpop(mut self, prover: impl Prover + 'static) -> Self {
        self.prover = Some(Arc::new(prover));
        self.rules.token_type = TokenType::DPoP;
        self
    }

    /// Asks for these scopes, with spaces between them, in calls that name none. Ask for the least that is needed.
    pub fn scope(mut self, scope: &str) -> Self {
        match scope.parse::<ScopeSet>() {
            Ok(scopes) => self.defaults = self.defaults.with_scopes(scopes),
            Err(error) => self.note("scope", &error),
        }
        self
    }

    /// Asks for a token for this resource, an absolute URI (RFC 8707), in calls that name none. May be repeated.
    pub fn resource(self, resource: &str) -> Self {
        self.with("resource", |request| request.with_resource(resource))
    }

    /// Asks for a token for this audience in calls that name none. May be repeated.
    pub fn audience(self, audience: &str) -> Self {
        self.with("audience", |request| request.with_audience(audience))
    }

    /// Sends a parameter of the server's own along with every request. Names that OAuth manages are refused.
    pub fn parameter(self, name: &str, value: &str) -> Self {
        self.with("parameter", |request| request.with_parameter(name, value))
    }

    /// Fails with [`RequestRefused`](hallpass_core::ErrorKind::RequestRefused) where the server grants fewer scopes
    /// than were asked for. Without it the granted set is only recorded.
    pub fn require_granted_scopes(mut self) -> Self {
        self.require_scopes = true;
        self
    }

    /// Uses this transport in place of one with the defaults.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// When to try again; see [`Retry`] for the default.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The lifetime of a token whose response has no `expires_in`. Default: 5 minutes.
    ///
    /// RFC 6749 section 5.1 leaves it to the documentation of the server: look it up there.
    pub fn default_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.default_lifetime = lifetime;
        self
    }

    /// The longest lifetime that is believed; a longer one is cut. Default: 24 hours.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.max_lifetime = lifetime;
        self
    }

    /// The longest token that is taken, in bytes. Default: 32 KiB, what common servers allow in a header.
    pub fn max_token_bytes(mut self, bytes: usize) -> Self {
        self.rules.max_token_bytes = bytes;
        self
    }

    /// Takes responses that RFC 6749 section 5.1 does not allow but that are clear all the same: with another content
    /// type than JSON (a web page is still refused), without a `token_type`, with a token outside RFC 6750's alphabet.
    pub fn lenient_responses(mut self) -> Self {
        self.rules.lenient = true;
        self
    }

    /// Allows `client_id` and `client_secret` outside printable ASCII, sent as UTF-8. RFC 6749 appendix A knows none
    /// such, so that a server may read them differently.
    pub fn allow_utf8_credentials(mut self) -> Self {
        self.allow_utf8 = true;
        self
    }

    /// Refuses a `token_endpoint` that names this machine, a private network or a link-local address.
    ///
    /// For programs that take the endpoint from someone else's hands. A name that only resolves to such an address is
    /// not found out.
    pub fn refuse_local_endpoint(mut self) -> Self {
        self.address_rules.refuse_local = true;
        self
    }

    /// Allows plain HTTP to a server on this machine (`127.0.0.0/8`, `::1`, `localhost`), for tests and development.
    ///
    /// The danger: whoever else is on this machine may listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.address_rules.allow_http_on_loopback = true;
        self
    }

    /// Shows an adapter's own hints in errors.
    pub fn hints(mut self, hints: Hints) -> Self {
        self.hints = Some(hints);
        self
    }

    /// Reads time from this clock: a test's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the source; connects nowhere.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] names the first setting that cannot be used.
    pub fn build(self) -> Result<S, BuildError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        check_client_id(&self.client_id, self.allow_utf8)?;
        if let Some(preset) = self.preset {
            preset.check(&self.defaults)?;
        }
        let endpoint = self.endpoint.locate(self.address_rules)?;
        let transport = HttpTransport::or_default(self.transport)?;
        Ok(S::of(Client {
            grant: self.grant,
            endpoint,
            client_id: self.client_id.into(),
            allow_utf8: self.allow_utf8,
            authentication: self.authentication,
            prover: self.prover,
            defaults: self.defaults,
            transport,
            retry: self.retry,
            rules: self.rules,
            require_scopes: self.require_scopes,
            hints: self.hints,
            clock: self.clock,
        }))
    }

    pub(crate) fn preset(mut self, preset: &'static Preset) -> Self {
        self.preset = Some(preset);
        self
    }

    fn with(
        mut self,
        setting: &'static str,
        change: impl FnOnce(TokenRequest) -> Result<TokenRequest, InvalidRequest>,
    ) -> Self {
        match change(self.defaults.clone()) {
            Ok(changed) => self.defaults = changed,
            Err(error) => self.note(setting, &error),
        }
        self
    }

    fn note(&mut self, setting: &'static str, error: &dyn fmt::Display) {
        self.wrong
            .get_or_insert_with(|| BuildError::new(setting, error.to_string()));
    }
}

/// Neither the endpoint, which may hold anything before it is checked, nor the credentials are shown.
impl<S: Source> fmt::Debug for SourceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceBuilder")
            .field("client_id", &self.client_id)
            .field("authentication", &self.authentication)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}
