use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])+ $rule:ident: $promise:literal, $remedy:literal;)+) => {
        /// A promise of [`TokenSource`](hallpass_core::TokenSource).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[$doc])+ $rule,)+
        }

        impl Rule {
            /// All rules, most informative first.
            pub const ALL: &[Self] = &[$(Self::$rule,)+];

            /// Returns the promise, as a sentence.
            pub fn promise(self) -> &'static str {
                match self {
                    $(Self::$rule => $promise,)+
                }
            }

            /// Returns the advice for a source that breaks the rule.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$rule => $remedy,)+
                }
            }
        }
    };
}

rules! {
    // covers: C-17, C-18, F-74, F-85
    /// `token` completes and returns a token.
    ReturnsToken:
        "`token` returns a token for the default request, without hanging, blocking its thread or panicking",
        "read the error, if one is shown; give each step a timeout, and never block in an async method";
    // covers: C-21, C-22, F-20, F-66
    /// The token is valid, and its lifetime is limited.
    ReturnsValidToken:
        "a token is valid when it is returned, its lifetime counts from the start of the request, and it expires within ten years",
        "read the clock before the request is sent, and limit a lifetime that is missing or too long";
    // covers: F-75, I-13
    /// Concurrent calls do not disturb each other.
    SupportsConcurrentCalls:
        "fifty concurrent calls all get a token",
        "hold no lock across an await; if only one call can run at a time, queue the others";
    // covers: F-84
    /// A call for one request does not wait for a call for another one.
    ServesRequestsIndependently:
        "a call for one request does not wait until a call for another request has ended",
        "hold no lock across an await, or one for each `TokenRequest`";
    // covers: F-72
    /// A cancelled call does not affect the next one.
    SurvivesCancellation:
        "after a cancelled call the source serves the next one",
        "clean up after a cancelled call with a guard, or run the work in a separate task";
    // covers: C-14, C-23, F-36, I-08
    /// The request's scopes reach the server.
    HonoursScopes:
        "the scopes of the request reach the server, and the token has them; an unavailable scope is refused",
        "send the request's scopes, add those that the server granted with `AccessToken::with_scopes`, and never more";
    // covers: C-37, C-62
    /// A request never gets another request's token.
    SeparatesRequests:
        "two requests that differ get two tokens",
        "use the whole `TokenRequest` as the key wherever tokens are cached";
    // covers: C-61, C-62
    /// Resources are sent or refused.
    HonoursResources:
        "a resource reaches the server or is refused, and is never ignored",
        "send `resource` (RFC 8707), or refuse the request with `TokenError::request_refused` or `configuration`";
    // covers: C-37, C-62
    /// Audiences are sent or refused.
    HonoursAudiences:
        "an audience reaches the server or is refused, and is never ignored",
        "send the request's audiences, or refuse the request with `TokenError::request_refused` or `configuration`";
    // covers: C-37, C-62
    /// Extra parameters are sent or refused.
    HonoursParameters:
        "an extra parameter reaches the server or is refused, and is never ignored",
        "send the request's parameters, or refuse the request with `TokenError::request_refused` or `configuration`";
    // covers: C-28, F-34
    /// Wrong credentials yield their own kind of error.
    ReportsWrongCredentials:
        "wrong credentials yield an error of the kind `CredentialsRefused` that is not transient",
        "map `invalid_client` and HTTP 401 to `TokenError::credentials_refused`";
    // covers: F-41, F-55
    /// An unreachable server yields its own kind of error.
    ReportsUnavailableServer:
        "a server that cannot be reached yields an error of the kind `Unavailable` that is transient",
        "map failed connections, timeouts and HTTP 5xx to `TokenError::unavailable`";
    // covers: F-52, F-54
    /// The server's `Retry-After` is in the error.
    ReportsRetryAfter:
        "HTTP 429 yields an error of the kind `Unavailable` that is transient, with the server's `Retry-After`",
        "read `Retry-After`, and add it with `TokenError::with_retry_after`";
    // covers: F-99, F-100, I-01
    /// Errors hold no secret.
    RedactsErrors:
        "no error shows a secret or a token, at any depth of its source chain",
        "remove URLs and bodies from the errors of libraries, and write your own message";
    // covers: F-99, I-14
    /// `Debug` holds no secret.
    RedactsDebug:
        "`Debug` of the source shows neither a secret nor a token",
        "write `Debug` by hand for every type that contains one, or store it as a `Secret`";
    // covers: F-101, I-14
    /// Traces hold no secret.
    RedactsTraces:
        "no span or event, at any level, shows a secret or a token",
        "use `#[instrument(skip_all)]`, and list the fields explicitly";
    // covers: F-63, F-66, C-62
    /// `ready_token` has the same guarantees as `token`.
    ReturnsValidReadyToken:
        "`ready_token` returns a valid token for exactly that request or none, and needs no runtime",
        "check the expiry and the whole request at each call, or keep the default implementation";
    // covers: F-81, F-82, C-35
    /// `invalidate` drops the refused token only.
    InvalidatesOnlyRefusedToken:
        "`invalidate` drops the token that was refused, and no other",
        "compare with `AccessToken::is_same` before dropping";
    // covers: I-15, F-98
    /// The epoch changes only with the credentials.
    MaintainsCredentialEpoch:
        "`credential_epoch` changes only with the credentials",
        "increment it when a new secret is read, and only then";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
