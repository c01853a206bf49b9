use std::{fmt, sync::Arc, time::Duration};

use hallpass_core::{
    Clock, InvalidRequest, Prover, ScopeSet, SecretSource, TokenRequest, TokenType,
};

use crate::{
    BuildError, ClientAuthentication, Endpoint, Hints, HttpTransport, Requirement, Retry,
    SecurityProfile,
    exchange::{
        body::{BodyFormat, ExtraHeader},
        dpop::CheckedProver,
        grant::Grant as _,
        settings::ClientSettings,
        source::GrantSource,
        token::GrantClient,
    },
    response::{
        layout::{ExpiryFormat, Layout},
        pointer::Pointer,
        token::{ResponseRules, check_type_name},
    },
};

/// A builder of a token source such as [`ClientCredentials`](crate::ClientCredentials), with the settings that all
/// grants share. [`build`](Self::build) reports invalid settings, before any I/O.
#[must_use]
pub struct SourceBuilder<S: GrantSource> {
    pub(crate) grant: S::Grant,
    client: ClientSettings,
    prover: Option<Arc<dyn Prover>>,
    defaults: TokenRequest,
    /// The first invalid setting.
    wrong: Option<BuildError>,
    pub(crate) rules: ResponseRules,
    /// True if the program set it, and not a preset.
    has_default_lifetime: bool,
    require_scopes: bool,
    require_authorization_details: bool,
    check_defaults: Option<RequestCheck>,
}

/// A check of the default request, such as for a server that refuses requests without an audience.
type RequestCheck = Box<dyn Fn(&TokenRequest) -> Result<(), BuildError> + Send + Sync>;

impl<S: GrantSource> SourceBuilder<S> {
    pub(crate) fn new(
        endpoint: Endpoint,
        client_id: String,
        authentication: Box<dyn ClientAuthentication>,
        grant: S::Grant,
    ) -> Self {
        Self {
            grant,
            client: ClientSettings::new(endpoint, client_id, authentication),
            prover: None,
            defaults: TokenRequest::new(),
            wrong: None,
            rules: ResponseRules::default(),
            has_default_lifetime: false,
            require_scopes: false,
            require_authorization_details: false,
            check_defaults: None,
        }
    }

    /// Replaces the endpoint, with all its URLs and its discovery: for adapters, whose builders begin with the endpoint of
    /// their server.
    pub fn token_endpoint(mut self, endpoint: impl Into<Endpoint>) -> Self {
        self.client.endpoint = endpoint.into();
        self
    }

    /// Replaces the client authentication: for adapters, whose builders begin with a method that their server takes.
    pub fn authentication(mut self, authentication: impl ClientAuthentication + 'static) -> Self {
        self.client.authentication = Box::new(authentication);
        self
    }

    /// Binds tokens to a key (DPoP, RFC 9449): each request to the token endpoint carries a proof, an unbound token in
    /// a response is refused, and each token carries the prover for its users. Default: bearer tokens, and tokens of
    /// other types are refused.
    ///
    /// It is used in addition to the [`authentication`](Self::authentication). `hallpass-jwt` has a prover, `Dpop`.
    pub fn dpop(mut self, prover: impl Prover + 'static) -> Self {
        self.prover = Some(Arc::new(prover));
        self.rules.token_type = TokenType::Dpop;
        self
    }

    /// Sets the scopes, separated by spaces, for calls that name none. Request as few as possible.
    pub fn scope(mut self, scope: &str) -> Self {
        match scope.parse::<ScopeSet>() {
            Ok(scopes) => self.defaults = self.defaults.with_scopes(scopes),
            Err(error) => self.note("scope", &error),
        }
        self
    }

    /// Adds a resource, an absolute URI (RFC 8707), for calls that name none. May be repeated.
    pub fn resource(self, resource: &str) -> Self {
        self.with("resource", |request| request.with_resource(resource))
    }

    /// Adds an audience for calls that name none. May be repeated.
    pub fn audience(self, audience: &str) -> Self {
        self.with("audience", |request| request.with_audience(audience))
    }

    /// Sets the authorization details (RFC 9396), a JSON array of objects with a `type`, for calls that name none.
    pub fn authorization_details(mut self, json: &str) -> Self {
        match json.parse() {
            Ok(details) => self.defaults = self.defaults.with_authorization_details(details),
            Err(error) => self.note("authorization_details", &error),
        }
        self
    }

    /// Adds a server-specific parameter to every request. Names that OAuth reserves are refused.
    pub fn parameter(self, name: &str, value: &str) -> Self {
        self.with("parameter", |request| request.with_parameter(name, value))
    }

    /// Fails with [`RequestRefused`](hallpass_core::ErrorKind::RequestRefused) if the server grants fewer scopes than
    /// requested. By default the granted set is only recorded.
    pub fn require_granted_scopes(mut self) -> Self {
        self.require_scopes = true;
        self
    }

