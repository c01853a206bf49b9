use std::{error::Error, fmt};

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};

use crate::{AccessToken, ScopeSet, TextFilter, TokenType, challenge::Challenge, text::safe_text};

/// A shorter token may appear in a text by chance.
const SHORTEST_ECHO: usize = 8;

/// The reason why an API refused a request's token, from its `WWW-Authenticate` header (RFC 6750 section 3, RFC 9449
/// section 7.1).
///
/// Integrations put it into the extensions of the response that they return. Texts are escaped, cut at 256 characters,
/// and omitted if they repeat the token.
///
/// ```
/// use hallpass_core::authorize::ApiRefusal;
///
/// fn explain(response: &http::Response<()>) -> Option<String> {
///     let refusal = response.extensions().get::<ApiRefusal>()?;
///     let scope = refusal.is_insufficient_scope().then(|| refusal.scope())?;
///     Some(format!("have the scope `{}` assigned", scope?))
/// }
/// # assert!(explain(&http::Response::new(())).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRefusal {
    status: StatusCode,
    error: Option<Box<str>>,
    description: Option<Box<str>>,
    scope: Option<ScopeSet>,
}

/// The meaning of a response for the token.
#[derive(Debug)]
pub(crate) enum Reading {
    /// The response says nothing about the token.
    Nothing,
    /// The token is no longer usable.
    TokenRefused(ApiRefusal),
    /// The token is no longer usable, and was replaced before.
    TokenReplaced(ApiRefusal),
    /// Another token of the same kind would be refused too.
    CallRefused(ApiRefusal),
}

impl Reading {
    /// Returns true if a 403 with this meaning gives no reason, or that of a refused token.
    pub(crate) fn may_mean_refused_token(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::CallRefused(refusal) => matches!(refusal.error(), None | Some("invalid_token")),
            Self::TokenRefused(_) | Self::TokenReplaced(_) => false,
        }
    }

    pub(crate) fn into_refusal(self, status: StatusCode) -> ApiRefusal {
        match self {
            Self::Nothing => ApiRefusal::bare(status),
            Self::TokenRefused(refusal)
            | Self::TokenReplaced(refusal)
            | Self::CallRefused(refusal) => refusal,
        }
    }
}

impl ApiRefusal {
    /// Returns the HTTP status; 200 for gRPC, which has statuses of its own.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the `error` code, if any: `invalid_token`, `insufficient_scope`, `invalid_request`, `invalid_dpop_proof`
    /// or another.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Returns the `error_description`, for people.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Returns the scopes that the API requires, if it names them.
    pub fn scope(&self) -> Option<&ScopeSet> {
        self.scope.as_ref()
    }

    /// Returns true if the token is valid but lacks a scope. A new token would not help: have the scopes of
    /// [`scope`](Self::scope) assigned, and request them.
    pub fn is_insufficient_scope(&self) -> bool {
        self.error() == Some("insufficient_scope")
    }

    /// Returns true if the API demands a proof with the nonce of this response.
    pub(crate) fn demands_nonce(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED && self.error() == Some("use_dpop_nonce")
    }

    /// Returns true if the headers of a 401 refuse its bearer token itself, so that another one may be accepted (RFC 6750
    /// section 3.1): for adapters to SDKs that send their own requests. An [`Authorizer`](crate::authorize::Authorizer)
    /// decides the same.
    ///
    /// ```
    /// use hallpass_core::authorize::ApiRefusal;
    /// use http::HeaderMap;
    ///
    /// let mut headers = HeaderMap::new();
    /// assert!(ApiRefusal::refuses_bearer_token(&headers));
    /// headers.insert("www-authenticate", r#"Bearer error="insufficient_scope""#.parse()?);
    /// assert!(!ApiRefusal::refuses_bearer_token(&headers));
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    pub fn refuses_bearer_token(headers: &HeaderMap) -> bool {
        let challenges = Challenge::all(headers);
        let decisive = decisive(&challenges, TokenType::Bearer.as_str());
        decisive.map_or(challenges.is_empty(), is_about_token)
    }

    fn bare(status: StatusCode) -> Self {
        Self {
            status,
            error: None,
            description: None,
            scope: None,
        }
    }

