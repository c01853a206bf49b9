//! Client authentication (RFC 6749 section 2.3).

mod assertion;
mod mtls;
mod none;
mod strongest;

use std::{fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::{Binding, Hint, Secret, SecretAnomaly, SecretSource, TokenError};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

pub use assertion::{Assertion, AssertionSource, SecretAssertion};
pub use mtls::MutualTls;
pub use none::{Anonymous, PublicClient};
pub use strongest::Strongest;

use crate::{BuildError, ClientIdentity, Metadata, hints, server::endpoint::Place};

/// A client authentication method at a token endpoint: an extension point.
///
/// It yields [`Credentials`]: one header or a few form parameters, never both, as a request uses exactly one method
/// (RFC 6749 section 2.3). It is called for each attempt, so an assertion is always fresh.
///
/// ```
/// use hallpass_core::{TokenError, async_trait};
/// use hallpass_endpoint::{AuthenticationContext, ClientAuthentication, Credentials};
///
/// /// A client without a secret of its own: its network address is what the server trusts.
/// #[derive(Debug)]
/// struct Unproven;
///
/// #[async_trait]
/// impl ClientAuthentication for Unproven {
///     async fn credentials(&self, context: &AuthenticationContext<'_>) -> Result<Credentials, TokenError> {
///         Ok(Credentials::parameters([("client_id", context.client_id())]))
///     }
/// }
/// ```
#[async_trait]
pub trait ClientAuthentication: Send + Sync + fmt::Debug {
    /// Returns the credentials for one attempt.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if no credentials can be
    /// made; nothing is sent then.
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError>;

    /// Returns a number that changes when the credentials do; see
    /// [`TokenSource::credential_epoch`](hallpass_core::TokenSource::credential_epoch).
    fn epoch(&self) -> u64 {
        0
    }

    /// Returns the method's name in `token_endpoint_auth_methods_supported` (RFC 7591 section 2), by which
    /// [`Strongest`](crate::Strongest) chooses; `None` if it has none.
    fn method(&self) -> Option<&'static str> {
        None
    }

    /// Returns the algorithm of the assertions that it signs, if known in advance; for the same choice.
    fn algorithm(&self) -> Option<&'static str> {
        None
    }

    /// Reports that the server refused these credentials: drop them, or their secret, from any cache.
    ///
    /// The caller then asks for credentials again, and retries once if they come from another
    /// [secret](Credentials::from_secret) or the [epoch](Self::epoch) changed. An implementation with a
    /// [`SecretSource`] forwards to [`SecretSource::refused`]. Must not block.
    fn refused(&self, credentials: &Credentials) {
        let _ = credentials;
    }
}

/// Forwards every method, including those with a default.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<T: ClientAuthentication + ?Sized> ClientAuthentication for $pointer {
            async fn credentials(
                &self,
                context: &AuthenticationContext<'_>,
            ) -> Result<Credentials, TokenError> {
                (**self).credentials(context).await
            }

            fn epoch(&self) -> u64 {
                (**self).epoch()
            }

            fn method(&self) -> Option<&'static str> {
                (**self).method()
            }

            fn algorithm(&self) -> Option<&'static str> {
                (**self).algorithm()
            }

            fn refused(&self, credentials: &Credentials) {
                (**self).refused(credentials);
            }
        }
    )+};
}

forward!(Arc<T>, Box<T>);

/// The facts of a request that a [`ClientAuthentication`] may use.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticationContext<'a> {
    client_id: &'a str,
    token_endpoint: &'a str,
    metadata: Option<&'a Metadata>,
    allow_utf8: bool,
}

impl<'a> AuthenticationContext<'a> {
    /// Creates a context, for tests of a [`ClientAuthentication`].
    pub fn new(client_id: &'a str, token_endpoint: &'a str) -> Self {
        Self {
            client_id,
            token_endpoint,
            metadata: None,
            allow_utf8: false,
        }
    }

    pub(crate) fn at(client_id: &'a str, place: &'a Place, allow_utf8: bool) -> Self {
        Self {
            client_id,
            token_endpoint: place.token_endpoint().as_str(),
            metadata: place.metadata(),
            allow_utf8,
        }
    }

