use std::{borrow::Cow, fmt, sync::Arc};

use super::{
    authorizer::{AllowedOrigin, Authorizer, Choice, Inner},
    forbidden::ForbiddenResponses,
    head::RequestHead,
    observe::Observe,
};
use crate::{
    Clock, Observer, Observers, SystemClock, TokenError, TokenRequest, TokenSource, origin::Origin,
    text::safe_text,
};

/// A builder for an [`Authorizer`]: the origins that may have tokens, and the treatment of other requests.
#[must_use]
pub struct AuthorizerBuilder {
    name: Box<str>,
    observers: Observers,
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    /// The origins, each with the method that allowed it.
    allowed: Vec<(&'static str, AllowedOrigin)>,
    /// The origins whose 403 may stand for a refused token.
    forbidden: Vec<Box<str>>,
    replace_authorization: bool,
    pass_other_origins: bool,
    http_on_loopback: bool,
    wrong: Option<InvalidAuthorizer>,
}

impl Authorizer {
    /// Creates a builder for an authorizer that takes tokens from `source`: a source itself, or an `Arc` or a `Box` of
    /// one. It should be a cache, since it is called for every request.
    pub fn builder(source: impl TokenSource + 'static) -> AuthorizerBuilder {
        AuthorizerBuilder::new(Arc::new(source))
    }
}

impl AuthorizerBuilder {
    fn new(source: Arc<dyn TokenSource>) -> Self {
        Self {
            name: "api".into(),
            observers: Observers::default(),
            source,
            clock: Arc::new(SystemClock),
            allowed: Vec::new(),
            forbidden: Vec::new(),
            replace_authorization: false,
            pass_other_origins: false,
            http_on_loopback: false,
            wrong: None,
        }
    }

    /// Sets the name in traces, metrics and events. Default: `api`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Adds an observer of each call, in addition to the traces.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.add(observer);
        self
    }

    /// Sets the clock, for tests. It must be the clock of the source.
    ///
    /// A token is checked again before it is sent if it had to wait for its proof (DPoP) or for the connection.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Allows an origin to get a token for the source's default request: `https://api.example`, with the port if it is
    /// not the scheme's default. Call it for each [`Origin`].
    ///
    /// A server that gets a token can use it: allow only the origins that its audience names (RFC 9700 section 2.3).
    pub fn allow_origin(self, origin: &str) -> Self {
        let request = Choice::Fixed(TokenRequest::default());
        self.allow("allow_origin", origin, request)
    }

    /// Allows an origin to get a token for `request`, so that one source can serve APIs that need different scopes or
    /// audiences. An origin has one request: naming it again with a different one is an error.
    pub fn allow_origin_with(self, origin: &str, request: TokenRequest) -> Self {
        self.allow("allow_origin_with", origin, Choice::Fixed(request))
    }

    /// Allows an origin to get a token for the request that `choose` reads from each call, such as for the tenant in a
    /// header or in the path.
    ///
    /// It cannot allow another origin. An error of `choose` is returned to the caller, and nothing is sent. It is called
    /// once for each call, before its token is looked up, so it should not allocate a new request each time: look it up in
    /// a map of known tenants. A tenant that comes from outside must be known, or outsiders choose which tokens are
    /// requested, and each new one takes a place in the cache.
    ///
    /// ```
    /// # fn example(source: impl hallpass_core::TokenSource + 'static) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::collections::HashMap;
    /// use hallpass_core::{TokenError, TokenRequest, authorize::Authorizer};
    ///
    /// let mut tenants = HashMap::new();
    /// for tenant in ["blue", "green"] {
    ///     tenants.insert(tenant, TokenRequest::new().with_parameter("tenant", tenant)?);
    /// }
    /// let authorizer = Authorizer::builder(source)
    ///     .allow_origin_by("https://api.example", move |call| {
    ///         let tenant = call.headers().get("x-tenant").and_then(|tenant| tenant.to_str().ok());
    ///         let request = tenant.and_then(|tenant| tenants.get(tenant)).cloned();
    ///         request.ok_or_else(|| TokenError::configuration("the request names no known tenant"))
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow_origin_by(
        self,
        origin: &str,
        choose: impl Fn(RequestHead<'_>) -> Result<TokenRequest, TokenError> + Send + Sync + 'static,
    ) -> Self {
        let request = Choice::ByRequest(Box::new(choose));
        self.allow("allow_origin_by", origin, request)
    }

    /// Treats a 403 of this origin, which must be allowed, as a refused token, unless the response says why it refused.
    /// Some API frameworks answer 403 for an expired or revoked token. Default: a 403 says nothing about the token.
    ///
    /// A 403 may also mean a missing permission, which no other token has. Therefore a token is dropped for it only once,
    /// its replacement never if that got a 403 too, and at most one token a minute for each token request.
    pub fn treat_forbidden_as_refused(mut self, origin: &str) -> Self {
        self.forbidden.push(origin.into());
        self
    }

    fn allow(mut self, setting: &'static str, origin: &str, request: Choice) -> Self {
        let origin = match origin.parse::<Origin>() {
            Ok(origin) => origin,
            Err(error) => {
                self.note(setting, error.to_string());
                return self;
            }
        };
        let mut allowed = self.allowed.iter();
        match allowed.find(|(_, known)| known.origin == origin) {
            Some((first, known)) if !known.request.is_same(&request) => {
                let message = format!(
                    "`{origin}` is allowed by `{first}` with another token request; allow it once, and select another token by the request itself"
                );
                self.note(setting, message);
            }
            Some(_) => {}
            None => {
                let allowed = AllowedOrigin {
                    origin,
                    request,
                    forbidden: None,
                };
                self.allowed.push((setting, allowed));
            }
        }
        self
    }

    /// Allows origins with plain HTTP on this machine (`127.0.0.0/8`, `::1`, `localhost`), for tests and development.
    ///
    /// Danger: other processes on this machine may listen. HTTP to any other host remains forbidden.
    ///
    /// Danger: the client may use a proxy, which then reads the token. reqwest sends such a request to the proxy of the
    /// environment (`HTTP_PROXY`), wherever that is, unless the client was built with `no_proxy` or the variable
    /// `NO_PROXY` excludes the host.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.http_on_loopback = true;
        self
    }

