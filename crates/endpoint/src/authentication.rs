//! How a client proves itself (RFC 6749 section 2.3).

use std::{fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::{Binding, Hint, Secret, SecretAnomaly, SecretSource, TokenError};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::{BuildError, ClientIdentity, Metadata, endpoint::Place, hints};

/// How a client proves itself at a token endpoint: an extension point.
///
/// It yields [`Credentials`], which are one header or a few form parameters, never both: exactly one method is used
/// in a request (RFC 6749 section 2.3). It is asked once for each attempt, so that an assertion is fresh every time.
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
    /// The proof for one attempt.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) where the proof cannot be
    /// made; nothing is sent then.
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError>;

    /// A number that changes when the credentials do; see
    /// [`TokenSource::credential_epoch`](hallpass_core::TokenSource::credential_epoch).
    fn epoch(&self) -> u64 {
        0
    }

    /// The name under which servers list this way in `token_endpoint_auth_methods_supported` (RFC 7591 section 2), by
    /// which [`Strongest`](crate::Strongest) chooses; `None` where it has none.
    fn method(&self) -> Option<&'static str> {
        None
    }

    /// The algorithm of the assertions that it signs, where that is known beforehand; for the same choice.
    fn algorithm(&self) -> Option<&'static str> {
        None
    }

    /// The server refused these credentials: whoever remembers what they were made from forgets it.
    ///
    /// The caller asks for credentials again at once. Where they come from another
    /// [secret](Credentials::from_secret), or where the [epoch](Self::epoch) is another one, it tries once more. One
    /// that is made from a [`SecretSource`] forwards to [`SecretSource::refused`]. It returns at once.
    fn refused(&self, credentials: &Credentials) {
        let _ = credentials;
    }
}

/// Forwards every method, the defaulted ones too.
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

/// What a [`ClientAuthentication`] may know of the request that it proves.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticationContext<'a> {
    client_id: &'a str,
    token_endpoint: &'a str,
    metadata: Option<&'a Metadata>,
    allow_utf8: bool,
}

impl<'a> AuthenticationContext<'a> {
    /// A context, for tests of a [`ClientAuthentication`].
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

    /// The `client_id`.
    pub fn client_id(&self) -> &'a str {
        self.client_id
    }

    /// The server's token endpoint: an audience by which the server knows itself (RFC 7523 section 3).
    ///
    /// The request need not go there: a client with a certificate may be asked to use another address (RFC 8705
    /// section 5), and tokens are introspected and revoked at addresses of their own.
    pub fn token_endpoint(&self) -> &'a str {
        self.token_endpoint
    }

    /// What the server says of itself, where it was [discovered](crate::Endpoint::discover).
    pub fn metadata(&self) -> Option<&'a Metadata> {
        self.metadata
    }

    /// As if the server had been discovered, for tests.
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

/// RFC 6749 appendix A.1.
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

/// Is what was made now made from another secret than what was made before? Where either names none, the epoch of its
/// maker tells.
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

/// RFC 6749 appendix A: `*VSCHAR`.
pub(crate) fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The proof that goes with one request: one `Authorization` header or a few form parameters, and perhaps a certificate.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) proof: Proof,
    secret: Option<Secret>,
    pub(crate) dated: Option<SystemTime>,
    pub(crate) hint: Option<Hint>,
    identity: Option<ClientIdentity>,
    unbound: bool,
    /// Which of the ways of a [`Strongest`](crate::Strongest) made them.
    pub(crate) offer: Option<usize>,
}

pub(crate) enum Proof {
    Header(HeaderValue),
    Parameters(Vec<(&'static str, Zeroizing<String>)>),
}

impl Credentials {
    /// Proves the client with an `Authorization` header, which is marked sensitive.
    pub fn authorization(mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self::new(Proof::Header(value))
    }

    /// Proves the client with form parameters.
    pub fn parameters<V: Into<String>>(
        parameters: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        let wiped = |(name, value): (_, V)| (name, Zeroizing::new(value.into()));
        Self::new(Proof::Parameters(
            parameters.into_iter().map(wiped).collect(),
        ))
    }

    /// Says which secret they were made from, so that another one can be told from it after a refusal.
    #[must_use]
    pub fn from_secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// The secret that they were made from, where that was [said](Self::from_secret).
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// The form parameters, secrets and all, for tests of a [`ClientAuthentication`]; none where the proof is a header.
    pub fn expose_parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parameters = match &self.proof {
            Proof::Header(_) => [].as_slice(),
            Proof::Parameters(parameters) => parameters,
        };
        let exposed = parameters.iter();
        exposed.map(|(name, value)| (*name, value.as_str()))
    }

    /// Presents this certificate along with them, on a connection of its own (RFC 8705). The tokens that are got with
    /// it are taken as bound to it.
    #[must_use]
    pub fn with_identity(mut self, identity: ClientIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The certificate that is presented along with them.
    pub fn identity(&self) -> Option<&ClientIdentity> {
        self.identity.as_ref()
    }

    /// Says that the server binds no tokens to the certificate.
    #[must_use]
    pub fn unbound_tokens(mut self) -> Self {
        self.unbound = true;
        self
    }

    /// What the tokens are bound to that are got with them.
    pub(crate) fn binding(&self) -> Option<&Binding> {
        let identity = self.identity.as_ref().filter(|_| !self.unbound);
        identity.map(ClientIdentity::binding)
    }

    /// Says that they hold only around the time of day at which they were made, which is this. Where the server
    /// refuses them, its `Date` tells whether this machine's clock is off, and the error says by how much.
    #[must_use]
    pub fn dated(mut self, made: SystemTime) -> Self {
        self.dated = Some(made);
        self
    }

    /// Says what to check where the server refuses them, in place of the hint about `client_secret`.
    #[must_use]
    pub fn refusal_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Are they made from others than those that were refused? An assertion is another one each time: only its maker
    /// can tell, by the epoch.
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
/// The RFC has both form-encoded before they are joined. Servers that skip the decoding need
/// [`raw`](Self::raw); the two differ only where id or secret hold other than letters, digits and `*-._`.
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
    /// Encodes as RFC 6749 asks: the one to start with.
    ///
    /// A space is written `%20`, which every decoder reads, form or percent; `+` is refused by some.
    pub fn new(secret: impl SecretSource + 'static) -> Self {
        Self {
            secret: Arc::new(secret),
            encoding: BasicEncoding::Form,
        }
    }

    /// Joins id and secret as they are, for a server that decodes nothing.
    ///
    /// A `client_id` with a `:` cannot be told from its secret then, and is refused.
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
        let plain = self.encoding == BasicEncoding::Raw || {
            let raw = id.len() + ":".len() + secret.expose().len();
            joined.len() == raw
        };
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
    /// Sends this secret along in the form.
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

/// What RFC 6749 appendix B leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// Form-encodes, with a space as `%20`.
pub(crate) fn form_encode(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, FORM)
}

#[cfg(test)]
mod tests;
