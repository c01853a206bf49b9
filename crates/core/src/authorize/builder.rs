use std::{borrow::Cow, fmt, sync::Arc};

use super::{Allowed, Authorizer, Inner, Origin, observe::Observe};
use crate::{Clock, Observer, Observers, SystemClock, TokenRequest, TokenSource};

/// Sets up an [`Authorizer`]: which origins may have tokens, and what happens to other requests.
#[must_use]
pub struct AuthorizerBuilder {
    name: Box<str>,
    observers: Observers,
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    allowed: Vec<Allowed>,
    replace_authorization: bool,
    pass_other_origins: bool,
    http_on_loopback: bool,
    wrong: Option<InvalidAuthorizer>,
}

impl AuthorizerBuilder {
    pub(super) fn new(source: Arc<dyn TokenSource>) -> Self {
        Self {
            name: "api".into(),
            observers: Observers::default(),
            source,
            clock: Arc::new(SystemClock),
            allowed: Vec::new(),
            replace_authorization: false,
            pass_other_origins: false,
            http_on_loopback: false,
            wrong: None,
        }
    }

    /// The name in traces, metrics and events. Default: `api`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Reports each call to `observer`, in addition to the traces. May be called for several observers.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.add(observer);
        self
    }

    /// Reads time from this clock, which must be the one of the source: a test's.
    ///
    /// A token is checked again before it is sent, if it had to wait for its proof (DPoP) or for the connection.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Lets requests to this origin have a token, the one that the source was built for: `https://api.example`, with
    /// the port where it is not the scheme's own. Call it for each [`Origin`].
    ///
    /// A server that gets a token can use it: allow only the origins that its audience names (RFC 9700 section 2.3).
    pub fn allow_origin(self, origin: &str) -> Self {
        self.allow_origin_with(origin, TokenRequest::default())
    }

    /// Lets requests to this origin have a token for `request`: one source serves APIs that each need other scopes or
    /// another audience. One origin has one request: it may be named twice with the same one, and with no other.
    pub fn allow_origin_with(mut self, origin: &str, request: TokenRequest) -> Self {
        match origin.parse::<Origin>() {
            Err(error) => self.note(error.to_string()),
            Ok(origin) => match self.allowed.iter().find(|known| known.origin == origin) {
                Some(known) if known.request != request => self.note(format!(
                    "`{origin}` is allowed with two different token requests; name it once, and ask for another token by the request itself"
                )),
                Some(_) => {}
                None => self.allowed.push(Allowed { origin, request }),
            },
        }
        self
    }

    /// Allows origins with plain HTTP on this machine (`127.0.0.0/8`, `::1`, `localhost`), for tests and development.
    ///
    /// The danger: other processes on this machine may listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.http_on_loopback = true;
        self
    }

    /// Replaces an `Authorization` header that is there already. Default: that header stays,
    /// and the request goes out as it is.
    pub fn replace_authorization(mut self) -> Self {
        self.replace_authorization = true;
        self
    }

    /// Sends requests to other origins as they are, without a token. Default: they fail before anything is sent, so
    /// that no request goes out without the token that someone expected on it.
    pub fn pass_other_origins(mut self) -> Self {
        self.pass_other_origins = true;
        self
    }

    /// Builds the authorizer; asks for no token.
    ///
    /// # Errors
    ///
    /// An [`InvalidAuthorizer`] where no origin is allowed, one cannot be used, or one is plain HTTP and that was not chosen.
    pub fn build(self) -> Result<Authorizer, InvalidAuthorizer> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.allowed.is_empty() {
            return Err(InvalidAuthorizer::new(
                "no origin is allowed to have tokens; name each one, such as `https://api.example`",
            ));
        }
        for Allowed { origin, .. } in &self.allowed {
            if origin.is_http() && !self.http_on_loopback {
                return Err(InvalidAuthorizer::new(format!(
                    "`{origin}` would show tokens to the network; use `https://`, or `danger_allow_http_on_loopback` for a test server on this machine"
                )));
            }
            if origin.is_http() && !origin.is_loopback() {
                return Err(InvalidAuthorizer::new(format!(
                    "`{origin}` would show tokens to the network, and plain HTTP is allowed on loopback only; use `https://`"
                )));
            }
        }
        let observe = Observe::new(self.name, self.observers);
        for allowed in self.allowed.iter().filter(|known| known.origin.is_http()) {
            observe.plain_http(&allowed.origin);
        }
        Ok(Authorizer(Arc::new(Inner {
            observe,
            source: self.source,
            clock: self.clock,
            allowed: self.allowed,
            replace_authorization: self.replace_authorization,
            pass_other_origins: self.pass_other_origins,
        })))
    }

    fn note(&mut self, message: impl Into<Cow<'static, str>>) {
        self.wrong
            .get_or_insert_with(|| InvalidAuthorizer::new(message));
    }
}

impl fmt::Debug for AuthorizerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins = self.allowed.iter().map(|known| known.origin.to_string());
        f.debug_struct("AuthorizerBuilder")
            .field("name", &self.name)
            .field("origins", &origins.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The error of [`AuthorizerBuilder::build`]: its text says which origin is wrong, why, and how to fix it.
///
/// It occurs before any I/O and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allow_origin: {message}")]
pub struct InvalidAuthorizer {
    message: Cow<'static, str>,
}

impl InvalidAuthorizer {
    fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
        }
    }
}
