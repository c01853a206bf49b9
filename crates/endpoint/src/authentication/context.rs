use hallpass_core::{Secret, SecretAnomaly, TokenError};

use crate::{BuildError, Metadata, SecurityProfile, hints, server::addresses::ServerAddresses};

/// The facts of a request that a [`ClientAuthentication`](crate::ClientAuthentication) may use.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticationContext<'a> {
    client_id: &'a str,
    token_endpoint: &'a str,
    metadata: Option<&'a Metadata>,
    profile: Option<SecurityProfile>,
    pub(super) allow_utf8: bool,
}

impl<'a> AuthenticationContext<'a> {
    /// Creates a context, for tests of a [`ClientAuthentication`](crate::ClientAuthentication).
    pub fn new(client_id: &'a str, token_endpoint: &'a str) -> Self {
        Self {
            client_id,
            token_endpoint,
            metadata: None,
            profile: None,
            allow_utf8: false,
        }
    }

    pub(crate) fn at(client_id: &'a str, addresses: &'a ServerAddresses, allow_utf8: bool) -> Self {
        Self {
            client_id,
            token_endpoint: addresses.token_endpoint().as_str(),
            metadata: addresses.metadata(),
            profile: None,
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

    /// Returns the security profile of the source, if it has one. The credentials are checked against it after they were
    /// made; an implementation may refuse earlier, such as before it signs.
    pub fn security_profile(&self) -> Option<SecurityProfile> {
        self.profile
    }

    /// Adds the security profile of a source.
    #[must_use]
    pub fn with_security_profile(mut self, profile: impl Into<Option<SecurityProfile>>) -> Self {
        self.profile = profile.into();
        self
    }

    pub(super) fn check(&self, secret: &Secret) -> Result<(), TokenError> {
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
                "the `client_secret` contains characters outside printable ASCII (RFC 6749 appendix A.2): it {anomaly}"
            );
            return Err(TokenError::configuration(message).with_hint(anomaly.hint()));
        }
        Err(TokenError::configuration(
            "the `client_secret` contains characters outside printable ASCII (RFC 6749 appendix A.2), often a line ending that was copied with it",
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
        return wrong("it contains characters outside printable ASCII (RFC 6749 appendix A.1)")
            .map_err(|error| error.with_hint(hints::UTF8));
    }
    Ok(())
}

/// Returns true if the text is `*VSCHAR` (RFC 6749 appendix A).
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
