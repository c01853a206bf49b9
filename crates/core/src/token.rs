use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::{Binding, Moment, Prover, Quota, ScopeSet, Timestamp, TokenError};

#[cfg(feature = "authorization-details")]
mod granted;

/// The way in which a token is put on a request (RFC 6749 section 7.1).
///
/// A token of a type that is not listed here must not be used, so there is no variant for "other".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenType {
    /// RFC 6750: anyone who holds it can use it.
    Bearer,
    /// RFC 9449: each request with it also carries a DPoP proof, by the token's [`prover`](AccessToken::prover).
    Dpop,
}

impl TokenType {
    /// Returns the scheme of the `Authorization` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TokenType {
    type Err = InvalidToken;

    /// Parses a `token_type` without regard to case (RFC 6749 section 5.1).
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        [Self::Bearer, Self::Dpop]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
            .ok_or(InvalidToken(Reason::Type))
    }
}

/// An access token with all that is needed to use it: cheap to clone, never shown, wiped with the last clone.
///
/// It holds the `Authorization` header preformatted and marked sensitive, so that no request has to format it. The
/// token itself is opaque: nothing here reads it (RFC 6749 section 1.4).
///
/// ```
/// use std::time::Duration;
/// use hallpass_core::{AccessToken, Clock, SystemClock};
///
/// let requested_at = SystemClock.moment();
/// let token = AccessToken::bearer("mF_9.B5f-4.1JqM", requested_at, Duration::from_secs(3_600))?
///     .with_scopes("orders.read".parse()?);
/// assert_eq!(token.header_value(), "Bearer mF_9.B5f-4.1JqM");
/// assert!(!token.is_expired(SystemClock.now()));
/// assert!(!format!("{token:?}").contains("mF_9"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AccessToken(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    /// `Bearer ` and the token in one buffer, which is wiped with the last header value that shares it.
    header: HeaderValue,
    token_type: TokenType,
    requested_at: Moment,
    lifetime: Duration,
    expires: Timestamp,
    refresh_in: Option<Duration>,
    scopes: ScopeSet,
    extra: Vec<(Box<str>, Zeroizing<String>)>,
    binding: Option<Binding>,
    prover: Option<Arc<dyn Prover>>,
    quotas: Box<[Quota]>,
}

