use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])+ $rule:ident($numbers:literal): $promise:literal, $remedy:literal;)+) => {
        /// A promise of [`TokenSource`](hallpass_core::TokenSource), with the numbers of the requirements that it
        /// covers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[$doc])+ $rule,)+
        }

        impl Rule {
            /// All rules, most informative first.
            pub const ALL: &[Self] = &[$(Self::$rule,)+];

            /// Returns the numbers of the covered duties (C), faults (F) and incidents (I).
            pub fn numbers(self) -> &'static str {
                match self {
                    $(Self::$rule => $numbers,)+
                }
            }

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
    /// `token` completes and yields a token.
    YieldsAToken("C-17, C-18, F-74, F-85"):
        "`token` yields a token for the default request, without hanging, blocking its thread or panicking",
        "look at the error below; bound each step with a deadline, and never block in an async method";
    /// The token is live, and expires at some time.
    LivesForAWhile("C-21, C-22, F-20, F-66"):
        "a token lives when it is returned, counts from when it was asked for, and ends within ten years",
        "take the moment from the clock before the request is sent, and bound a lifetime that is missing or absurd";
    /// Concurrent calls do not disturb each other.
    ServesManyAtOnce("F-75, I-13"):
        "fifty calls at once all get a token",
        "hold no lock across an await, and bound nothing to one call at a time without a queue";
    /// A call for one request does not wait for a call for another one.
    HoldsUpNoOtherRequest("F-84"):
        "a call for one request does not wait until a call for another request has ended",
        "hold no lock across an await, or one for each `TokenRequest`";
    /// A dropped call harms no other.
    SurvivesACallerThatLeaves("F-72"):
        "a call that is dropped halfway leaves the source able to serve the next",
        "undo with a guard what a call has begun, or do the work in a task of its own";
    /// The request's scopes reach the server.
    GrantsTheScopesAskedFor("C-14, C-23, F-36, I-08"):
        "the scopes of the request reach the server, and the token has them; a scope that cannot be had is refused",
        "send the request's scopes, record what the server granted, and never widen it";
    /// No request gets another one's token.
    TellsRequestsApart("C-37, C-62"):
        "two requests that differ get two tokens",
        "use the whole `TokenRequest` as the key wherever tokens are held";
    /// Resources are sent or refused.
    HonoursResources("C-61, C-62"):
        "a resource reaches the server or is refused, and is never ignored",
        "send `resource` (RFC 8707), or refuse the request with `TokenError::request_refused` or `configuration`";
    /// Audiences are sent or refused.
    HonoursAudiences("C-37, C-62"):
        "an audience reaches the server or is refused, and is never ignored",
        "send the request's audiences, or refuse the request with `TokenError::request_refused` or `configuration`";
    /// Extra parameters are sent or refused.
    HonoursParameters("C-37, C-62"):
        "an extra parameter reaches the server or is refused, and is never ignored",
        "send the request's parameters, or refuse the request with `TokenError::request_refused` or `configuration`";
    /// Wrong credentials are reported as such.
    NamesWrongCredentials("C-28, F-34"):
        "wrong credentials yield an error of the kind `CredentialsRefused` that is not transient",
        "map `invalid_client` and HTTP 401 to `TokenError::credentials_refused`";
    /// An outage is reported as such.
    NamesAServerThatIsDown("F-41, F-55"):
        "a server that cannot be reached yields an error of the kind `Unavailable` that is transient",
        "map failed connections, timeouts and HTTP 5xx to `TokenError::unavailable`";
    /// The server's `Retry-After` is passed on.
    PassesOnRetryAfter("F-52, F-54"):
        "HTTP 429 yields an error of the kind `Unavailable` that is transient, with the server's `Retry-After`",
        "read `Retry-After`, and add it with `TokenError::with_retry_after`";
    /// Errors hold no secret.
    LeaksNothingInErrors("F-99, F-100, I-01"):
        "no error shows a secret or a token, at any depth of its source chain",
        "drop URLs and bodies from the errors of the libraries below, and write your own text";
    /// `Debug` holds no secret.
    LeaksNothingInDebug("F-99, I-14"):
        "`Debug` of the source shows neither a secret nor a token",
        "write `Debug` by hand for every type that has one inside, or hold it as `Secret`";
    /// Traces hold no secret.
    LeaksNothingInTraces("F-101, I-14"):
        "no span or event, at any level, shows a secret or a token",
        "use `#[instrument(skip_all)]`, and name the fields that you mean";
    /// `ready_token` has the same guarantees as `token`.
    HasOnlyLiveTokensReady("F-63, F-66, C-62"):
        "`ready_token` yields a live token of that very request or none, and needs no runtime",
        "check the expiry and the whole request at each call, or leave the method as it is";
    /// `invalidate` compares tokens.
    DropsOnlyTheRefusedToken("F-81, F-82, C-35"):
        "`invalidate` drops the token that was refused, and no other",
        "compare with `AccessToken::is_same` before dropping";
    /// The epoch changes only with the credentials.
    KeepsItsCredentialEpoch("I-15, F-98"):
        "`credential_epoch` stays the same for as long as the credentials do",
        "raise it where a new secret is read, and nowhere else";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