    fn new(status: StatusCode, challenge: &Challenge, token: &AccessToken) -> Self {
        let mut filter = TextFilter::new();
        if token.expose().len() >= SHORTEST_ECHO {
            filter.add_secret(token.expose());
        }
        let said = |name| {
            let text = challenge.parameter(name)?;
            (!filter.finds_secret(text)).then_some(text)
        };
        Self {
            status,
            error: said("error").map(|text| filter.clean(text).into()),
            description: said("error_description").map(|text| filter.clean(text).into()),
            scope: said("scope").and_then(|text| text.parse().ok()),
        }
    }

    /// Returns true if the response says nothing about the token, as nearly all do.
    #[inline]
    pub(crate) fn says_nothing(status: StatusCode, headers: &HeaderMap) -> bool {
        match status {
            StatusCode::OK => !is_unauthenticated_grpc(headers),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => false,
            _ => true,
        }
    }

    /// Returns the refusal if the trailers of a gRPC response say UNAUTHENTICATED.
    pub(crate) fn in_trailers(trailers: &HeaderMap) -> Option<Self> {
        says_unauthenticated(trailers).then(|| Self::bare(StatusCode::OK))
    }

    pub(crate) fn read(token: &AccessToken, status: StatusCode, headers: &HeaderMap) -> Reading {
        if Self::says_nothing(status, headers) {
            return Reading::Nothing;
        }
        if status == StatusCode::OK {
            return Reading::TokenRefused(Self::bare(status));
        }
        let challenges = Challenge::all(headers);
        let unauthorized = status == StatusCode::UNAUTHORIZED;
        let Some(challenge) = decisive(&challenges, token.token_type().as_str()) else {
            return match (unauthorized, challenges.is_empty()) {
                (true, true) => Reading::TokenRefused(Self::bare(status)),
                // The server wants something other than a token of this type.
                (true, false) => Reading::CallRefused(Self::bare(status)),
                (false, _) => Reading::Nothing,
            };
        };
        let refusal = Self::new(status, challenge, token);
        if unauthorized && is_about_token(challenge) {
            Reading::TokenRefused(refusal)
        } else {
            Reading::CallRefused(refusal)
        }
    }
}

/// Returns the challenge for tokens of this scheme. A server may challenge for several realms; the one with a reason is
/// the one that inspected the token.
fn decisive<'a>(challenges: &'a [Challenge], scheme: &str) -> Option<&'a Challenge> {
    let ours = || challenges.iter().filter(|challenge| challenge.is(scheme));
    let reasoned = ours().find(|challenge| challenge.parameter("error").is_some());
    reasoned.or_else(|| ours().next())
}

fn is_about_token(challenge: &Challenge) -> bool {
    matches!(challenge.parameter("error"), None | Some("invalid_token"))
}

/// Returns true if a gRPC server answered UNAUTHENTICATED in a response without a body.
#[inline]
fn is_unauthenticated_grpc(headers: &HeaderMap) -> bool {
    // Every successful response takes this path, and few are gRPC's. There are few headers: comparing each is faster
    // than hashing a name.
    let mut fields = headers.iter();
    let kind = fields.find(|(name, _)| *name == CONTENT_TYPE);
    let kind = kind.map(|(_, kind)| kind);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
        && says_unauthenticated(headers)
}

fn says_unauthenticated(fields: &HeaderMap) -> bool {
    const UNAUTHENTICATED: &str = "16";
    let status = fields.get("grpc-status");
    status.is_some_and(|status| status == UNAUTHENTICATED)
}

impl fmt::Display for ApiRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the API refused the token")?;
        if let Some(error) = self.error() {
            write!(f, ": `{error}`")?;
        }
        if let Some(description) = self.description() {
            write!(f, ", \"{description}\"")?;
        }
        if let Some(scope) = self.scope() {
            write!(
                f,
                ", it requires the scopes `{}`",
                safe_text(scope.as_str())
            )?;
        }
        write!(f, " (HTTP {})", self.status.as_u16())
    }
}

impl Error for ApiRefusal {}

#[cfg(test)]
mod tests;
