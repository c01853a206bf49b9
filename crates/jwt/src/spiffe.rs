use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{Clock, SecretSource, TokenError};
use hallpass_endpoint::{
    AuthenticationContext, ClientAuthentication, Credentials, Metadata, credential_digest,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::WorkloadIdentity;

/// Section 3.1 of the draft.
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
/// The maximum length of a JWT-SVID in bytes. Servers limit the length of a request's headers and form to about this.
const MAX_LEN: usize = 16 * 1_024;
/// The maximum length of a SPIFFE ID in bytes (SPIFFE-ID section 2.3).
const MAX_ID_LEN: usize = 2_048;
/// The algorithms of JWT-SVID section 2.1. There is no `none` and no HMAC.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512",
];

/// Client authentication with a SPIFFE JWT-SVID (`spiffe_jwt`, section 3.1 of
/// [draft-ietf-oauth-spiffe-client-auth-02](https://datatracker.ietf.org/doc/html/draft-ietf-oauth-spiffe-client-auth-02)).
///
/// Unstable: it follows an Internet-Draft, and may change in any release.
///
/// The source is read for each attempt. Its text is one JWT-SVID, as spiffe-helper writes it to a file; for the Workload
/// API itself, there is a source in `hallpass-spiffe`. For a server that accepts SVIDs as ordinary assertions (RFC 7523),
/// use [`WorkloadIdentity`].
///
/// Before it is sent, the SVID is checked: it is one JWT of at most 16 KiB with an algorithm that the SPIFFE
/// specification allows, a SPIFFE ID as `sub`, an `exp`, and the server's issuer identifier as the only audience. An SVID
/// for several audiences could be used by each of them at the others. An expired one is sent, since the server's clock
/// decides; the hint of the refusal says that it has expired.
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_endpoint::{ClientCredentials, Endpoint};
/// use hallpass_jwt::SpiffeJwt;
///
/// # fn example(svid: impl SecretSource + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// // A `FileSecret` of hallpass-secrets, for the path that spiffe-helper writes.
/// let authentication = SpiffeJwt::new(svid);
/// let login = Endpoint::discover("https://login.example").build()?;
/// let source = ClientCredentials::builder(login, "spiffe://acme.example/orders", authentication).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SpiffeJwt {
    identity: WorkloadIdentity,
    audience: Option<Box<str>>,
}

impl SpiffeJwt {
    /// Creates a client authentication with the JWT-SVID that is currently in this source.
    pub fn new(source: impl SecretSource + 'static) -> Self {
        Self {
            identity: WorkloadIdentity::new(source),
            audience: None,
        }
    }

    /// Sets the required audience of the SVID. Default: the issuer that the endpoint
    /// [discovers](hallpass_endpoint::Endpoint::discover); without discovery, any single audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Omits `client_id` from the request, for a server that identifies the client by the SVID's `sub` alone.
    #[must_use]
    pub fn without_client_id(mut self) -> Self {
        self.identity = self.identity.without_client_id();
        self
    }

    /// Sets the clock, for tests. It is used for hints only.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.identity = self.identity.clock(clock);
        self
    }
}

#[async_trait]
impl ClientAuthentication for SpiffeJwt {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let issuer = context.metadata().map(Metadata::issuer);
        let audience = self.audience.as_deref().or(issuer);
        let check = |svid: &str| check(svid, audience);
        self.identity.present(context, JWT_SPIFFE, check).await
    }

    fn method(&self) -> Option<&'static str> {
        Some("spiffe_jwt")
    }

    fn epoch(&self) -> u64 {
        self.identity.epoch()
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let identity = self.identity.digest(client_id).await?;
        Some(credential_digest("spiffe_jwt", &[&identity]))
    }

    fn refused(&self, credentials: &Credentials) {
        self.identity.refused(credentials);
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
}

/// The claims of JWT-SVID section 3.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audience,
    #[allow(dead_code)] // Required; read again for the hint.
    exp: f64,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Checks an SVID by what the server will check, except for the signature and the time. The messages do not quote it.
fn check(svid: &str, audience: Option<&str>) -> Result<(), TokenError> {
    if svid.len() > MAX_LEN {
        return Err(invalid(&format!("it has more than {MAX_LEN} bytes")));
    }
    let mut parts = svid.split('.');
    let header: Header = json(parts.next()).ok_or_else(|| {
        invalid("its header is not a JSON object with an `alg`, and each member once")
    })?;
    if !ALGORITHMS.contains(&header.alg.as_str()) {
        return Err(invalid(
            "its `alg` is none of the signature algorithms that JWT-SVIDs have",
        ));
    }
    if !matches!(header.typ.as_deref(), None | Some("JWT" | "JOSE")) {
        return Err(invalid("its `typ` is neither `JWT` nor `JOSE`"));
    }
    let claims: Claims = json(parts.next()).ok_or_else(|| {
        invalid(
            "its claims are not a JSON object with `sub`, `aud` and `exp`, and each member once",
        )
    })?;
    if !is_spiffe_id(&claims.sub) {
        return Err(invalid("its `sub` is not a SPIFFE ID"));
    }
    let audiences = match &claims.aud {
        Audience::One(one) => std::slice::from_ref(one),
        Audience::Several(several) => several,
    };
    match (audiences, audience) {
        ([_], None) => Ok(()),
        ([one], Some(audience)) if one == audience => Ok(()),
        (_, Some(audience)) => {
            let message = format!("its only audience must be `{audience}`");
            Err(invalid(&message).with_hint(
                "request the SVID for that audience alone, which is the `issuer` of the server's metadata",
            ))
        }
        (_, None) => Err(invalid("it must have exactly one audience")
            .with_hint("request the SVID for the `issuer` of the server's metadata alone")),
    }
}

fn invalid(fault: &str) -> TokenError {
    TokenError::configuration(format!("the JWT-SVID cannot be used: {fault}"))
}

fn json<T: DeserializeOwned>(part: Option<&str>) -> Option<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part?).ok()?;
    // The library's error may quote the text.
    serde_json::from_slice(&bytes).ok()
}

/// Returns true if the text is the SPIFFE ID of a workload (SPIFFE-ID section 2): a trust domain and a path.
fn is_spiffe_id(text: &str) -> bool {
    let domain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let path = |byte: u8| domain(byte) || byte.is_ascii_uppercase();
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(path);
    let id = text.strip_prefix("spiffe://");
    let parts = id.and_then(|id| id.split_once('/'));
    parts.is_some_and(|(trust_domain, rest)| {
        text.len() <= MAX_ID_LEN
            && !trust_domain.is_empty()
            && trust_domain.len() <= 255
            && trust_domain.bytes().all(domain)
            && rest.split('/').all(segment)
    })
}

#[cfg(test)]
mod tests;
