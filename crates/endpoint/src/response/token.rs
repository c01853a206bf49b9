//! The body of a 200 response: a token, a misplaced error, or unusable.

use std::time::{Duration, SystemTime};

use hallpass_core::{
    AccessToken, ErrorKind, Moment, ScopeSet, Secret, TextFilter, Timestamp, TokenError, TokenType,
};

use super::{
    json::{JsonFault, Member, Members},
    layout::Layout,
    refusal,
    wording::Wording,
};
use crate::hints;

/// Few servers issue tokens that are valid for longer.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The rules for accepting a response.
#[derive(Clone, Debug)]
pub(crate) struct ResponseRules {
    /// The lifetime of a token whose response has none.
    pub(crate) default_lifetime: Duration,
    /// The longest accepted lifetime.
    pub(crate) max_lifetime: Duration,
    /// The longest token, in bytes.
    pub(crate) max_token_bytes: usize,
    /// The requested token type.
    pub(crate) token_type: TokenType,
    /// Accepts a missing or unusual content type, a form in place of JSON, a missing `token_type`, and tokens outside RFC 6750's alphabet.
    pub(crate) lenient: bool,
    /// Accepts only a token that is not an access token (RFC 8693 section 2.2.1), for use as a grant.
    pub(crate) is_grant: bool,
    /// Returns the refresh token, which all grants but its own drop (RFC 6749 section 4.4.3).
    pub(crate) keep_refresh_token: bool,
    /// The places of members that are elsewhere.
    pub(crate) layout: Option<Box<Layout>>,
}

/// The tokens of a response. The refresh token is present even if the access token is unusable: it may be the only one
/// that is still valid.
#[derive(Debug)]
pub struct IssuedTokens {
    pub(crate) token: Result<AccessToken, TokenError>,
    pub(crate) refresh_token: Option<Secret>,
}

impl ResponseRules {
    /// Checks a token that did not come from a response of this source.
    pub(crate) fn check(&self, token: &AccessToken, now: Timestamp) -> Result<(), TokenError> {
        if token.token_type() != self.token_type {
            return Err(TokenError::unusable_response(format!(
                "the token is of type {}, but {} was requested",
                token.token_type(),
                self.token_type
            )));
        }
        self.check_length(token.expose())?;
        let age = now.saturating_since(token.requested_at().timestamp);
        if age >= self.max_lifetime {
            return Err(TokenError::unusable_response(
                "the token is older than the maximum lifetime",
            ));
        }
        Ok(())
    }

    fn check_length(&self, token: &str) -> Result<(), TokenError> {
        if token.len() <= self.max_token_bytes {
            return Ok(());
        }
        Err(TokenError::unusable_response(format!(
            "the response's `access_token` has {} bytes, more than the limit of {}",
            token.len(),
            self.max_token_bytes
        ))
        .with_hint(hints::TOKEN_SIZE))
    }

    fn names_bearer(&self, token_type: &str) -> bool {
        let layout = self.layout.as_deref();
        layout.is_some_and(|layout| layout.is_bearer(token_type))
    }

    fn has_token_elsewhere(&self) -> bool {
        let layout = self.layout.as_deref();
        layout.is_some_and(|layout| layout.token.is_some())
    }

    /// Caps the lifetime of tokens, overriding the response.
    pub(crate) fn bound_lifetime(&mut self, lifetime: Duration) {
        self.default_lifetime = self.default_lifetime.min(lifetime);
        self.max_lifetime = self.max_lifetime.min(lifetime);
    }
}

impl Default for ResponseRules {
    fn default() -> Self {
        Self {
            default_lifetime: Duration::from_secs(300),
            max_lifetime: DAY,
            max_token_bytes: 32 * 1_024,
            token_type: TokenType::Bearer,
            lenient: false,
            is_grant: false,
            keep_refresh_token: false,
            layout: None,
        }
    }
}

