use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use hallpass_core::{AccessToken, InvalidRequest, ScopeSet, TokenError, TokenRequest, TokenSource};
use tokio::{
    sync::Mutex,
    time::{self, Instant},
};

/// The timeout of a single call.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A source under test, and the facts that the kit needs.
///
/// A rule that lacks a fact fails and names the method that adds it. A part of a request (scopes, resources,
/// audiences, parameters) without values in the subject is one that the source must refuse.
pub struct Subject {
    pub(super) source: Arc<dyn TokenSource>,
    /// The source's current `Debug` output.
    pub(super) show: Box<dyn Fn() -> String + Send>,
    pub(super) secrets: Vec<String>,
    /// Requests for two sets of scopes, with the values that must reach the server.
    pub(super) scopes: Option<Pair>,
    pub(super) resources: Option<Pair>,
    pub(super) audiences: Option<Pair>,
    pub(super) parameters: Option<Pair>,
    pub(super) issued_for: Option<Box<ShowIssued>>,
    pub(super) wrong: Option<Arc<dyn TokenSource>>,
    pub(super) unreachable: Option<Arc<dyn TokenSource>>,
    pub(super) limited: Option<(Arc<dyn TokenSource>, Duration)>,
    pub(super) limit: Option<Limit>,
    /// The first error in the description.
    pub(super) mistake: Option<String>,
    keep: Vec<Box<dyn Send>>,
}

/// Shows what a token was issued for.
type ShowIssued = dyn Fn(&AccessToken) -> String + Send + Sync;

/// Two requests that differ in one part, with the texts that must reach the server for each.
pub(super) struct Pair {
    pub(super) requests: [TokenRequest; 2],
    pub(super) values: [Vec<String>; 2],
}

/// The calls that a server answers within a window.
pub(super) struct Limit {
    pub(super) calls: usize,
    pub(super) window: Duration,
    /// The times of the recent calls, oldest first.
    made: Mutex<VecDeque<Instant>>,
}

impl Subject {
    /// Creates a subject from a source that is set up to work.
    pub fn new(source: impl TokenSource + fmt::Debug + 'static) -> Self {
        let source = Arc::new(source);
        let shown = source.clone();
        Self {
            source,
            show: Box::new(move || format!("{shown:?}\n{shown:#?}")),
            secrets: Vec::new(),
            scopes: None,
            resources: None,
            audiences: None,
            parameters: None,
            issued_for: None,
            wrong: None,
            unreachable: None,
            limited: None,
            limit: None,
            mistake: None,
            keep: Vec::new(),
        }
    }

    /// Adds a secret that the source holds, at least six characters long: no error, no `Debug` and no trace may show it.
    ///
    /// A source without a secret names the text of a token.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Names two different sets of scopes, space-separated, that the server grants to the client.
    #[must_use]
    pub fn scopes(mut self, one: &str, other: &str) -> Self {
        let pair = self.pair("sets of scopes", [one, other], |scopes| {
            let parsed: Result<ScopeSet, _> = scopes.parse();
            let scopes = parsed
                .map_err(|_| format!("the subject's scopes `{scopes}` are not a list of scopes"))?;
            let values = scopes.as_str().split(' ').map(str::to_owned).collect();
            Ok((TokenRequest::new().with_scopes(scopes), values))
        });
        self.scopes = pair;
        self
    }

    /// Names two different resources (RFC 8707), absolute URIs, that the server has tokens for.
    #[must_use]
    pub fn resources(mut self, one: &str, other: &str) -> Self {
        self.resources = self.pair("resources", [one, other], |resource| {
            let request = TokenRequest::new().with_resource(resource);
            let mistake = "the subject's resource `{}` is not a resource";
            single(request, resource, mistake)
        });
        self
    }

    /// Names two different audiences that the server has tokens for.
    #[must_use]
    pub fn audiences(mut self, one: &str, other: &str) -> Self {
        self.audiences = self.pair("audiences", [one, other], |audience| {
            let request = TokenRequest::new().with_audience(audience);
            let mistake = "the subject's audience `{}` is not an audience";
            single(request, audience, mistake)
        });
        self
    }

    /// Names an extra parameter with two different values that the server has tokens for, such as a tenant.
    #[must_use]
    pub fn parameter(mut self, name: &str, one: &str, other: &str) -> Self {
        self.parameters = self.pair("values of a parameter", [one, other], |value| {
            let request = TokenRequest::new().with_parameter(name, value);
            let mistake = "the subject's parameter with the value `{}` is not a parameter";
            single(request, value, mistake)
        });
        self
    }

    fn pair(
        &mut self,
        what: &str,
        texts: [&str; 2],
        read: impl Fn(&str) -> Result<(TokenRequest, Vec<String>), String>,
    ) -> Option<Pair> {
        let pair = read(texts[0]).and_then(|one| {
            let other = read(texts[1])?;
            if one.0 == other.0 {
                return Err(format!("the subject's two {what} are the same"));
            }
            Ok(Pair {
                requests: [one.0, other.0],
                values: [one.1, other.1],
            })
        });
        pair.map_err(|mistake| self.mistake.get_or_insert(mistake).clone())
            .ok()
    }