    /// Returns the `client_id`.
    pub fn client_id(&self) -> &'a str {
        self.client_id
    }

    /// Returns the server's token endpoint: an audience with which the server identifies itself (RFC 7523 section 3).
    ///
    /// The request may go elsewhere: a client with a certificate may have to use another address (RFC 8705 section 5),
    /// and introspection and revocation have endpoints of their own.
    pub fn token_endpoint(&self) -> &'a str {
        self.token_endpoint
    }

    /// Returns the server's metadata, if it was [discovered](crate::Endpoint::discover).
    pub fn metadata(&self) -> Option<&'a Metadata> {
        self.metadata
    }

    /// Adds metadata as if the server had been discovered, for tests.
    #[must_use]
    pub fn with_metadata(mut self, metadata: &'a Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    fn check(&self, secret: &Secret) -> Result<(), TokenError> {
        if self.allow_utf8 || is_visible(secret.expose()) {
            return Ok(());
        }
        if let Some(
            anomaly @ (SecretAnomaly::ControlCharacter
            | SecretAnomaly::Invisible
            | SecretAnomaly::LineBreak),
        ) = secret.anomaly()
        {
            let message = format!(
                "the `client_secret` holds characters outside printable ASCII (RFC 6749 appendix A.2): it {anomaly}"
            );
            return Err(TokenError::configuration(message).with_hint(anomaly.hint()));
        }
        Err(TokenError::configuration(
            "the `client_secret` holds characters outside printable ASCII (RFC 6749 appendix A.2), often a line end that was copied along",
        )
        .with_hint(hints::UTF8))
    }
}

/// Checks the `client_id` against RFC 6749 appendix A.1.
pub(crate) fn check_client_id(client_id: &str, allow_utf8: bool) -> Result<(), BuildError> {
    let wrong = |message: &'static str| Err(BuildError::new("client_id", message));
    if client_id.is_empty() {
        return wrong("it is empty; set it");
    }
    if !allow_utf8 && !is_visible(client_id) {
        return wrong("it holds characters outside printable ASCII (RFC 6749 appendix A.1)")
            .map_err(|error| error.with_hint(hints::UTF8));
    }
    Ok(())
}

/// Returns true if the new value was made from another secret than the old one. If either names no secret, the epoch
/// decides.
pub(crate) fn is_from_another(
    now: Option<&Secret>,
    before: Option<&Secret>,
    epoch_changed: bool,
) -> bool {
    match (now, before) {
        (Some(now), Some(before)) => !now.matches(before),
        _ => epoch_changed,
    }
}

/// Returns true if the text is `*VSCHAR` (RFC 6749 appendix A).
pub(crate) fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The client's credentials for one request: one `Authorization` header or a few form parameters, and optionally a
/// certificate.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) proof: Proof,
    secret: Option<Secret>,
    pub(crate) dated: Option<SystemTime>,
    pub(crate) hint: Option<Hint>,
    identity: Option<ClientIdentity>,
    unbound: bool,
    /// The method of a [`Strongest`](crate::Strongest) that made them.
    pub(crate) offer: Option<usize>,
}