/// Reads the body of a 200 response (RFC 6749 section 5.1).
///
/// `requested` are the request's scopes, which are the granted ones unless the response lists others. `server_time` is the
/// response's date. The filter is built only if there is server text to show.
pub(crate) fn read(
    body: &[u8],
    rules: &ResponseRules,
    requested: &ScopeSet,
    requested_at: Moment,
    server_time: SystemTime,
    filter: impl Fn() -> TextFilter,
    wording: &Wording,
) -> Result<IssuedTokens, TokenError> {
    let members = match members(body, rules) {
        Ok(members) => members,
        // The server has revoked the refresh token that was used, even if its response is otherwise unusable.
        Err(error) => {
            let object = match rules.layout.as_deref() {
                Some(layout) => layout.object(body),
                None => Some(body),
            };
            let object = object.filter(|_| rules.keep_refresh_token);
            let refresh_token = object.and_then(refresh_token_alone);
            return refresh_token.map_or(Err(error.clone()), |new| {
                Ok(IssuedTokens {
                    token: Err(error),
                    refresh_token: Some(new),
                })
            });
        }
    };
    if members.get("error").is_some() {
        return Err(refusal::in_a_success(&members, body, filter(), wording));
    }
    // Granted scopes are shown, traced and compared unchanged, so they cannot be redacted.
    let scope = members
        .text("scope")
        .filter(|text| *text != requested.as_str());
    let echo = scope.is_some_and(|text| filter().finds_secret(text));
    let refresh_token = members.text("refresh_token");
    let refresh_token = refresh_token.filter(|text| rules.keep_refresh_token && !text.is_empty());
    Ok(IssuedTokens {
        refresh_token: refresh_token.map(Secret::new).transpose()?,
        token: if echo {
            unusable("the response's `scope` contains a credential of this client")
        } else {
            let is_missing = members.get("access_token").is_none();
            let shown = |members: &Members<'_>| {
                let mut filter = filter();
                for name in ["access_token", "refresh_token", "id_token"] {
                    filter.add_secret(members.text(name).unwrap_or_default());
                }
                if let Some(Member::Text(token)) = &members.displaced {
                    filter.add_secret(token);
                }
                filter
            };
            let others = is_missing.then(|| shown(&members));
            let show = |members: &Members<'_>, text: &str| shown(members).clean(text);
            let layout = rules.layout.as_deref();
            let lifetime = layout.map(|layout| layout.lifetime(body, server_time));
            let lifetime = lifetime.unwrap_or(Ok(None));
            let token = lifetime.and_then(|lifetime| {
                token(members, rules, requested, requested_at, lifetime, &show)
            });
            token.map_err(|error| match others {
                Some(filter) => refusal::explained(error, body, &filter),
                None => error,
            })
        },
    })
}

/// Reads the members of a JSON object, or those of a form if the rules are lenient or it has an error.
fn members<'a>(body: &'a [u8], rules: &ResponseRules) -> Result<Members<'a>, TokenError> {
    let members = match &rules.layout {
        Some(layout) => layout.members(body),
        None => Members::read(body),
    };
    match members {
        Ok(members) => unambiguous(members),
        Err(JsonFault::Syntax) => match Members::of_form(body) {
            Some(members) if members.get("error").is_some() => Ok(members),
            // A form has no member that a JSON pointer names.
            Some(_) if rules.has_token_elsewhere() => Err(unreadable(JsonFault::Syntax)),
            Some(members) if rules.lenient => Ok(members),
            Some(_) => Err(TokenError::unusable_response(
                "the response is a form and not JSON (RFC 6749 section 5.1)",
            )
            .with_hint(hints::LENIENT)),
            None => Err(unreadable(JsonFault::Syntax)),
        },
        Err(fault) => Err(unreadable(fault)),
    }
}

fn unambiguous(members: Members<'_>) -> Result<Members<'_>, TokenError> {
    match members.twice {
        Some(name) => unusable(format!("the response has the member `{name}` twice")),
        None => Ok(members),
    }
}

/// Returns the refresh token of a JSON object without validating other members: one may be duplicated, or a number that
/// is out of range.
fn refresh_token_alone(body: &[u8]) -> Option<Secret> {
    #[derive(serde::Deserialize)]
    struct Alone<'a> {
        #[serde(borrow)]
        refresh_token: std::borrow::Cow<'a, str>,
    }
    let alone: Alone<'_> = serde_json::from_slice(body).ok()?;
    Secret::new(alone.refresh_token).ok()
}

