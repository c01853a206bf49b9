use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallpass_core::{AuthorizationDetails, ScopeSet, TokenError};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::unique::UniqueMembers;

/// The result of token introspection (RFC 7662 section 2.2).
///
/// If the token is not active, no other member is present: it has expired, was revoked, is unknown, or the client may
/// not introspect it.
pub struct Introspection {
    known: IntrospectionResponse,
    scopes: ScopeSet,
    members: UniqueMembers<Box<RawValue>>,
}

#[derive(Deserialize)]
struct IntrospectionResponse {
    active: bool,
    scope: Option<String>,
    client_id: Option<String>,
    username: Option<String>,
    token_type: Option<String>,
    exp: Option<f64>,
    iat: Option<f64>,
    nbf: Option<f64>,
    sub: Option<String>,
    iss: Option<String>,
    jti: Option<String>,
    aud: Option<Audience>,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Introspection {
    pub(crate) fn read(body: &[u8]) -> Result<Self, TokenError> {
        // The JSON library's message may quote the response.
        let unusable = |message: &'static str| move |_| TokenError::unusable_response(message);
        let known: IntrospectionResponse = serde_json::from_slice(body).map_err(unusable(
            "the response is not JSON with a member `active`, or has a member whose type is not that of RFC 7662 section 2.2",
        ))?;
        let members = serde_json::from_slice(body)
            .map_err(unusable("the response has a member more than once"))?;
        let scopes = known.scope.as_deref().unwrap_or_default().parse();
        Ok(Self {
            scopes: scopes.map_err(|_| {
                TokenError::unusable_response(
                    "the response's `scope` contains a character that RFC 6749 section 3.3 does not allow",
                )
            })?,
            members,
            known,
        })
    }

    /// Returns true if the server considers the token valid now.
    pub fn is_active(&self) -> bool {
        self.known.active
    }

    /// Returns the token's scopes.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Returns the client that it was issued to.
    pub fn client_id(&self) -> Option<&str> {
        self.known.client_id.as_deref()
    }

    /// Returns the name of the user who authorized the client, if any.
    pub fn username(&self) -> Option<&str> {
        self.known.username.as_deref()
    }

    /// Returns the token type: `Bearer`, `DPoP` and so on.
    pub fn token_type(&self) -> Option<&str> {
        self.known.token_type.as_deref()
    }

    /// Returns when it expires, by the server's clock.
    pub fn expires_at(&self) -> Option<SystemTime> {
        time(self.known.exp)
    }

    /// Returns when it was issued, by the server's clock.
    pub fn issued_at(&self) -> Option<SystemTime> {
        time(self.known.iat)
    }

    /// Returns the time before which it must not be used, by the server's clock.
    pub fn not_before(&self) -> Option<SystemTime> {
        time(self.known.nbf)
    }

    /// Returns the token's `sub`: with client credentials, usually the client itself.
    pub fn subject(&self) -> Option<&str> {
        self.known.sub.as_deref()
    }

    /// Returns the token's audiences.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        let list = match &self.known.aud {
            Some(Audience::One(one)) => std::slice::from_ref(one),
            Some(Audience::Several(several)) => several,
            None => &[],
        };
        list.iter().map(String::as_str)
    }

    /// Returns the token's issuer.
    pub fn issuer(&self) -> Option<&str> {
        self.known.iss.as_deref()
    }

    /// Returns the token's identifier.
    pub fn token_id(&self) -> Option<&str> {
        self.known.jti.as_deref()
    }

    /// Returns the token's authorization details (RFC 9396 section 9.2); `None` if the response has none.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`UnusableResponse`](hallpass_core::ErrorKind::UnusableResponse) if the response's member
    /// is not authorization details.
    pub fn authorization_details(&self) -> Result<Option<AuthorizationDetails>, TokenError> {
        let json = self.member("authorization_details");
        let Some(json) = json.filter(|json| *json != "null") else {
            return Ok(None);
        };
        match json.parse::<AuthorizationDetails>() {
            Ok(details) => Ok(Some(details)),
            Err(invalid) if invalid.is_empty_array() => Ok(None),
            Err(invalid) => Err(TokenError::unusable_response(format!(
                "the response's `authorization_details` cannot be used: {invalid}"
            ))),
        }
    }

    /// Returns any member of the response as the server's JSON text: `cnf` names the key or certificate that the token
    /// is bound to.
    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.get(name).map(|json| json.get())
    }
}

