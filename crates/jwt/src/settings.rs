use std::{borrow::Cow, sync::Arc, time::Duration};

use hallpass_core::{Clock, SystemClock};
use hallpass_endpoint::BuildError;

/// The audience, lifetime and type of signed assertions.
///
/// ```
/// use std::time::Duration;
/// use hallpass_jwt::AssertionSettings;
///
/// let settings = AssertionSettings::new("https://login.example")?.lifetime(Duration::from_secs(120))?;
/// assert!(settings.lifetime(Duration::from_secs(3_600)).is_err());
/// # Ok::<(), hallpass_endpoint::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AssertionSettings {
    pub(crate) audience: Audience,
    pub(crate) lifetime: Duration,
    pub(crate) typ: Cow<'static, str>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
pub(crate) enum Audience {
    Issuer(Box<str>),
    /// Another text that the server documents.
    Other(Box<str>),
    Discovered,
    TokenEndpoint,
}

impl AssertionSettings {
    const MAX_LIFETIME: Duration = Duration::from_secs(300);
    const MIN_LIFETIME: Duration = Duration::from_secs(10);

    /// Creates settings for the authorization server with this issuer identifier, which becomes `aud` verbatim: the
    /// `issuer` of the server's metadata (RFC 8414 section 2), not its token endpoint.
    ///
    /// An assertion for an issuer is useless at any other server, even if this client is tricked into sending it
    /// there.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if it is empty or holds characters that no identifier has: spaces, control characters,
    /// non-ASCII.
    pub fn new(issuer: &str) -> Result<Self, BuildError> {
        if issuer.is_empty() {
            return Err(BuildError::new(
                "issuer",
                "it is empty; set it to the `issuer` of the server's metadata",
            ));
        }
        if !issuer.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BuildError::new(
                "issuer",
                "it has spaces, control characters or non-ASCII characters; copy the `issuer` of the server's metadata",
            ));
        }
        Ok(Self::with_audience(Audience::Issuer(issuer.into())))
    }

    /// Creates settings with this audience, for a server that documents another one than its issuer, such as a fixed URL of
    /// its token endpoint. It must come from the server's documentation, and not from its metadata: unlike an issuer, it is
    /// not compared with anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if it is empty or holds spaces, control characters or non-ASCII characters.
    pub fn for_audience(audience: &str) -> Result<Self, BuildError> {
        if audience.is_empty() || !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BuildError::new(
                "audience",
                "it is empty, or has spaces, control characters or non-ASCII characters",
            ));
        }
        Ok(Self::with_audience(Audience::Other(audience.into())))
    }

    /// Creates settings for the authorization server that the source's endpoint
    /// [discovers](hallpass_endpoint::Endpoint::discover): the issuer identifier is set once, there. With another endpoint,
    /// the source is not built.
    pub fn for_discovered_issuer() -> Self {
        Self::with_audience(Audience::Discovered)
    }

    fn with_audience(audience: Audience) -> Self {
        Self {
            audience,
            lifetime: Duration::from_secs(60),
            typ: "client-authentication+jwt".into(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the lifetime of an assertion, in whole seconds from its `iat`. Default: 60 seconds. Each attempt has an
    /// assertion of its own, so it need not outlive one request.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if it is shorter than 10 seconds or longer than 5 minutes.
    pub fn lifetime(mut self, lifetime: Duration) -> Result<Self, BuildError> {
        if !(Self::MIN_LIFETIME..=Self::MAX_LIFETIME).contains(&lifetime) {
            return Err(BuildError::new(
                "lifetime",
                "the lifetime must be between 10 seconds and 5 minutes",
            ));
        }
        self.lifetime = lifetime;
        Ok(self)
    }

    /// Sets `typ` to `JWT` instead of `client-authentication+jwt`, for a server that refuses the newer type.
    ///
    /// The newer type prevents confusion with other kinds of JWTs; most servers ignore it.
    #[must_use]
    pub fn plain_type(mut self) -> Self {
        self.typ = "JWT".into();
        self
    }

    /// Sets another `typ`, for a server that requires it (RFC 7515 section 4.1.9). Default: `client-authentication+jwt`.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if it is not a media type, or the type of a JWT for another purpose, such as `dpop+jwt` or
    /// `at+jwt`: the assertion could be taken for one.
    pub fn typ(mut self, typ: &str) -> Result<Self, BuildError> {
        check_type(typ).map_err(|why| BuildError::new("typ", why))?;
        self.typ = typ.to_owned().into();
        Ok(self)
    }

    /// Sets `aud` to the URL of the token endpoint instead of the issuer, for an old server that accepts nothing else.
    /// Logs a warning.
    ///
    /// The danger: this client then trusts the source of the token endpoint's URL. A hostile server that passes off
    /// another server's URL as its own gets an assertion that is valid there.
    #[must_use]
    pub fn danger_token_endpoint_as_audience(mut self) -> Self {
        tracing::warn!("assertions name the token endpoint as their audience, not the issuer");
        self.audience = Audience::TokenEndpoint;
        self
    }

    /// Returns true if the audience is in the server's metadata.
    pub(crate) fn needs_discovery(&self) -> bool {
        matches!(self.audience, Audience::Discovered)
    }

    /// Returns the settings that a server may refuse, for a digest of the credentials.
    pub(crate) fn digest_parts(&self) -> [&[u8]; 2] {
        let audience = match &self.audience {
            Audience::Issuer(text) | Audience::Other(text) => text,
            // Not valid as issuers.
            Audience::Discovered => "the discovered issuer",
            Audience::TokenEndpoint => "the token endpoint",
        };
        [audience.as_bytes(), self.typ.as_bytes()]
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

/// The types of JWTs that do not authenticate a client.
const OTHER_TYPES: [&str; 6] = [
    "at+jwt",
    "dpop+jwt",
    "logout+jwt",
    "secevent+jwt",
    "token-introspection+jwt",
    "entity-statement+jwt",
];

/// Checks a media type, with or without `application/` (RFC 6838 section 4.2).
fn check_type(typ: &str) -> Result<(), &'static str> {
    const MAX_LEN: usize = 127;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(legal);
    let fit = match typ.split_once('/') {
        Some((kind, subtype)) => is_name(kind) && is_name(subtype),
        None => is_name(typ),
    };
    if !fit || typ.len() > MAX_LEN {
        return Err("it is not a media type; `JWT` and `client-authentication+jwt` are common");
    }
    let lower = typ.to_ascii_lowercase();
    let subtype = lower.strip_prefix("application/").unwrap_or(&lower);
    if OTHER_TYPES.contains(&subtype) {
        return Err("it is the type of a JWT for another purpose, and not of a client's assertion");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hallpass_testkit::leak::Capture;

    use super::*;

    // covers: C-47
    #[test]
    fn an_invalid_issuer_is_refused() {
        for wrong in ["", " ", "https://login.example\n", "https://lögin.example"] {
            let error = AssertionSettings::new(wrong).unwrap_err();
            assert_eq!(error.setting(), "issuer");
        }
        assert!(AssertionSettings::new("https://login.example/tenant").is_ok());
    }

    // covers: C-48
    #[test]
    fn the_lifetime_is_limited() {
        let settings = AssertionSettings::new("https://login.example").unwrap();
        assert_eq!(settings.lifetime, Duration::from_secs(60));
        for (seconds, fit) in [
            (0, false),
            (9, false),
            (10, true),
            (300, true),
            (301, false),
        ] {
            let lifetime = settings.clone().lifetime(Duration::from_secs(seconds));
            assert_eq!(lifetime.is_ok(), fit, "{seconds}");
        }
    }

    #[test]
    fn a_type_for_another_purpose_is_refused() {
        let settings = || AssertionSettings::new("https://login.example").unwrap();
        let (longest, long) = ("a".repeat(127), "a".repeat(128));
        for (typ, fit) in [
            ("JWT", true),
            ("client-authentication+jwt", true),
            ("application/vnd.acme.login+jwt", true),
            ("", false),
            ("a b", false),
            ("a/b/c", false),
            ("/jwt", false),
            ("JWT\"", false),
            ("dpop+jwt", false),
            ("Application/AT+JWT", false),
            (&longest, true),
            (&long, false),
        ] {
            match settings().typ(typ) {
                Ok(settings) => assert!(fit && settings.typ == typ, "{typ}"),
                Err(error) => assert!(!fit && error.setting() == "typ", "{typ}"),
            }
        }
    }

    // covers: C-47
    #[test]
    fn a_broad_audience_is_logged() {
        let capture = Capture::start();
        let settings = AssertionSettings::new("https://login.example").unwrap();
        assert!(!capture.text().contains("WARN"));
        let _ = settings.danger_token_endpoint_as_audience();
        assert!(capture.text().contains("WARN"));
    }
}