    /// Replaces an existing `Authorization` header. Default: the header stays, and the request is sent as it is.
    pub fn replace_authorization(mut self) -> Self {
        self.replace_authorization = true;
        self
    }

    /// Sends requests to other origins as they are, without a token. Default: they fail before anything is sent, so
    /// that no request goes out without an expected token.
    pub fn pass_other_origins(mut self) -> Self {
        self.pass_other_origins = true;
        self
    }

    /// Builds the authorizer; requests no token.
    ///
    /// # Errors
    ///
    /// An [`InvalidAuthorizer`] if no origin is allowed, one is invalid, one is plain HTTP without the opt-in, or an option
    /// names an origin that is not allowed.
    pub fn build(mut self) -> Result<Authorizer, InvalidAuthorizer> {
        self.mark_forbidden();
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.allowed.is_empty() {
            return Err(InvalidAuthorizer::new(
                "allow_origin",
                "no origin is allowed to receive tokens; name each one, such as `https://api.example`",
            ));
        }
        for (setting, AllowedOrigin { origin, .. }) in &self.allowed {
            if !origin.is_http() || self.http_on_loopback && origin.is_loopback() {
                continue;
            }
            let why = if origin.is_loopback() {
                "other users of this machine; use `https://`, or `danger_allow_http_on_loopback` for a test server"
            } else {
                "the network, and plain HTTP is allowed on loopback only; use `https://`"
            };
            let message = format!("`{origin}` would show tokens to {why}");
            return Err(InvalidAuthorizer::new(setting, message));
        }
        let observe = Observe::new(self.name, self.observers);
        let allowed = self.allowed.into_iter().map(|(_, allowed)| allowed);
        let allowed: Vec<_> = allowed.collect();
        for allowed in allowed.iter().filter(|known| known.origin.is_http()) {
            observe.plain_http(&allowed.origin);
        }
        Ok(Authorizer(Arc::new(Inner {
            observe,
            source: self.source,
            clock: self.clock,
            allowed,
            replace_authorization: self.replace_authorization,
            pass_other_origins: self.pass_other_origins,
        })))
    }

    fn mark_forbidden(&mut self) {
        for origin in std::mem::take(&mut self.forbidden) {
            let parsed = origin.parse::<Origin>().ok();
            let mut allowed = self.allowed.iter_mut();
            if let Some((_, known)) =
                allowed.find(|(_, known)| Some(&known.origin) == parsed.as_ref())
            {
                known.forbidden = Some(ForbiddenResponses::default());
                continue;
            }
            let origin = safe_text(&origin);
            let message =
                format!("`{origin}` is not an allowed origin; name one as it was allowed");
            self.note("treat_forbidden_as_refused", message);
        }
    }

    fn note(&mut self, setting: &'static str, message: String) {
        self.wrong
            .get_or_insert_with(|| InvalidAuthorizer::new(setting, message));
    }
}

impl fmt::Debug for AuthorizerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins = self
            .allowed
            .iter()
            .map(|(_, known)| known.origin.to_string());
        f.debug_struct("AuthorizerBuilder")
            .field("name", &self.name)
            .field("origins", &origins.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The error of [`AuthorizerBuilder::build`]: it names the setting, the origin, what is wrong with it, and the fix.
///
/// It is returned before any I/O and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {message}")]
pub struct InvalidAuthorizer {
    setting: &'static str,
    message: Cow<'static, str>,
}

impl InvalidAuthorizer {
    fn new(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }
}
