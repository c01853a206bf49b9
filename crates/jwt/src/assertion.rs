//! An assertion (RFC 7523 section 3) in the compact form of a JWS (RFC 7515 section 7.1).

use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{Secret, TokenError};
use hallpass_endpoint::{Assertion, AuthenticationContext, Credentials};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{AssertionSettings, settings::Audience, stamp};

/// RFC 7523 section 2.2.
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The offset of `iat`: an assertion does not seem to be from the future while the clock is ahead by less than this.
pub(crate) const IAT_OFFSET: Duration = Duration::from_secs(5);

/// The description of the key in the header. It holds neither the key nor its URL: a verifier that trusted those would
/// trust anyone (RFC 7515 section 4.1).
#[derive(Serialize)]
pub(crate) struct Header<'a> {
    pub(crate) alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kid: Option<&'a str>,
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub(crate) thumbprint: Option<String>,
    /// The certificates in Base64 (RFC 7515 section 4.1.6).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) x5c: Vec<String>,
}

#[derive(Serialize)]
struct TypedHeader<'a> {
    typ: &'a str,
    #[serde(flatten)]
    header: Header<'a>,
}

/// The claims besides audience, times and `jti`.
#[derive(Serialize)]
pub(crate) struct Claims<'a> {
    pub(crate) iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<&'a str>,
    #[serde(flatten)]
    pub(crate) more: &'a BTreeMap<String, Value>,
}

#[derive(Serialize)]
struct AllClaims<'a> {
    #[serde(flatten)]
    claims: Claims<'a>,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
}

/// An assertion that is not yet signed.
pub(crate) struct UnsignedAssertion {
    text: Zeroizing<String>,
    made: SystemTime,
}

impl UnsignedAssertion {
    /// Creates an assertion that authenticates the client.
    pub(crate) fn new(
        settings: &AssertionSettings,
        context: &AuthenticationContext<'_>,
        header: Header<'_>,
    ) -> Result<Self, TokenError> {
        let claims = Claims {
            iss: context.client_id(),
            sub: Some(context.client_id()),
            scope: None,
            more: &BTreeMap::new(),
        };
        Self::with_claims(settings, context, header, claims)
    }

    /// Creates an assertion with these claims and a unique `jti`.
    pub(crate) fn with_claims(
        settings: &AssertionSettings,
        context: &AuthenticationContext<'_>,
        header: Header<'_>,
        claims: Claims<'_>,
    ) -> Result<Self, TokenError> {
        let made = settings.clock.wall();
        let hint = "set this machine's clock: the assertion's times come from it";
        let iat = stamp::seconds(made, IAT_OFFSET, hint)?;
        let unique = stamp::unique()?;
        let all = AllClaims {
            claims,
            aud: audience(settings, context)?,
            iat,
            exp: iat.saturating_add(settings.lifetime.as_secs()),
            jti: &BASE64_URL_SAFE_NO_PAD.encode(unique),
        };
        let typed = TypedHeader {
            typ: &settings.typ,
            header,
        };
        Ok(Self {
            text: signing_input(&json(&typed)?, &json(&all)?),
            made,
        })
    }

    /// Returns the signing input (RFC 7515 section 5.1).
    pub(crate) fn message(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(crate) fn signed(self, signature: &[u8]) -> CompactAssertion {
        let Self { mut text, made } = self;
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        CompactAssertion { text, made }
    }
}

/// A signed assertion in the compact form.
#[derive(Clone)]
pub(crate) struct CompactAssertion {
    pub(crate) text: Zeroizing<String>,
    pub(crate) made: SystemTime,
}

impl CompactAssertion {
    /// Converts it to the assertion of the JWT bearer grant.
    pub(crate) fn into_assertion(mut self) -> Result<Assertion, TokenError> {
        let text = Secret::new(std::mem::take(&mut *self.text))?;
        Ok(Assertion::signed(text).with_issued_at(self.made))
    }

    pub(crate) fn into_credentials(
        mut self,
        context: &AuthenticationContext<'_>,
        hint: &'static str,
    ) -> Credentials {
        let assertion = std::mem::take(&mut *self.text);
        parameters(Some(context.client_id()), JWT_BEARER, assertion)
            .with_issued_at(self.made)
            .refusal_hint(hint)
    }
}

/// Returns the parameters of RFC 7523 section 2.2.
pub(crate) fn parameters(
    client_id: Option<&str>,
    assertion_type: &'static str,
    assertion: String,
) -> Credentials {
    let named = client_id.map(|id| ("client_id", Cow::Borrowed(id)));
    Credentials::parameters(named.into_iter().chain([
        ("client_assertion_type", Cow::Borrowed(assertion_type)),
        ("client_assertion", Cow::Owned(assertion)),
    ]))
}

/// Returns the audience of an assertion.
pub(crate) fn audience<'a>(
    settings: &'a AssertionSettings,
    context: &AuthenticationContext<'a>,
) -> Result<&'a str, TokenError> {
    match &settings.audience {
        Audience::Issuer(text) | Audience::Other(text) => Ok(text),
        Audience::Discovered => discovered(context),
        Audience::TokenEndpoint => Ok(context.token_endpoint()),
    }
}

fn discovered<'a>(context: &AuthenticationContext<'a>) -> Result<&'a str, TokenError> {
    let metadata = context.metadata().ok_or_else(|| {
        TokenError::configuration(
            "the assertion's audience is the discovered issuer, but no metadata was discovered",
        )
        .with_hint("use `Endpoint::discover`, or set the issuer with `AssertionSettings::new`")
    })?;
    Ok(metadata.issuer())
}

/// Builds the signing input, with room for the longest signature in use: growing would leave a copy behind.
fn signing_input(header: &[u8], claims: &[u8]) -> Zeroizing<String> {
    const MAX_SIGNATURE_CHARS: usize = 1_400;
    let length = (header.len() + claims.len()) * 4 / 3 + 8 + MAX_SIGNATURE_CHARS;
    let mut text = Zeroizing::new(String::with_capacity(length));
    BASE64_URL_SAFE_NO_PAD.encode_string(header, &mut text);
    text.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    text
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, TokenError> {
    serde_json::to_vec(value)
        .map_err(|_| TokenError::configuration("the assertion could not be encoded as JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_behind_its_input_without_a_copy() {
        // Of the longest signature, of an RSA key with 8,192 bits.
        let signature = BASE64_URL_SAFE_NO_PAD.encode([0; 1_024]);
        for length in 0..200 {
            let input = signing_input(&vec![b'h'; length], &vec![b'c'; 2 * length]);
            let room = input.capacity() - input.len();
            assert!(room > signature.len(), "{length}: {room}");
            assert!(room < signature.len() + 64, "{length}: {room}");
        }
    }
}