    /// Sets a function that returns the text of the request that a token was issued for: the body of the token
    /// request, or the token's own claims.
    ///
    /// The kit searches this text, in any usual encoding, for the scopes, resources, audiences and parameters that it
    /// requested. [`AuthorizationServer::request_for`](crate::AuthorizationServer::request_for) returns it for tokens
    /// of the kit's own server.
    #[must_use]
    pub fn issued_for(
        mut self,
        show: impl Fn(&AccessToken) -> String + Send + Sync + 'static,
    ) -> Self {
        self.issued_for = Some(Box::new(show));
        self
    }

    /// Adds the same source with credentials that the server refuses.
    #[must_use]
    pub fn with_wrong_credentials(mut self, source: impl TokenSource + 'static) -> Self {
        self.wrong = Some(Arc::new(source));
        self
    }

    /// Adds the same source, pointed at an address where nothing listens;
    /// [`raw::refused_url`](crate::raw::refused_url) returns one.
    #[must_use]
    pub fn with_unreachable_server(mut self, source: impl TokenSource + 'static) -> Self {
        self.unreachable = Some(Arc::new(source));
        self
    }

    /// Adds the same source, pointed at a server that returns HTTP 429 with this `Retry-After`, in whole seconds.
    #[must_use]
    pub fn with_limited_server(
        mut self,
        source: impl TokenSource + 'static,
        retry_after: Duration,
    ) -> Self {
        self.limited = Some((Arc::new(source), retry_after));
        self
    }

    /// Respects a rate limit of the server: at most `calls` calls of the subject's sources begin within any `window`.
    ///
    /// A rule that needs more calls waits. Without [`with_limited_server`](Self::with_limited_server) the kit exceeds
    /// the limit once, to see a response with `Retry-After`.
    #[must_use]
    pub fn limited_to(mut self, calls: usize, window: Duration) -> Self {
        if calls == 0 {
            let mistake = "the subject's server answers no call at all";
            self.mistake.get_or_insert_with(|| mistake.to_owned());
        }
        self.limit = Some(Limit {
            calls: calls.max(1),
            window,
            made: Mutex::default(),
        });
        self
    }

    /// Keeps a value alive while the rule runs, such as the server.
    #[must_use]
    pub fn keep_alive(mut self, thing: impl Send + 'static) -> Self {
        self.keep.push(Box::new(thing));
        self
    }

    /// Returns two different requests that the source supports.
    pub(super) fn two_requests(&self) -> Option<&[TokenRequest; 2]> {
        let pairs = [
            &self.scopes,
            &self.resources,
            &self.audiences,
            &self.parameters,
        ];
        let first = pairs.into_iter().flatten().next();
        first.map(|pair| &pair.requests)
    }

    /// Calls the source, and requires a token within the timeout.
    pub(super) async fn ask(&self, request: &TokenRequest) -> Result<AccessToken, String> {
        let answer = self.answer(&*self.source, request).await?;
        answer.map_err(yields_an_error)
    }

    /// Calls this source, and requires a result within the timeout.
    pub(super) async fn answer(
        &self,
        source: &dyn TokenSource,
        request: &TokenRequest,
    ) -> Result<Result<AccessToken, TokenError>, String> {
        self.wait_for(1).await;
        call(source, request).await
    }

    /// Waits until this many calls, up to the server's limit, can start at once.
    pub(super) async fn wait_for(&self, calls: usize) {
        let Some(limit) = &self.limit else { return };
        let calls = calls.min(limit.calls);
        let mut made = limit.made.lock().await;
        while made.len() + calls > limit.calls {
            let Some(oldest) = made.pop_front() else {
                break;
            };
            time::sleep_until(oldest + limit.window).await;
        }
        made.extend(std::iter::repeat_n(Instant::now(), calls));
    }

    /// Returns the maximum time that a rule waits for the server's limit, for up to `calls` calls.
    pub(super) fn longest_wait(&self, calls: u32) -> Duration {
        self.limit.as_ref().map_or(Duration::ZERO, |limit| {
            let each = u32::try_from(limit.calls).unwrap_or(u32::MAX);
            limit.window.saturating_mul(calls.div_ceil(each))
        })
    }
}

fn single(
    request: Result<TokenRequest, InvalidRequest>,
    value: &str,
    mistake: &str,
) -> Result<(TokenRequest, Vec<String>), String> {
    let request = request.map_err(|_| mistake.replace("{}", value))?;
    Ok((request, vec![value.to_owned()]))
}

/// Makes one call with a timeout, without regard to a limit.
pub(super) async fn call(
    source: &dyn TokenSource,
    request: &TokenRequest,
) -> Result<Result<AccessToken, TokenError>, String> {
    let answer = time::timeout(CALL_TIMEOUT, source.token(request)).await;
    answer.map_err(|_| format!("a call did not end within {CALL_TIMEOUT:?}"))
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
pub(super) fn yields_an_error(error: TokenError) -> String {
    format!("it yields an error: {error}")
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("secrets", &self.secrets.len())
            .field("keep", &self.keep.len())
            .finish_non_exhaustive()
    }
}