    /// Fails with [`RequestRefused`](hallpass_core::ErrorKind::RequestRefused) if the server grants no authorization details
    /// of a type that was requested, or its response names none. By default they are only recorded; see
    /// [`AccessToken::authorization_details`](hallpass_core::AccessToken::authorization_details).
    pub fn require_granted_authorization_details(mut self) -> Self {
        self.require_authorization_details = true;
        self
    }

    /// Sets the transport. Default: a transport with default settings.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.client.transport = Some(transport);
        self
    }

    /// Sets the retry policy; see [`Retry`] for the default.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.client.retry = retry;
        self
    }

    /// Sets the lifetime of a token whose response has no `expires_in`. Default: 5 minutes. It excludes
    /// [`expiry_member`](Self::expiry_member).
    ///
    /// RFC 6749 section 5.1 leaves the value to the server's documentation.
    pub fn default_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.default_lifetime = lifetime;
        self.has_default_lifetime = true;
        self
    }

    /// Sets the longest accepted lifetime; a longer one is capped. Default: 24 hours. A response with a longer one than
    /// 24 hours is traced as a warning.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.max_lifetime = lifetime;
        self
    }

    /// Sets the longest accepted token, in bytes. Default: 32 KiB, which common servers allow in a header.
    pub fn max_token_bytes(mut self, bytes: usize) -> Self {
        self.rules.max_token_bytes = bytes;
        self
    }

    /// Accepts unambiguous responses that RFC 6749 section 5.1 does not allow: a content type other than JSON (a web
    /// page is still refused), a form in place of JSON, no `token_type`, or a token outside the alphabet of RFC 6750.
    pub fn lenient_responses(mut self) -> Self {
        self.rules.lenient = true;
        self
    }

    /// Reads the token from another member than `access_token`: a JSON pointer (RFC 6901) to a string, such as
    /// `/data/token`. The response's other members are those of the same object.
    pub fn token_member(mut self, pointer: &str) -> Self {
        match Pointer::parse(pointer) {
            Ok(pointer) => self.rules.layout.get_or_insert_default().token = Some(pointer),
            Err(problem) => self.note("token_member", &problem),
        }
        self
    }

    /// Accepts this `token_type` as `Bearer`, for a server with a name of its own, such as `Application Access Token`.
    /// Names are compared without regard to case.
    pub fn token_type_name(mut self, name: &str) -> Self {
        match check_type_name(name) {
            Ok(()) => self.rules.layout.get_or_insert_default().token_type = Some(name.into()),
            Err(problem) => self.note("token_type_name", &problem),
        }
        self
    }

    /// Reads the token's expiry from another member than `expires_in`, or in another unit: a JSON pointer (RFC 6901) from
    /// the top of the response, such as `/expires_on`. A response without it is refused.
    ///
    /// A time is compared with the `Date` of the response, so that the difference of the clocks does not count.
    pub fn expiry_member(mut self, pointer: &str, format: ExpiryFormat) -> Self {
        match Pointer::parse(pointer) {
            Ok(pointer) => {
                self.rules.layout.get_or_insert_default().expiry = Some((pointer, format));
            }
            Err(problem) => self.note("expiry_member", &problem),
        }
        self
    }

    /// Sends requests as JSON objects in place of forms (RFC 6749 section 4.4.2 requires forms). A parameter that is
    /// repeated becomes an array.
    pub fn json_requests(mut self) -> Self {
        self.client.body_format = BodyFormat::Json;
        self
    }

    /// Adds a header to each request to the token endpoint, for a gateway's key for example.
    ///
    /// The value is a secret: it is read before each request, and hidden in debug output and in the server's messages. A
    /// header that the client sets itself is refused by [`build`](Self::build).
    pub fn request_header(mut self, name: &str, value: impl SecretSource + 'static) -> Self {
        match ExtraHeader::new(name, Arc::new(value)) {
            Ok(header) if self.client.has_header(header.name()) => {
                self.note("request_header", &"a header of this name is set already");
            }
            Ok(header) => self.client.extra_headers.push(header),
            Err(problem) => self.note("request_header", &problem),
        }
        self
    }

    /// Allows `client_id` and `client_secret` outside printable ASCII, sent as UTF-8. RFC 6749 appendix A does not
    /// define these, and servers may decode them differently.
    pub fn allow_utf8_credentials(mut self) -> Self {
        self.client.allow_utf8 = true;
        self
    }

    /// Refuses a `token_endpoint` that names this machine, a private network or a link-local address.
    ///
    /// For programs that take the endpoint from untrusted input. A name that resolves to such an address is not
    /// detected.
    pub fn refuse_local_endpoint(mut self) -> Self {
        self.client.address_rules.refuse_local = Some("refuse_local_endpoint");
        self
    }

    /// Allows plain HTTP to a server on this machine (`127.0.0.0/8`, `::1`, `localhost`), for tests and development.
    ///
    /// Danger: other processes on this machine may listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.client.address_rules.allow_http_on_loopback = true;
        self
    }

    /// Holds the client to a security profile: [`build`](Self::build) refuses each setting that is weaker, and each request
    /// is checked before it is sent. No setting relaxes it.
    pub fn security_profile(mut self, profile: SecurityProfile) -> Self {
        self.client.profile = Some(profile);
        self
    }

    /// Sets an adapter's own hints for errors.
    pub fn hints(mut self, hints: Hints) -> Self {
        self.client.hints = Some(hints);
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.client.clock = Arc::new(clock);
        self
    }

    /// Builds the source without connecting to anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the first invalid setting.
    pub fn build(mut self) -> Result<S, BuildError> {
        self.grant.set_retry(self.client.retry);
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        self.client.check_client()?;
        if let Some(profile) = self.client.profile {
            self.check_profile(profile)?;
        }
        self.check_layout()?;
        if self.grant.needs_discovery() {
            let need = "it needs the server's metadata";
            self.client.endpoint.check_discovered("assertion", need)?;
        }
        if let Some(check) = self.check_defaults {
            check(&self.defaults)?;
        }
        Ok(S::from_client(GrantClient {
            prover: match self.client.profile {
                Some(profile) => CheckedProver::wrap(self.prover, profile),
                None => self.prover,
            },
            server: self.client.build()?,
            grant: self.grant,
            defaults: self.defaults,
            rules: self.rules,
            require_scopes: self.require_scopes,
            require_authorization_details: self.require_authorization_details,
        }))
    }

    /// Checks that the settings of responses have an effect.
    fn check_layout(&self) -> Result<(), BuildError> {
        let Some(layout) = self.rules.layout.as_deref() else {
            return Ok(());
        };
        if self.prover.is_some() && layout.token_type.is_some() {
            return Err(BuildError::new(
                "token_type_name",
                "tokens are bound to a key with `dpop`, so that none of them is a bearer token; remove one of the two",
            ));
        }
        if self.has_default_lifetime && layout.expiry.is_some() {
            return Err(BuildError::new(
                "default_lifetime",
                "it has no effect with `expiry_member`, without which a response is refused; remove one of the two",
            ));
        }
        Ok(())
    }

    /// Checks the settings that only token requests have.
    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        // Each setting is named, so that a new one needs a decision here.
        let ResponseRules {
            default_lifetime: _,
            max_lifetime: _,
            max_token_bytes: _,
            token_type: _,
            lenient,
            is_grant: _,
            keep_refresh_token: _,
            layout,
        } = &self.rules;
        let none = Layout::default();
        let Layout {
            token,
            expiry,
            token_type,
        } = layout.as_deref().unwrap_or(&none);
        profile.exclude(&[
            (
                *lenient,
                "lenient_responses",
                "responses that deviate from RFC 6749 are accepted",
                &Requirement::OAUTH,
            ),
            (
                token.is_some(),
                "token_member",
                "the token is read from another member",
                &Requirement::OAUTH,
            ),
            (
                expiry.is_some(),
                "expiry_member",
                "the expiry is read from another member",
                &Requirement::OAUTH,
            ),
            (
                token_type.is_some(),
                "token_type_name",
                "another name than `Bearer` is accepted",
                &Requirement::OAUTH,
            ),
        ])?;
        self.grant.check_profile(profile)?;
        if self.prover.is_some() || self.client.authentication.binds_tokens() {
            return Ok(());
        }
        let fault = "it is not set, and the authentication binds no tokens";
        let error = profile.excludes("dpop", fault, &Requirement::CONSTRAINED);
        Err(error.with_hint("set `dpop`, or authenticate with `MutualTls` and bound tokens"))
    }

    /// Adds a check of the default request, made by [`build`](Self::build).
    pub(crate) fn check_defaults(
        mut self,
        check: impl Fn(&TokenRequest) -> Result<(), BuildError> + Send + Sync + 'static,
    ) -> Self {
        self.check_defaults = Some(Box::new(check));
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

    pub(crate) fn note(&mut self, setting: &'static str, error: &dyn fmt::Display) {
        self.wrong
            .get_or_insert_with(|| BuildError::new(setting, error.to_string()));
    }
}

/// Shows neither the endpoint, which may contain anything before it is checked, nor the credentials.
impl<S: GrantSource> fmt::Debug for SourceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceBuilder")
            .field("client_id", &self.client.client_id)
            .field("authentication", &self.client.authentication)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}