pub(crate) enum Proof {
    Header(HeaderValue),
    Parameters(Vec<(&'static str, Zeroizing<String>)>),
}

impl Credentials {
    /// Creates credentials that are an `Authorization` header, which is marked sensitive.
    pub fn authorization(mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self::new(Proof::Header(value))
    }

    /// Creates credentials that are form parameters.
    pub fn parameters<V: Into<String>>(
        parameters: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        let wiped = |(name, value): (_, V)| (name, Zeroizing::new(value.into()));
        Self::new(Proof::Parameters(
            parameters.into_iter().map(wiped).collect(),
        ))
    }

    /// Records the secret that they were made from. After a refusal, the request is retried once if the secret changed.
    #[must_use]
    pub fn from_secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Returns the secret that they were made from, if [recorded](Self::from_secret).
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// Returns the form parameters, secrets included, for tests of a [`ClientAuthentication`]; none if there is a
    /// header.
    pub fn expose_parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parameters = match &self.proof {
            Proof::Header(_) => [].as_slice(),
            Proof::Parameters(parameters) => parameters,
        };
        let exposed = parameters.iter();
        exposed.map(|(name, value)| (*name, value.as_str()))
    }

    /// Presents this certificate as well, on a separate connection (RFC 8705). Tokens fetched with it are treated as
    /// bound to it.
    #[must_use]
    pub fn with_identity(mut self, identity: ClientIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Returns the certificate that is presented as well.
    pub fn identity(&self) -> Option<&ClientIdentity> {
        self.identity.as_ref()
    }

    /// Declares that the server does not bind tokens to the certificate.
    #[must_use]
    pub fn unbound_tokens(mut self) -> Self {
        self.unbound = true;
        self
    }

    /// Returns the binding of tokens that are fetched with these credentials.
    pub(crate) fn binding(&self) -> Option<&Binding> {
        let identity = self.identity.as_ref().filter(|_| !self.unbound);
        identity.map(ClientIdentity::binding)
    }

    /// Records the time at which they were made, for credentials that are valid only around that time. If the server
    /// refuses them, the error reports by how much the local clock differs from the response's `Date`.
    #[must_use]
    pub fn dated(mut self, made: SystemTime) -> Self {
        self.dated = Some(made);
        self
    }

    /// Sets the hint that is shown if the server refuses them, replacing the one about `client_secret`.
    #[must_use]
    pub fn refusal_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns true if they come from other inputs than the refused ones. An assertion differs each time, so only the
    /// epoch of its maker decides.
    pub(crate) fn differ(&self, refused: &Self, epoch_changed: bool) -> bool {
        is_from_another(self.secret(), refused.secret(), epoch_changed)
    }

    fn new(proof: Proof) -> Self {
        Self {
            proof,
            secret: None,
            dated: None,
            hint: None,
            identity: None,
            unbound: false,
            offer: None,
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(_) => f.write_str("Authorization(..)"),
            Self::Parameters(parameters) => f
                .debug_list()
                .entries(parameters.iter().map(|(name, _)| name))
                .finish(),
        }
    }
}

/// `client_secret_basic`: id and secret in an HTTP Basic header (RFC 6749 section 2.3.1).
///
/// The RFC has both form-encoded before they are joined. Servers that skip the decoding need [`raw`](Self::raw); the
/// two differ only if id or secret contain characters other than letters, digits and `*-._`.
#[derive(Clone, Debug)]
pub struct ClientSecretBasic {
    secret: Arc<dyn SecretSource>,
    encoding: BasicEncoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BasicEncoding {
    Form,
    Raw,
}

impl ClientSecretBasic {
    /// Creates the method with the encoding of RFC 6749. Try this one first.
    ///
    /// A space is written as `%20`, which form and percent decoders both accept; some reject `+`.
    pub fn new(secret: impl SecretSource + 'static) -> Self {
        Self {
            secret: Arc::new(secret),
            encoding: BasicEncoding::Form,
        }
    }

    /// Creates the method with id and secret joined unencoded, for a server that does not decode them.
    ///
    /// A `client_id` that contains a `:` would be ambiguous and is rejected.
    pub fn raw(secret: impl SecretSource + 'static) -> Self {
        Self {
            secret: Arc::new(secret),
            encoding: BasicEncoding::Raw,
        }
    }
}

#[async_trait]
impl ClientAuthentication for ClientSecretBasic {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let secret = self.secret.secret().await?;
        context.check(&secret)?;
        let id = context.client_id();
        let joined = Zeroizing::new(match self.encoding {
            BasicEncoding::Form => format!("{}:{}", form_encode(id), form_encode(secret.expose())),
            BasicEncoding::Raw if id.contains(':') => {
                return Err(TokenError::configuration(
                    "the `client_id` holds a `:`, which raw Basic authentication cannot carry",
                )
                .with_hint(hints::COLON));
            }
            BasicEncoding::Raw => format!("{id}:{}", secret.expose()),
        });
        let header = Zeroizing::new(format!(
            "Basic {}",
            BASE64_STANDARD.encode(joined.as_bytes())
        ));
        let value = HeaderValue::from_str(&header)
            .map_err(|_| TokenError::configuration("the Basic header could not be written"))?;
        let rest = joined
            .strip_prefix(id)
            .and_then(|rest| rest.strip_prefix(':'));
        let plain = self.encoding == BasicEncoding::Raw || rest == Some(secret.expose());
        let credentials = Credentials::authorization(value).from_secret(secret);
        Ok(if plain {
            credentials
        } else {
            credentials.refusal_hint(hints::ENCODING)
        })
    }

    fn method(&self) -> Option<&'static str> {
        Some("client_secret_basic")
    }

    fn epoch(&self) -> u64 {
        self.secret.epoch()
    }

    fn refused(&self, credentials: &Credentials) {
        forget(&*self.secret, credentials);
    }
}

/// `client_secret_post`: id and secret in the form (RFC 6749 section 2.3.1, which prefers Basic).
#[derive(Clone, Debug)]
pub struct ClientSecretPost {
    secret: Arc<dyn SecretSource>,
}

impl ClientSecretPost {
    /// Creates the method with this secret.
    pub fn new(secret: impl SecretSource + 'static) -> Self {
        Self {
            secret: Arc::new(secret),
        }
    }
}

#[async_trait]
impl ClientAuthentication for ClientSecretPost {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let secret = self.secret.secret().await?;
        context.check(&secret)?;
        let parameters = [
            ("client_id", context.client_id()),
            ("client_secret", secret.expose()),
        ];
        Ok(Credentials::parameters(parameters).from_secret(secret))
    }

    fn method(&self) -> Option<&'static str> {
        Some("client_secret_post")
    }

    fn epoch(&self) -> u64 {
        self.secret.epoch()
    }

    fn refused(&self, credentials: &Credentials) {
        forget(&*self.secret, credentials);
    }
}

fn forget(source: &dyn SecretSource, refused: &Credentials) {
    if let Some(secret) = refused.secret() {
        source.refused(secret);
    }
}

/// The characters that RFC 6749 appendix B leaves unencoded.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// Form-encodes the text, with a space as `%20`.
pub(crate) fn form_encode(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, FORM)
}

#[cfg(test)]
mod tests;