impl AccessToken {
    /// Creates a bearer token; see [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn bearer(
        token: &str,
        requested_at: Moment,
        lifetime: Duration,
    ) -> Result<Self, InvalidToken> {
        Self::new(TokenType::Bearer, token, requested_at, lifetime)
    }

    /// Creates a token that lives for `lifetime` from `requested_at`, the moment **before** the request: a slow
    /// response must not make it live longer here than at the server.
    ///
    /// # Errors
    ///
    /// The token must be visible ASCII and not empty (RFC 6749 appendix A.12, except the space, which no header scheme
    /// allows): anything else could break out of the header.
    pub fn new(
        token_type: TokenType,
        token: &str,
        requested_at: Moment,
        lifetime: Duration,
    ) -> Result<Self, InvalidToken> {
        if token.is_empty() {
            return Err(InvalidToken(Reason::Empty));
        }
        // Without an early exit, so that it is vectorized: tokens are long, and nearly always valid.
        if !token
            .bytes()
            .fold(true, |all, byte| all & byte.is_ascii_graphic())
        {
            let at = token.bytes().position(|byte| !byte.is_ascii_graphic());
            return Err(InvalidToken(Reason::Byte(at.unwrap_or_default())));
        }
        let scheme = token_type.as_str();
        let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + 1 + token.len()));
        text.extend_from_slice(scheme.as_bytes());
        text.push(b' ');
        text.extend_from_slice(token.as_bytes());
        let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(text))
            .map_err(|_| InvalidToken(Reason::Byte(0)))?;
        header.set_sensitive(true);
        Ok(Self(Arc::new(Inner {
            header,
            token_type,
            requested_at,
            lifetime,
            expires: requested_at.timestamp.saturating_add(lifetime),
            refresh_in: None,
            scopes: ScopeSet::EMPTY,
            extra: Vec::new(),
            binding: None,
            prover: None,
            quotas: Box::default(),
        })))
    }

    /// Sets the granted scopes: the server's, or the requested ones if the server named none (RFC 6749 section 5.1).
    #[must_use]
    pub fn with_scopes(mut self, scopes: ScopeSet) -> Self {
        Arc::make_mut(&mut self.0).scopes = scopes;
        self
    }

    /// Sets the quotas that the server reported with the token.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Vec<Quota>) -> Self {
        Arc::make_mut(&mut self.0).quotas = quotas.into();
        self
    }

    /// Sets the server's advice on when to refresh, counted from the request like the lifetime.
    #[must_use]
    pub fn with_refresh_in(mut self, refresh_in: Duration) -> Self {
        Arc::make_mut(&mut self.0).refresh_in = Some(refresh_in);
        self
    }

    /// Sets further members of the response, each as the server's JSON text.
    #[must_use]
    pub fn with_extra(mut self, extra: impl IntoIterator<Item = (Box<str>, String)>) -> Self {
        let extra = extra
            .into_iter()
            .map(|(name, json)| (name, Zeroizing::new(json)));
        Arc::make_mut(&mut self.0).extra = extra.collect();
        self
    }

    /// Sets its binding, so that it is used no longer than that.
    #[must_use]
    pub fn with_binding(mut self, binding: Binding) -> Self {
        Arc::make_mut(&mut self.0).binding = Some(binding);
        self
    }

    /// Sets the prover for the key that a token of type [`Dpop`](TokenType::Dpop) is bound to, so that caches and
    /// integrations need not know the key.
    #[must_use]
    pub fn with_prover(mut self, prover: Arc<dyn Prover>) -> Self {
        Arc::make_mut(&mut self.0).prover = Some(prover);
        self
    }

    /// Returns the `Authorization` header's value, marked sensitive. A clone of it costs one reference count.
    pub fn header_value(&self) -> &HeaderValue {
        &self.0.header
    }

    /// Returns the token itself. Prefer [`header_value`](Self::header_value), which cannot be printed by mistake.
    pub fn expose(&self) -> &str {
        let scheme = self.0.token_type.as_str().len() + 1;
        // Built from visible ASCII, so it is a str and starts with the scheme.
        self.0
            .header
            .to_str()
            .map_or("", |header| &header[scheme..])
    }

    /// Returns the token's type.
    pub fn token_type(&self) -> TokenType {
        self.0.token_type
    }

    /// Returns the granted scopes. They may differ from the requested ones: see
    /// [`require_scopes`](Self::require_scopes).
    pub fn scopes(&self) -> &ScopeSet {
        &self.0.scopes
    }

    /// Fails unless all of `wanted` were granted. A scope that the token does not name was not granted.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`RequestRefused`](crate::ErrorKind::RequestRefused) that names the missing scopes.
    pub fn require_scopes(&self, wanted: &ScopeSet) -> Result<(), TokenError> {
        let missing = self.0.scopes.missing(wanted);
        if missing.is_empty() {
            return Ok(());
        }
        // In the caller's words alone: what a server wrote may repeat a secret, or be long.
        let granted = wanted.iter().filter(|scope| self.0.scopes.contains(scope));
        let granted = granted.collect::<Vec<_>>().join(" ");
        let granted = if granted.is_empty() {
            "none of the requested scopes".to_owned()
        } else {
            format!("the scopes `{granted}`")
        };
        Err(TokenError::request_refused(format!(
            "the server granted {granted}, without the required `{missing}`"
        ))
        .with_hint("have the missing scopes assigned to this client, or request fewer"))
    }

    /// Fails unless it is a bearer token: for protocols that have no place for a proof.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](crate::ErrorKind::Configuration) for a token that is bound to a key
    /// (RFC 9449).
    pub fn require_bearer(&self) -> Result<(), TokenError> {
        if self.0.token_type == TokenType::Bearer {
            return Ok(());
        }
        Err(TokenError::configuration(
            "only a bearer token can be sent here, and this token is bound to a key (DPoP)",
        )
        .with_hint("request a bearer token"))
    }

    /// Returns the time of expiry on the monotonic clock of its source. Expiry checks use this one.
    pub fn deadline(&self) -> Timestamp {
        self.0.expires
    }

    /// Returns the time of expiry on the wall clock, for people, logs and other processes; `None` if the platform
    /// cannot represent it.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.requested_at.wall.checked_add(self.0.lifetime)
    }

    /// Returns true if it has expired at `now`. At its last instant it has.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.0.expires
    }

    /// Returns the total lifetime, from the moment before the request.
    pub fn lifetime(&self) -> Duration {
        self.0.lifetime
    }

    /// Returns the moment before the request.
    pub fn requested_at(&self) -> Moment {
        self.0.requested_at
    }

    /// Returns when the server advised to refresh it, counted from [`requested_at`](Self::requested_at).
    pub fn refresh_in(&self) -> Option<Duration> {
        self.0.refresh_in
    }

    /// Returns a further member of the token response as the server's JSON text: the first, if there are several of one
    /// name.
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.0
            .extra
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, json)| json.as_str())
    }

    /// Returns all further members of the token response: the name, and the server's JSON text.
    pub fn extra_members(&self) -> impl Iterator<Item = (&str, &str)> {
        let extra = self.0.extra.iter();
        extra.map(|(name, json)| (&**name, json.as_str()))
    }

    /// Returns the quotas that the server reported with the token. A token from a shared store has none.
    pub fn quotas(&self) -> &[Quota] {
        &self.0.quotas
    }

    /// Returns its binding; `None` for a token that anyone who holds it can use.
    pub fn binding(&self) -> Option<&Binding> {
        self.0.binding.as_ref()
    }

    /// Returns the prover for requests with this token. `None` for a bearer token, and for one of type
    /// [`Dpop`](TokenType::Dpop) that came without its key, which cannot be used here.
    pub fn prover(&self) -> Option<&Arc<dyn Prover>> {
        self.0.prover.as_ref()
    }

    /// Returns true if it is exactly the same token. [`TokenSource::invalidate`](crate::TokenSource::invalidate)
    /// compares with this.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.header == other.0.header
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: Vec<&str> = self.0.extra.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("AccessToken")
            .field("token_type", &self.0.token_type)
            .field("expires_at", &self.expires_at())
            .field("lifetime", &self.0.lifetime)
            .field("scopes", &self.0.scopes)
            .field("extra", &extra)
            .finish_non_exhaustive()
    }
}

/// The error for a text that cannot be used as a token. The message names the reason, never the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidToken(Reason);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("the access token is empty")]
    Empty,
    #[error("the access token contains a byte at position {0} that is not visible ASCII")]
    Byte(usize),
    #[error(
        "the token type is neither `Bearer` nor `DPoP`, and a token of an unknown type must not be used (RFC 6749 section 7.1)"
    )]
    Type,
}

impl From<InvalidToken> for TokenError {
    fn from(invalid: InvalidToken) -> Self {
        Self::unusable_response(invalid.to_string())
    }
}

#[cfg(test)]
mod tests;
