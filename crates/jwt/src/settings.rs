use std::{sync::Arc, time::Duration};

use hallpass_core::{Clock, SystemClock};
use hallpass_endpoint::BuildError;

/// What a signed assertion says, besides who the client is: for whom it is, and for how long.
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
    pub(crate) typ: &'static str,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
pub(crate) enum Audience {
    Issuer(Box<str>),
    Discovered,
    TokenEndpoint,
}

impl AssertionSettings {
    const LONGEST: Duration = Duration::from_secs(300);
    const SHORTEST: Duration = Duration::from_secs(10);

    /// For the authorization server of this issuer identifier, which becomes `aud` as it is written: the `issuer` of
    /// the server's metadata (RFC 8414 section 2), not its token endpoint.
    ///
    /// An assertion for an issuer is of no use at any other server, whatever made this client send it there.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] where it is empty or holds what no identifier does: spaces, control characters, others than
    /// ASCII.
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
                "it holds spaces, control characters or others than ASCII; copy the `issuer` of the server's metadata",
            ));
        }
        Ok(Self::with_audience(Audience::Issuer(issuer.into())))
    }

    /// For the authorization server that the source's endpoint [discovers](hallpass_endpoint::Endpoint::discover): its
    /// issuer identifier is named once, there. With an endpoint that is not discovered, a token request fails.
    pub fn for_discovered_issuer() -> Self {
        Self::with_audience(Audience::Discovered)
    }

    fn with_audience(audience: Audience) -> Self {
        Self {
            audience,
            lifetime: Duration::from_secs(60),
            typ: "client-authentication+jwt",
            clock: Arc::new(SystemClock),
        }
    }

    /// How long an assertion is good for, in whole seconds from its `iat`. Default: 60 seconds. Each attempt has an
    /// assertion of its own, so that it need not last longer than one request.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] where it is shorter than 10 seconds or longer than 5 minutes.
    pub fn lifetime(mut self, lifetime: Duration) -> Result<Self, BuildError> {
        if !(Self::SHORTEST..=Self::LONGEST).contains(&lifetime) {
            return Err(BuildError::new(
                "lifetime",
                "an assertion lives for 10 seconds at least and 5 minutes at most",
            ));
        }
        self.lifetime = lifetime;
        Ok(self)
    }

    /// Writes `typ: JWT` in place of `client-authentication+jwt`, for a server that refuses the newer type.
    ///
    /// The newer one keeps an assertion from being taken for another kind of JWT; most servers do not look at it.
    #[must_use]
    pub fn plain_type(mut self) -> Self {
        self.typ = "JWT";
        self
    }

    /// Writes the URL of the token endpoint as `aud`, in place of the issuer, for an old server that takes nothing
    /// else. A warning is logged.
    ///
    /// The danger: this client then trusts whoever told it the token endpoint. One that a hostile server talks into
    /// another server's URL signs an assertion that is good there.
    #[must_use]
    pub fn danger_token_endpoint_as_audience(mut self) -> Self {
        tracing::warn!(
            "assertions name the token endpoint as their audience, in place of the issuer"
        );
        self.audience = Audience::TokenEndpoint;
        self
    }

    /// Reads time from this clock: a test's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

#[cfg(test)]
mod tests {
    use hallpass_testkit::leak::Capture;

    use super::*;

    // covers: C-47
    #[test]
    fn what_cannot_be_an_issuer_is_refused() {
        for wrong in ["", " ", "https://login.example\n", "https://lögin.example"] {
            let error = AssertionSettings::new(wrong).unwrap_err();
            assert_eq!(error.setting(), "issuer");
        }
        assert!(AssertionSettings::new("https://login.example/tenant").is_ok());
    }

    // covers: C-48
    #[test]
    fn the_lifetime_is_short() {
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

    // covers: C-47
    #[test]
    fn the_loose_audience_is_logged() {
        let capture = Capture::start();
        let settings = AssertionSettings::new("https://login.example").unwrap();
        assert!(!capture.text().contains("WARN"));
        let _ = settings.danger_token_endpoint_as_audience();
        assert!(capture.text().contains("WARN"));
    }
}