/// Converts seconds since 1970 (RFC 7519 section 2); `None` if the time cannot be represented.
fn time(seconds: Option<f64>) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds?).ok()?;
    UNIX_EPOCH.checked_add(since)
}

/// Hides the names of people.
impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.members.names().collect();
        f.debug_struct("Introspection")
            .field("active", &self.known.active)
            .field("scopes", &self.scopes)
            .field("client_id", &self.known.client_id)
            .field("members", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Introspection, TokenError> {
        Introspection::read(json.as_bytes())
    }

    #[test]
    fn what_the_server_says_is_reported() {
        let known = read(
            r#"{"active":true,"scope":"b a","client_id":"orders","username":"CANARY","token_type":"Bearer",
                "exp":1764064800,"iat":1764061200.5,"nbf":0,"sub":"orders","aud":["x","y"],"iss":"https://a.example",
                "jti":"1","cnf":{"jkt":"k"}}"#,
        )
        .unwrap();
        assert!(known.is_active());
        assert_eq!(known.scopes().as_str(), "a b");
        assert_eq!(known.client_id(), Some("orders"));
        assert_eq!(known.username(), Some("CANARY"));
        assert_eq!(
            (known.token_type(), known.subject()),
            (Some("Bearer"), Some("orders"))
        );
        assert_eq!(
            (known.issuer(), known.token_id()),
            (Some("https://a.example"), Some("1"))
        );
        let expires = known.expires_at().unwrap().duration_since(UNIX_EPOCH);
        assert_eq!(expires.unwrap().as_secs(), 1_764_064_800);
        let issued = known.issued_at().unwrap().duration_since(UNIX_EPOCH);
        assert_eq!(issued.unwrap().as_millis(), 1_764_061_200_500);
        assert_eq!(known.not_before(), Some(UNIX_EPOCH));
        assert!(known.audiences().eq(["x", "y"]));
        assert_eq!(known.member("cnf"), Some(r#"{"jkt":"k"}"#));
        assert!(!format!("{known:?}").contains("CANARY"));
    }

    #[test]
    fn a_token_that_is_not_active_has_no_other_member() {
        let known = read(r#"{"active":false}"#).unwrap();
        assert!(!known.is_active() && known.scopes().is_empty());
        assert_eq!(known.expires_at(), None);
        assert_eq!(known.audiences().count(), 0);
        let null = read(r#"{"active":false,"aud":null,"scope":null,"exp":null}"#).unwrap();
        assert_eq!(null.audiences().count(), 0);
        let one = read(r#"{"active":true,"aud":"x","exp":-1,"iat":1e300}"#).unwrap();
        assert!(one.audiences().eq(["x"]));
        assert_eq!((one.expires_at(), one.issued_at()), (None, None));
    }

    #[test]
    fn odd_authorization_details_spoil_nothing_else() {
        let of = |json: &str| {
            let body = format!(r#"{{"active":true,"sub":"s","authorization_details":{json}}}"#);
            read(&body).unwrap()
        };
        let known = of(r#"[{"type":"a","x":[1]}]"#);
        let details = known.authorization_details().unwrap().unwrap();
        assert!(details.types().eq(["a"]));
        assert_eq!(of("null").authorization_details().unwrap(), None);
        assert_eq!(of("[]").authorization_details().unwrap(), None);
        let odd = of(r#"{"type":"CANARY"}"#);
        assert_eq!(odd.subject(), Some("s"));
        let error = odd.authorization_details().unwrap_err();
        assert!(error.to_string().contains("not a JSON array"), "{error}");
        assert!(!format!("{error:?}").contains("CANARY"));
    }

    // covers: F-12, F-13
    #[test]
    fn what_is_no_introspection_is_refused_and_not_quoted() {
        for json in [
            "",
            "CANARY",
            "[]",
            "{}",
            r#"{"active":"CANARY"}"#,
            r#"{"active":true,"active":false}"#,
            r#"{"active":true,"cnf":{},"cnf":{"jkt":"CANARY"}}"#,
            r#"{"active":true,"CANARY":1,"\u0043ANARY":1}"#,
            r#"{"active":true,"scope":["CANARY"]}"#,
            r#"{"active":true,"scope":"CANARYü"}"#,
        ] {
            let error = read(json).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        }
    }
}
