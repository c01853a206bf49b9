use std::{fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use hallpass_core::{Hint, Secret, SecretSource, TokenError, TokenRequest};

use super::{context::AuthenticationContext, digest::credential_digest, provenance::Provenance};

/// The source of the assertion for the [JWT bearer grant](crate::JwtBearer): an extension point.
///
/// [`SecretAssertion`] reads a JWT that another party issues and renews, such as one that the platform writes to a
/// file, or a caller's token to pass on. The feature `jwt` of the facade has a source that signs; write your own for a
/// service that signs on request:
///
/// ```
/// use hallpass_core::{Hint, Secret, TokenError, TokenRequest, async_trait};
/// use hallpass_endpoint::{Assertion, AssertionSource, AuthenticationContext};
///
/// #[derive(Debug)]
/// struct SigningService;
///
/// # impl SigningService {
/// #     async fn sign(&self, _audience: &str) -> Result<String, std::io::Error> { Ok("e30.e30.c2ln".to_owned()) }
/// # }
/// #[async_trait]
/// impl AssertionSource for SigningService {
///     async fn assertion(
///         &self,
///         context: &AuthenticationContext<'_>,
///         _: &TokenRequest,
///     ) -> Result<Assertion, TokenError> {
///         let signed = self.sign(context.token_endpoint()).await;
///         let signed = signed.map_err(|_| TokenError::unavailable("the signing service is unavailable"))?;
///         Ok(Assertion::signed(Secret::new(signed)?))
///     }
/// }
/// ```
#[async_trait]
pub trait AssertionSource: Send + Sync + fmt::Debug {
    /// Returns the assertion for one attempt. Called for each attempt, so a signed assertion is always fresh.
    ///
    /// `request` is the token request: some servers want the scopes in the assertion.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if no assertion can be made;
    /// nothing is sent then.
    async fn assertion(
        &self,
        context: &AuthenticationContext<'_>,
        request: &TokenRequest,
    ) -> Result<Assertion, TokenError>;

    /// Returns a number that changes when the inputs of the assertions change; see
    /// [`TokenSource::credential_epoch`](hallpass_core::TokenSource::credential_epoch).
    fn epoch(&self) -> u64 {
        0
    }

    /// Returns a digest of the inputs of the assertions, such as the public key and the claims that do not differ
    /// between two attempts: the same in each process that has them, and another one after a rotation. See
    /// [`ClientAuthentication::digest`](crate::ClientAuthentication::digest).
    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let _ = client_id;
        None
    }

    /// Returns true if it needs the server's metadata; see
    /// [`ClientAuthentication::needs_discovery`](crate::ClientAuthentication::needs_discovery).
    fn needs_discovery(&self) -> bool {
        false
    }

    /// Reports that the server refused this assertion: drop it, or its key, from any cache.
    ///
    /// The caller then asks for another one, and retries once if an assertion that was [issued](Assertion::issued) differs,
    /// or if one that was [signed](Assertion::signed) comes from another [secret](Assertion::from_secret) or the
    /// [epoch](Self::epoch) changed. Must not block.
    fn refused(&self, assertion: &Assertion) {
        let _ = assertion;
    }
}

/// Forwards every method, including those with a default.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<T: AssertionSource + ?Sized> AssertionSource for $pointer {
            async fn assertion(
                &self,
                context: &AuthenticationContext<'_>,
                request: &TokenRequest,
            ) -> Result<Assertion, TokenError> {
                (**self).assertion(context, request).await
            }

            fn epoch(&self) -> u64 {
                (**self).epoch()
            }

            async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
                (**self).digest(client_id).await
            }

            fn needs_discovery(&self) -> bool {
                (**self).needs_discovery()
            }

            fn refused(&self, assertion: &Assertion) {
                (**self).refused(assertion);
            }
        }
    )+};
}

forward!(Arc<T>, Box<T>);

/// An assertion that another party issues and renews, read from a [`SecretSource`] for each attempt.
#[derive(Clone, Debug)]
pub struct SecretAssertion<S>(S);

impl<S: SecretSource> SecretAssertion<S> {
    /// Creates a source that reads each assertion from `source`. Text that is not a JWT is never sent.
    pub const fn new(source: S) -> Self {
        Self(source)
    }
}

