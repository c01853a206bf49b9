use async_trait::async_trait;
use hallpass_core::{TokenError, TokenRequest};

use crate::{
    AuthenticationContext, BuildError, ClientAuthentication, Endpoint, Requirement,
    SecurityProfile, SourceBuilder, credential_digest, encoding,
    exchange::{form::Form, grant::Grant, source::token_source, token::GrantClient},
    response::wording::{TOKEN_ENDPOINT, Wording},
};

/// A source of tokens with the client credentials grant (RFC 6749 section 4.4).
///
/// Each call of [`token`](hallpass_core::TokenSource::token) sends a request: wrap it in a cache to share one token between calls.
///
/// ```no_run
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::new(std::env::var("CLIENT_SECRET")?)?;
/// let source = ClientCredentials::builder(
///     "https://login.example/oauth/token",
///     "orders-service",
///     ClientSecretBasic::new(secret),
/// )
/// .scope("orders.read")
/// .build()?;
/// let token = source.token(&TokenRequest::default()).await?;
/// println!("granted: {}", token.scopes());
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Dropping the future of a call drops its request; the connection is closed, or reused if it is still usable.
#[derive(Debug)]
pub struct ClientCredentials(GrantClient<ClientCredentialsGrant>);

impl ClientCredentials {
    /// Creates a builder; the required settings are its arguments.
    pub fn builder(
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
    ) -> SourceBuilder<Self> {
        SourceBuilder::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
            ClientCredentialsGrant { grant_type: None },
        )
    }
}

impl SourceBuilder<ClientCredentials> {
    /// Sends another `grant_type` than `client_credentials`: a grant of the server's own (RFC 6749 section 4.5) that needs
    /// no input besides the client's credentials and [`parameter`](Self::parameter)s. The server must allow a request to
    /// be repeated.
    ///
    /// A grant that RFC 6749 or one of its extensions defines is refused here; it has a source of its own.
    pub fn grant_type(mut self, name: &str) -> Self {
        let standard = STANDARD_GRANTS.contains(&name);
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if standard {
            self.note(
                "grant_type",
                &"this is a grant of a standard, which has a source of its own in the library",
            );
        } else if !is_name {
            self.note(
                "grant_type",
                &"it is empty, or has characters other than visible ASCII",
            );
        } else {
            self.grant.grant_type = Some(name.into());
        }
        self
    }
}

/// The grants of RFC 6749, RFC 7522, RFC 7523, RFC 8628 and RFC 8693.
const STANDARD_GRANTS: [&str; 9] = [
    "authorization_code",
    "client_credentials",
    "implicit",
    "password",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];

token_source!(ClientCredentials, ClientCredentialsGrant);

/// A grant without an input besides the client's credentials.
#[derive(Debug)]
pub struct ClientCredentialsGrant {
    /// The `grant_type` of a server's own grant.
    grant_type: Option<Box<str>>,
}

#[async_trait]
impl Grant for ClientCredentialsGrant {
    const WORDING: Wording = Wording::for_client(TOKEN_ENDPOINT, "client_credentials");

    const IDEMPOTENT: bool = true;

    async fn form(
        &self,
        request: &TokenRequest,
        _: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError> {
        let grant_type = self.grant_type.as_deref().unwrap_or(Self::WORDING.grant);
        let pairs = [("grant_type", grant_type)];
        Ok(Form::new(
            encoding::token_request(&pairs, request),
            Vec::new(),
        ))
    }

    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        let fault = "it is a grant of the server's own";
        let own = self.grant_type.as_ref();
        own.map_or(Ok(()), |_| {
            Err(profile.excludes("grant_type", fault, &Requirement::GRANTS))
        })
    }

    async fn digests(&self, _: &str) -> Option<Vec<[u8; 32]>> {
        let own = self.grant_type.as_deref();
        let own = own.map(|name| credential_digest("grant_type", &[name.as_bytes()]));
        Some(own.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hallpass_core::{AccessToken, Clock as _, ErrorKind, Secret, TokenSource as _, TokenType};
    use hallpass_testkit::ManualClock;

    use super::*;
    use crate::{Anonymous, ClientSecretBasic, SourceBuilder};

    #[tokio::test]
    async fn sources_that_request_the_same_have_the_same_digest() {
        type Builder = SourceBuilder<ClientCredentials>;
        let digest = async |change: fn(Builder) -> Builder| {
            let secret = ClientSecretBasic::new(Secret::new("s3cr3t").unwrap());
            let builder = ClientCredentials::builder("https://login.example/token", "id", secret);
            let source = change(builder).build().unwrap();
            source.credential_digest().await.unwrap()
        };
        let mut digests = vec![
            digest(|builder| builder).await,
            digest(|builder| builder.scope("a")).await,
            digest(|builder| builder.scope("a b")).await,
            digest(|builder| builder.audience("a")).await,
            digest(|builder| builder.scope("a").require_granted_scopes()).await,
            digest(|builder| builder.authorization_details(r#"[{"type":"a"}]"#)).await,
            digest(SourceBuilder::require_granted_authorization_details).await,
            digest(|builder| builder.grant_type("own")).await,
            digest(SourceBuilder::json_requests).await,
            digest(|builder| builder.request_header("x-key", Secret::new("a").unwrap())).await,
            digest(|builder| builder.request_header("x-key", Secret::new("b").unwrap())).await,
        ];
        assert_eq!(digest(|builder| builder.scope("b a")).await, digests[2]);
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 11);
    }

    // covers: C-23, F-36
    #[test]
    fn a_token_from_elsewhere_is_checked_as_the_servers_own() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let clock = ManualClock::new();
        let token = |kind, text: &str, scopes: &str| {
            let token = AccessToken::new(kind, text, clock.moment(), HOUR).unwrap();
            token.with_scopes(scopes.parse().unwrap())
        };
        let builder = || {
            ClientCredentials::builder("https://login.example/token", "id", Anonymous)
                .scope("a b")
                .max_token_bytes(9)
                .clock(clock.clone())
        };
        let (any, strict) = (builder(), builder().require_granted_scopes());
        let (any, strict) = (any.build().unwrap(), strict.build().unwrap());
        let default = TokenRequest::new();
        let kind = |source: &ClientCredentials, request, token: &AccessToken| {
            let checked = source.check_token(request, token);
            checked.err().map(|error| error.kind())
        };
        let fewer = token(TokenType::Bearer, "t", "a");
        assert_eq!(kind(&any, &default, &fewer), None);
        assert_eq!(
            kind(&strict, &default, &fewer),
            Some(ErrorKind::RequestRefused)
        );
        let only_a = TokenRequest::new().with_scopes("a".parse().unwrap());
        assert_eq!(kind(&strict, &only_a, &fewer), None);
        assert_eq!(
            kind(&strict, &default, &token(TokenType::Bearer, "t", "b a c")),
            None
        );
        for unusable in [
            token(TokenType::Dpop, "t", "a b"),
            token(TokenType::Bearer, "too-long-a-token", "a b"),
        ] {
            let unusable = kind(&any, &default, &unusable);
            assert_eq!(unusable, Some(ErrorKind::UnusableResponse));
        }
        // A token to which another process gives a longer lifetime.
        let short = builder().max_lifetime(HOUR / 2).build().unwrap();
        assert_eq!(kind(&short, &default, &fewer), None);
        clock.advance(HOUR / 2);
        assert_eq!(
            kind(&short, &default, &fewer),
            Some(ErrorKind::UnusableResponse)
        );
    }
}
