use std::{fmt, time::SystemTime};

use hallpass_core::{Binding, Hint, Secret};
use http::HeaderValue;
use zeroize::Zeroizing;

use super::provenance::Provenance;
use crate::ClientIdentity;

/// The client's credentials for one request: one `Authorization` header or a few form parameters, and optionally a
/// certificate.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) presentation: Presentation,
    provenance: Provenance,
    identity: Option<ClientIdentity>,
    unbound: bool,
    /// The method of a [`Strongest`](crate::Strongest) that made them.
    pub(crate) offer: Option<usize>,
}

/// The way in which credentials are sent.
pub(crate) enum Presentation {
    Header(HeaderValue),
    Parameters(Vec<(&'static str, Zeroizing<String>)>),
}

impl Credentials {
    /// Creates credentials that are an `Authorization` header, which is marked sensitive.
    pub fn authorization(mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self::new(Presentation::Header(value))
    }

    /// Creates credentials that are form parameters.
    pub fn parameters<V: Into<String>>(
        parameters: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        let wiped = |(name, value): (_, V)| (name, Zeroizing::new(value.into()));
        Self::new(Presentation::Parameters(
            parameters.into_iter().map(wiped).collect(),
        ))
    }

    /// Records the secret that they were made from. After a refusal, the request is retried once if the secret changed.
    #[must_use]
    pub fn from_secret(mut self, secret: Secret) -> Self {
        self.provenance.secret = Some(secret);
        self
    }

    /// Returns the secret that they were made from, if [recorded](Self::from_secret).
    pub fn secret(&self) -> Option<&Secret> {
        self.provenance.secret.as_ref()
    }

    /// Declares that others come from the same key, or from none, while the
    /// [epoch](crate::ClientAuthentication::epoch) stays the same. After a refusal, no others are then created to compare,
    /// which saves a signature.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.provenance.fixed = true;
        self
    }

    /// Declares that they may be sent more than once, and that the
    /// [epoch](crate::ClientAuthentication::epoch) changes if they are refused for that. The request is then retried with
    /// others, also if those come from the same secret.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.provenance.repeatable = true;
        self
    }

    /// Returns the form parameters, secrets included, for tests of a [`ClientAuthentication`](crate::ClientAuthentication); none if there is a
    /// header.
    pub fn expose_parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parameters = match &self.presentation {
            Presentation::Header(_) => [].as_slice(),
            Presentation::Parameters(parameters) => parameters,
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
    pub fn with_issued_at(mut self, issued_at: SystemTime) -> Self {
        self.provenance.created_at = Some(issued_at);
        self
    }

    /// Sets the hint that is shown if the server refuses them, replacing the one about `client_secret`.
    #[must_use]
    pub fn refusal_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.provenance.refusal_hint = Some(hint.into());
        self
    }

    pub(crate) fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Returns true if they come from other inputs than the refused ones. An assertion differs each time, so only the
    /// epoch of its maker decides.
    pub(crate) fn differ(&self, refused: &Self, epoch_changed: bool) -> bool {
        self.provenance.differs(&refused.provenance, epoch_changed)
    }

    fn new(presentation: Presentation) -> Self {
        Self {
            presentation,
            provenance: Provenance::default(),
            identity: None,
            unbound: false,
            offer: None,
        }
    }
}

impl fmt::Debug for Presentation {
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