#[async_trait]
impl<S: SecretSource> AssertionSource for SecretAssertion<S> {
    async fn assertion(
        &self,
        _: &AuthenticationContext<'_>,
        _: &TokenRequest,
    ) -> Result<Assertion, TokenError> {
        let secret = self.0.secret().await?;
        if !is_jwt(secret.expose()) {
            // A key or password that was put there by mistake must not be sent.
            return Err(TokenError::configuration(
                "the assertion source returned text that is not a JWT",
            )
            .with_hint("store the JWT alone, without quotes or spaces"));
        }
        Ok(Assertion::issued(secret))
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    async fn digest(&self, _: &str) -> Option<[u8; 32]> {
        let secret = self.0.secret().await.ok()?;
        let assertion = secret.expose().as_bytes();
        Some(credential_digest("assertion", &[assertion]))
    }

    fn refused(&self, assertion: &Assertion) {
        self.0.refused(&assertion.text);
    }
}

/// Returns true if the text is base64url parts between dots: three if signed, five if encrypted.
fn is_jwt(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    text.bytes().all(fit) && (dots == 2 || dots == 4) && !text.starts_with('.')
}

/// The assertion of one attempt. It is a secret until it expires, and is never shown.
#[derive(Clone, Debug)]
pub struct Assertion {
    text: Secret,
    signed: bool,
    provenance: Provenance,
}

impl Assertion {
    /// Creates an assertion issued by another party. If the server refuses it and the source has another one by then,
    /// the request is retried with that one.
    pub fn issued(text: Secret) -> Self {
        Self {
            text,
            signed: false,
            provenance: Provenance::default(),
        }
    }

    /// Creates an assertion signed for this attempt alone, with its own `jti`. If the server refuses it, a new one with
    /// the same content is not tried.
    pub fn signed(text: Secret) -> Self {
        Self {
            signed: true,
            ..Self::issued(text)
        }
    }

    /// Records the secret (such as a key that is reread) that the assertion was made from. After a refusal, the request
    /// is retried once if the secret changed.
    #[must_use]
    pub fn from_secret(mut self, secret: Secret) -> Self {
        self.provenance.secret = Some(secret);
        self
    }

    /// Returns the secret that it was made from, if [recorded](Self::from_secret).
    pub fn secret(&self) -> Option<&Secret> {
        self.provenance.secret.as_ref()
    }

    /// Declares that others are signed with the same key while the [epoch](AssertionSource::epoch) stays the same. After a
    /// refusal, no other one is then created to compare, which saves a signature.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.provenance.fixed = true;
        self
    }

    /// Records the time at which it was issued, for an assertion that is valid only around that time. If the server
    /// refuses it, the error reports by how much the local clock differs from the response's `Date`.
    #[must_use]
    pub fn with_issued_at(mut self, issued_at: SystemTime) -> Self {
        self.provenance.created_at = Some(issued_at);
        self
    }

    /// Sets the hint that is shown if the server refuses it.
    #[must_use]
    pub fn refusal_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.provenance.refusal_hint = Some(hint.into());
        self
    }

    /// Returns the text of the assertion. Pass it only to code that needs it.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    pub(crate) fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    pub(crate) fn differs(&self, refused: &Self, epoch_changed: bool) -> bool {
        if !self.signed {
            return !self.text.matches(&refused.text);
        }
        self.provenance.differs(&refused.provenance, epoch_changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    async fn read(text: &str) -> Result<Assertion, TokenError> {
        let context = AuthenticationContext::new("orders", "https://login.example/token");
        let request = TokenRequest::default();
        let source: Arc<dyn AssertionSource> = Arc::new(SecretAssertion::new(secret(text)));
        source.assertion(&context, &request).await
    }

    // covers: C-50
    #[tokio::test]
    async fn what_is_no_jwt_is_not_sent() {
        for jwt in ["e30.e30.c2ln", "e30..aXY.Y2lwaGVy.dGFn"] {
            assert_eq!(read(jwt).await.unwrap().expose(), jwt);
        }
        for other in [
            "CANARY",
            "CANARY.b",
            "CANARY.b.c.d",
            "CANARY.b.c ",
            "\"CANARY.b.c\"",
            ".CANARY.c",
            "-----BEGIN PRIVATE KEY-----\nCANARY\n",
        ] {
            let error = read(other).await.unwrap_err().to_string();
            assert!(error.contains("not a JWT"), "{error}");
            assert!(!error.contains("CANARY"), "{error}");
        }
    }

    // covers: F-110
    #[test]
    fn assertions_differ_by_text_if_issued_by_origin_if_signed() {
        let [a, b] = ["e30.e30.YQ", "e30.e30.Yg"].map(secret);
        let issued = |text: &Secret| Assertion::issued(text.clone());
        let signed = |text: &Secret| Assertion::signed(text.clone());
        for epoch_changed in [false, true] {
            assert!(issued(&b).differs(&issued(&a), epoch_changed));
            assert!(!issued(&a).differs(&issued(&a), epoch_changed));
            assert_eq!(
                signed(&b).differs(&signed(&a), epoch_changed),
                epoch_changed
            );
            let from = |key: &Secret| signed(&a).from_secret(key.clone());
            assert!(from(&b).differs(&from(&a), epoch_changed));
            assert!(!from(&a).differs(&from(&a), epoch_changed));
        }
    }

    // covers: F-99
    #[test]
    fn debug_shows_no_assertion() {
        let shown = format!(
            "{:?}",
            Assertion::signed(secret("CANARY.b.c")).from_secret(secret("CANARY"))
        );
        assert!(
            shown.contains("signed") && !shown.contains("CANARY"),
            "{shown}"
        );
    }
}