/// A function that redacts server text: no secret of the request or of the response remains.
type Show<'a> = &'a dyn Fn(&Members<'_>, &str) -> String;

fn token(
    members: Members<'_>,
    rules: &ResponseRules,
    requested: &ScopeSet,
    requested_at: Moment,
    lifetime: Option<Duration>,
    show: Show<'_>,
) -> Result<AccessToken, TokenError> {
    let token = access_token(&members, rules, show)?;
    let token_type = token_type(&members, rules, show)?;
    let lifetime = match lifetime {
        None => seconds(&members, "expires_in", show)?,
        found => found,
    };
    if let Some(long) = lifetime.filter(|lifetime| *lifetime > DAY) {
        tracing::warn!(
            lifetime_s = long.as_secs(),
            max_lifetime_s = rules.max_lifetime.as_secs(),
            "token lifetime over 24 h, its unit may be wrong"
        );
    }
    let lifetime = lifetime.unwrap_or(rules.default_lifetime);
    let lifetime = lifetime.min(rules.max_lifetime);
    // Advisory only: an invalid value is ignored.
    let refresh_in = seconds(&members, "refresh_in", show).ok().flatten();
    let scopes = scopes(&members, requested)?;

    let mut token =
        AccessToken::new(token_type, token, requested_at, lifetime)?.with_scopes(scopes);
    if let Some(refresh_in) = refresh_in {
        token = token.with_refresh_in(refresh_in.min(lifetime));
    }
    if !members.extra.is_empty() {
        let extra = members.extra.into_iter();
        token = token.with_extra(extra.map(|(name, raw)| (name, raw.get().to_owned())));
    }
    Ok(token)
}

fn access_token<'a>(
    members: &'a Members<'_>,
    rules: &ResponseRules,
    show: Show<'_>,
) -> Result<&'a str, TokenError> {
    let token = match members.get("access_token") {
        None => return missing(members, rules, show),
        Some(Member::Text(token)) => &**token,
        Some(_) => return unusable("the response's `access_token` is not a string"),
    };
    if token.is_empty() {
        return unusable("the response's `access_token` is empty");
    }
    rules.check_length(token)?;
    if !rules.lenient && !is_b64token(token) {
        return unusable(
            "the response's `access_token` contains a character that RFC 6750 section 2.1 does not allow in a bearer token",
        );
    }
    Ok(token)
}

/// Apigee's name for bearer tokens.
const BEARER_TOKEN: &str = "BearerToken";

/// The type of a token that is not an access token (RFC 8693 section 2.2.1).
const NOT_APPLICABLE: &str = "N_A";

/// Checks a server's name for bearer tokens: another type's name would make a token of that type one.
pub(crate) fn check_type_name(name: &str) -> Result<(), &'static str> {
    let taken = ["DPoP", "PoP", "mac", NOT_APPLICABLE];
    if name.is_empty() {
        Err("the name is empty")
    } else if taken.iter().any(|taken| taken.eq_ignore_ascii_case(name)) {
        Err("tokens of this type are not bearer tokens")
    } else {
        Ok(())
    }
}

/// Returns the error for a missing token: servers wrap it, or report an error in a custom form.
#[cold]
fn missing<T>(
    members: &Members<'_>,
    rules: &ResponseRules,
    show: Show<'_>,
) -> Result<T, TokenError> {
    const MAX_SHOWN_MEMBERS: usize = 8;
    let pointer = rules
        .layout
        .as_ref()
        .and_then(|layout| layout.token.as_ref());
    let pointer = pointer.map(ToString::to_string);
    let name = pointer.as_deref().unwrap_or("access_token");
    let names = members
        .extra
        .iter()
        .take(MAX_SHOWN_MEMBERS)
        .map(|(name, _)| &**name);
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        let message = format!("the response has no `{name}`");
        return Err(TokenError::unusable_response(message).with_hint(hints::NO_TOKEN));
    }
    let names = show(members, &names.join("`, `"));
    let message = format!("the response has no `{name}`, but the members `{names}`");
    Err(TokenError::unusable_response(message).with_hint(hints::NO_TOKEN))
}

/// Returns true for RFC 6750 section 2.1: letters, digits and `-._~+/`, then any number of `=`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    // Without an early exit, to compile to vector instructions: tokens are long and nearly always valid.
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-'..=b'/' | b'_' | b'~' | b'+');
    !body.is_empty() && body.bytes().fold(true, |all, byte| all & legal(byte))
}

