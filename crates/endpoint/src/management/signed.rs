//! Signed introspection responses (RFC 9701).

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use hallpass_core::TokenError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::introspection::Introspection;
use crate::{
    Requirement, SecurityProfile,
    exchange::client::ServerClient,
    security_profile::jws::Jws,
    server::{address::AddressRules, jwks::ServerKeys},
};

/// The `typ` of a signed introspection response (RFC 9701 section 5).
const TYPE: &str = "token-introspection+jwt";
/// The maximum difference between `iat` and this machine's clock: an older response was recorded.
const MAX_AGE: Duration = Duration::from_secs(300);

/// A verifier of signed responses: an extension point. `hallpass-jwt` has one, `ResponseKeys`.
///
/// ```
/// use hallpass_endpoint::{ResponseVerifier, UnverifiedResponse};
///
/// /// Accepts nothing.
/// #[derive(Debug)]
/// struct Nothing;
///
/// impl ResponseVerifier for Nothing {
///     fn verify(&self, _: &str, _: &str, _: &str) -> Result<Vec<u8>, UnverifiedResponse> {
///         Err(UnverifiedResponse::UnknownKey)
///     }
/// }
/// ```
pub trait ResponseVerifier: Send + Sync + fmt::Debug {
    /// Verifies the signature of a JWT by one of these public keys, a JWK set as the server publishes it, and returns the
    /// JWT's payload. Its header must have this `typ`.
    ///
    /// # Errors
    ///
    /// [`UnverifiedResponse::UnknownKey`] if another set may have the key: it is then read again, at a limited rate.
    /// [`UnverifiedResponse::Invalid`] otherwise, with a reason that does not quote the JWT.
    fn verify(&self, jwt: &str, typ: &str, keys: &str) -> Result<Vec<u8>, UnverifiedResponse>;
}

/// The reason for which a signature was not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnverifiedResponse {
    /// The key is not in the set.
    UnknownKey,
    /// The JWT is refused for this reason.
    Invalid(Cow<'static, str>),
}

/// A verifier of responses whose algorithms and key lengths are those of a security profile.
#[derive(Debug)]
pub(super) struct CheckedVerifier {
    pub(super) verifier: Box<dyn ResponseVerifier>,
    pub(super) profile: SecurityProfile,
}

impl ResponseVerifier for CheckedVerifier {
    fn verify(&self, jwt: &str, typ: &str, keys: &str) -> Result<Vec<u8>, UnverifiedResponse> {
        let fault = match Jws::read(jwt.trim_ascii()) {
            Some(jws) => jws.fault(self.profile),
            None => Some(("is not a signed JWT".to_owned(), &Requirement::ALGORITHMS)),
        };
        let Some((fault, requirement)) = fault else {
            return self.verifier.verify(jwt, typ, keys);
        };
        let reason = self.profile.reason(&format!("it {fault}"), requirement);
        Err(UnverifiedResponse::Invalid(reason.into()))
    }
}

/// The required signature of introspection responses.
pub(super) struct SignedResponses {
    verifier: Box<dyn ResponseVerifier>,
    keys: ServerKeys,
}

/// The claims of RFC 9701 section 5.
#[derive(Deserialize)]
struct Claims<'a> {
    iss: Cow<'a, str>,
    aud: Audience,
    iat: f64,
    #[serde(borrow)]
    token_introspection: &'a RawValue,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl SignedResponses {
    pub(super) fn new(verifier: Box<dyn ResponseVerifier>, rules: AddressRules) -> Self {
        Self {
            verifier,
            keys: ServerKeys::new(rules),
        }
    }

    /// Verifies a response to this client.
    pub(super) async fn read(
        &self,
        jwt: &str,
        client: &ServerClient,
    ) -> Result<Introspection, TokenError> {
        let addresses = client.addresses().await?;
        let undiscovered = || {
            TokenError::configuration(
                "the signature of a response cannot be verified without the server's `issuer` and `jwks_uri`",
            )
            .with_hint("use `Endpoint::discover`; the metadata must have a `jwks_uri`")
        };
        let metadata = addresses.metadata().ok_or_else(undiscovered)?;
        let uri = metadata.jwks_uri().ok_or_else(undiscovered)?;
        let payload = self.verify(jwt, uri, client).await?;
        let read = check(&payload, metadata.issuer(), client);
        read.and_then(|members| Introspection::read(members.get().as_bytes()))
            .map_err(|error| error.with_host(client.host()))
    }

    async fn verify(
        &self,
        jwt: &str,
        uri: &str,
        client: &ServerClient,
    ) -> Result<Vec<u8>, TokenError> {
        let (transport, clock) = (client.transport(), client.clock());
        let keys = self.keys.keys(uri, None, transport, clock).await?;
        let mut verified = self.verifier.verify(jwt, TYPE, &keys);
        if verified == Err(UnverifiedResponse::UnknownKey) {
            let keys = self.keys.keys(uri, Some(&keys), transport, clock).await?;
            verified = self.verifier.verify(jwt, TYPE, &keys);
        }
        verified.map_err(|reason| {
            let reason = match reason {
                UnverifiedResponse::UnknownKey => {
                    "the server's `jwks_uri` has no key for it".into()
                }
                UnverifiedResponse::Invalid(reason) => reason,
            };
            invalid(&reason).with_host(client.host())
        })
    }
}

fn invalid(reason: &str) -> TokenError {
    TokenError::unusable_response(format!("the signed response is refused: {reason}"))
}

/// Checks the claims, and returns the introspection itself. The messages do not quote the response.
fn check<'a>(
    payload: &'a [u8],
    issuer: &str,
    client: &ServerClient,
) -> Result<&'a RawValue, TokenError> {
    let claims: Claims<'_> = serde_json::from_slice(payload).map_err(|_| {
        invalid("its claims are not a JSON object with `iss`, `aud`, `iat` and `token_introspection`, and each member once")
    })?;
    if claims.iss != issuer {
        return Err(invalid("its `iss` is another issuer"));
    }
    let audiences = match &claims.aud {
        Audience::One(one) => std::slice::from_ref(one),
        Audience::Several(several) => several,
    };
    if !audiences
        .iter()
        .any(|audience| audience == client.client_id())
    {
        return Err(invalid("its `aud` does not contain this `client_id`"));
    }
    let since = Duration::try_from_secs_f64(claims.iat).ok();
    let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
    let time = time.ok_or_else(|| invalid("its `iat` is not a time"))?;
    let now = client.clock().wall();
    let ahead = time.duration_since(now).unwrap_or_default();
    let age = now.duration_since(time).unwrap_or_default();
    if ahead.max(age) > MAX_AGE {
        let reason = "its `iat` differs from this machine's clock by more than five minutes";
        return Err(invalid(reason).with_hint("check this machine's clock"));
    }
    Ok(claims.token_introspection)
}

impl fmt::Debug for SignedResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verifier.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use hallpass_core::Secret;

    use super::*;
    use crate::{Endpoint, MutualTls, TokenManagement};

    /// A verifier of another crate, which accepts everything.
    #[derive(Debug)]
    struct Foreign;

    impl ResponseVerifier for Foreign {
        fn verify(&self, _: &str, _: &str, _: &str) -> Result<Vec<u8>, UnverifiedResponse> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn fapi_checks_the_algorithm_of_signed_responses() {
        let bank = Endpoint::discover("https://bank.example").build().unwrap();
        let build = |profile: Option<SecurityProfile>| {
            let certificate = MutualTls::new(Secret::new("CANARY").unwrap());
            let tokens = TokenManagement::builder(bank.clone(), "id", certificate);
            let tokens = tokens.require_signed_responses(Foreign);
            let tokens = match profile {
                Some(profile) => tokens.security_profile(profile),
                None => tokens,
            };
            tokens.build().unwrap().signed.unwrap()
        };
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let (any, held) = (build(None), build(Some(SecurityProfile::Fapi2)));
        for (algorithm, length, fits) in [
            ("ES256", 64, true),
            ("EdDSA", 64, true),
            ("PS256", 256, true),
            ("PS256", 128, false),
            ("RS256", 256, false),
            ("ES384", 96, false),
            ("none", 0, false),
        ] {
            let header = format!(r#"{{"alg":"{algorithm}"}}"#);
            let signature = encode(&vec![7; length]);
            let jwt = format!("{}.e30.{signature}", encode(header.as_bytes()));
            any.verifier.verify(&jwt, TYPE, "{}").unwrap();
            match held.verifier.verify(&jwt, TYPE, "{}") {
                Ok(_) => assert!(fits, "{algorithm}"),
                Err(error) => {
                    let says = format!("{error:?}");
                    assert!(!fits && says.contains("section 5.4.1"), "{says}");
                }
            }
        }
    }
}