/// Returns the requested type, or an error: a token of another type must not be used (RFC 6749 section 7.1).
fn token_type(
    members: &Members<'_>,
    rules: &ResponseRules,
    show: Show<'_>,
) -> Result<TokenType, TokenError> {
    match members.get("token_type") {
        None if rules.lenient && rules.token_type == TokenType::Bearer => {
            tracing::warn!("token response without token_type, Bearer is assumed");
            Ok(TokenType::Bearer)
        }
        None => Err(
            TokenError::unusable_response("the response has no `token_type`").with_hint(
                match rules.token_type {
                    // Not even `lenient_responses` takes an unbound token for a bound one.
                    TokenType::Dpop => hints::UNBOUND,
                    _ => hints::LENIENT,
                },
            ),
        ),
        Some(Member::Text(text)) => match (text.parse(), rules.token_type) {
            _ if rules.is_grant && text.eq_ignore_ascii_case(NOT_APPLICABLE) => {
                Ok(TokenType::Bearer)
            }
            _ if rules.is_grant => unusable(format!(
                "the response's `token_type` is not `N_A` but `{}`, although no access token was requested (RFC 8693 section 2.2.1)",
                show(members, text)
            )),
            (Ok(given), requested) if given == requested => Ok(given),
            (_, TokenType::Bearer) if rules.names_bearer(text) => Ok(TokenType::Bearer),
            _ if text.eq_ignore_ascii_case(NOT_APPLICABLE) => unusable(
                "the response's `token_type` is `N_A`: the issued token is not an access token (RFC 8693 section 2.2.1)",
            ),
            (_, TokenType::Dpop) => Err(TokenError::unusable_response(format!(
                "the response's `token_type` is not `DPoP` but `{}`, so that the token is not bound to the key (RFC 9449 section 5)",
                show(members, text)
            ))
            .with_hint(hints::UNBOUND)),
            (_, TokenType::Bearer) if text.eq_ignore_ascii_case(BEARER_TOKEN) => {
                if rules.lenient {
                    return Ok(TokenType::Bearer);
                }
                let message = format!("the response's `token_type` is not `Bearer` but `{text}`");
                Err(TokenError::unusable_response(message).with_hint(hints::LENIENT))
            }
            _ => Err(TokenError::unusable_response(format!(
                "the response's `token_type` is not `Bearer` but `{}`, and a token of another type must not be used as one (RFC 6749 section 7.1)",
                show(members, text)
            ))
            .with_hint(hints::TOKEN_TYPE)),
        },
        Some(_) => unusable("the response's `token_type` is not a string"),
    }
}

/// Parses a duration in seconds: an integer, a fraction (truncated), or digits in a string as some servers write it.
fn seconds(
    members: &Members<'_>,
    name: &'static str,
    show: Show<'_>,
) -> Result<Option<Duration>, TokenError> {
    // Only the value is the server's: the filter would also search the words around it.
    let wrong = |value: &str| {
        unusable(format!(
            "the response's `{name}` is not a number of seconds but {value}"
        ))
    };
    let Some(member) = members.get(name) else {
        return Ok(None);
    };
    let seconds = match (member.number(), member) {
        (Some(seconds), _) => seconds,
        (None, Member::Number(seconds)) => return wrong(&seconds.to_string()),
        (None, Member::Text(text)) => return wrong(&format!("the text `{}`", show(members, text))),
        (None, _) => return wrong("a value of another type"),
    };
    Ok(Some(Duration::from_secs(seconds)))
}

/// Returns the granted scopes: the requested ones if the response has none (RFC 6749 section 5.1), never "all".
fn scopes(members: &Members<'_>, requested: &ScopeSet) -> Result<ScopeSet, TokenError> {
    match members.get("scope") {
        None => Ok(requested.clone()),
        Some(Member::Text(text)) if **text == *requested.as_str() => Ok(requested.clone()),
        Some(Member::Text(text)) => text.parse().or_else(|_| {
            unusable(
                "the response's `scope` contains a character that RFC 6749 section 3.3 does not allow",
            )
        }),
        Some(_) => unusable("the response's `scope` is not a string"),
    }
}

fn unusable<T>(message: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, TokenError> {
    Err(TokenError::new(ErrorKind::UnusableResponse, message))
}

/// Returns the error for a body that is not a JSON object; transient if it looks like a transmission failure, as one
/// that is cut does.
pub(crate) fn unreadable(fault: JsonFault) -> TokenError {
    let (message, transient) = match fault {
        JsonFault::Empty => ("the response is empty", true),
        JsonFault::Cut => ("the response ends in the middle of its JSON", true),
        JsonFault::Syntax => ("the response is not valid JSON", false),
        JsonFault::NotUtf8 => ("the response is not UTF-8", false),
        JsonFault::NotAnObject => ("the response is JSON, but not an object", false),
        JsonFault::TooDeep => ("the response's JSON nests too deeply", false),
    };
    TokenError::unusable_response(message).with_transient(transient)
}

#[cfg(test)]
mod tests;
