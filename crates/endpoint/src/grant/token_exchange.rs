use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest};

use crate::{
    AuthenticationContext, ClientAuthentication, Endpoint, SecurityToken, SourceBuilder,
    TokenTypeUri, credential_digest, encoding,
    exchange::{form::Form, grant::Grant, source::token_source, token::GrantClient},
    response::{
        token::IssuedTokens,
        wording::{TOKEN_ENDPOINT, Wording},
    },
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A source of tokens in exchange for another token (RFC 8693).
///
/// The subject's token names the subject of the new one. By default this is **impersonation**: an API that receives the
/// new token cannot distinguish this client from the subject. With an [`actor`](SourceBuilder::actor) it is
/// **delegation**: the new token names the subject, and the actor in its `act` claim, so an API can distinguish the two
/// and log both.
///
/// Resources, audiences and scopes are those of the [`TokenRequest`]. A server refuses an invalid or unacceptable token
/// with `invalid_request` (RFC 8693 section 2.2.2), some with `invalid_grant`: both become
/// [`CredentialsRefused`](hallpass_core::ErrorKind::CredentialsRefused). The refusal is reported to the token's source,
/// which is called again; if it returns another token, the request is retried once.
///
/// The new token expires no later than the subject's, if that expiry is known, as for a
/// [source](SecurityToken::from_source). A response without an `issued_token_type`, or with the `token_type` `N_A`, is
/// an error (RFC 8693 section 2.2.1).
///
/// Each call of [`token`](hallpass_core::TokenSource::token) sends a request: wrap it in a cache to share one token between calls.
///
/// ```
/// use hallpass_core::{Secret, TokenSource};
/// use hallpass_endpoint::{ClientSecretBasic, SecurityToken, TokenExchange, TokenTypeUri};
///
/// # fn example(own_tokens: impl TokenSource + 'static, users_token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let basic = ClientSecretBasic::new(Secret::new("s3cr3t")?);
/// let subject = SecurityToken::from_secret(Secret::new(users_token)?, TokenTypeUri::ACCESS_TOKEN);
/// let source = TokenExchange::builder("https://login.example/token", "orders-service", basic, subject)
///     .actor(SecurityToken::from_source(own_tokens))
///     .audience("billing")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Dropping the future of a call drops its request; the connection is closed, or reused if it is still usable.
#[derive(Debug)]
pub struct TokenExchange(GrantClient<TokenExchangeGrant>);

impl TokenExchange {
    /// Creates a builder; the required settings are its arguments.
    pub fn builder(
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
        subject: SecurityToken,
    ) -> SourceBuilder<Self> {
        SourceBuilder::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
            TokenExchangeGrant {
                subject,
                actor: None,
                requested: None,
            },
        )
    }
}

impl SourceBuilder<TokenExchange> {
    /// Sets the actor: delegation instead of impersonation (RFC 8693 section 1.1).
    ///
    /// If the actor's token is itself delegated, the server nests the actors: the newest is outermost.
    pub fn actor(mut self, actor: SecurityToken) -> Self {
        self.grant.actor = Some(actor);
        self
    }

    /// Requests a token of this type; by default the server chooses. It must be usable as an access token:
    /// [`ACCESS_TOKEN`](TokenTypeUri::ACCESS_TOKEN) or [`JWT`](TokenTypeUri::JWT) at most servers.
    pub fn requested_token_type(mut self, token_type: TokenTypeUri) -> Self {
        self.grant.requested = Some(token_type);
        self
    }
}

token_source!(TokenExchange, TokenExchangeGrant);

/// A grant whose inputs are one or two tokens.
#[derive(Debug)]
pub struct TokenExchangeGrant {
    subject: SecurityToken,
    actor: Option<SecurityToken>,
    requested: Option<TokenTypeUri>,
}

impl TokenExchangeGrant {
    #[cfg(feature = "unstable-id-jag")]
    pub(super) fn requesting(subject: SecurityToken, token_type: TokenTypeUri) -> Self {
        Self {
            subject,
            actor: None,
            requested: Some(token_type),
        }
    }

    /// Returns the parties in the order of the form's inputs.
    fn parties(&self) -> impl Iterator<Item = &SecurityToken> {
        std::iter::once(&self.subject).chain(&self.actor)
    }
}

#[async_trait]
impl Grant for TokenExchangeGrant {
    const WORDING: Wording = Wording {
        endpoint: TOKEN_ENDPOINT,
        grant: GRANT,
        input: "the token to exchange",
        input_refusals: &["invalid_request", "invalid_grant"],
        input_refused: "the server refused the exchange",
        input_hint: "check the subject's token (and the actor's): that it has not expired, is meant for this server and is of the type that is named; then the parameters",
    };

    const IDEMPOTENT: bool = false;

    async fn form(
        &self,
        request: &TokenRequest,
        _: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError> {
        let (subject, ends) = self.subject.current("subject").await?;
        let mut pairs = vec![
            ("grant_type", GRANT),
            ("subject_token", subject.expose()),
            ("subject_token_type", self.subject.type_uri()),
        ];
        let actor = match &self.actor {
            Some(actor) => Some((actor.current("actor").await?.0, actor.type_uri())),
            None => None,
        };
        if let Some((token, token_type)) = &actor {
            pairs.push(("actor_token", token.expose()));
            pairs.push(("actor_token_type", token_type));
        }
        if let Some(requested) = &self.requested {
            pairs.push(("requested_token_type", requested.as_str()));
        }
        let body = encoding::token_request(&pairs, request);
        let inputs = std::iter::once(subject).chain(actor.map(|(token, _)| token));
        let mut form = Form::new(body, inputs.collect());
        form.ends = ends;
        Ok(form)
    }

    fn epoch(&self) -> u64 {
        let epochs = self.parties().map(SecurityToken::epoch);
        epochs.fold(0, u64::wrapping_add)
    }

    async fn digests(&self, _: &str) -> Option<Vec<[u8; 32]>> {
        let mut digests = Vec::new();
        for party in self.parties() {
            digests.push(party.digest().await?);
        }
        if let Some(requested) = &self.requested {
            let requested = requested.as_str().as_bytes();
            digests.push(credential_digest("requested_token_type", &[requested]));
        }
        Some(digests)
    }

    /// Reports the refusal to both, as the server does not say which one it refused.
    fn refused(&self, form: &Form) {
        for (party, input) in self.parties().zip(&form.inputs) {
            party.refused(input);
        }
    }

    async fn accept(&self, granted: IssuedTokens, _: &Form) -> Result<AccessToken, TokenError> {
        let token = granted.token?;
        if issued_token_type(&token)? == TokenTypeUri::REFRESH_TOKEN.as_str() {
            return Err(TokenError::unusable_response(
                "the server issued a refresh token, which is not an access token and must not be used as one",
            ));
        }
        Ok(token)
    }
}

/// Returns the type of the token, which the response must have.
pub(super) fn issued_token_type(token: &AccessToken) -> Result<String, TokenError> {
    let named = |(name, _): &(&str, &str)| *name == "issued_token_type";
    if token.extra_members().filter(named).count() > 1 {
        return Err(TokenError::unusable_response(
            "the response has the member `issued_token_type` twice",
        ));
    }
    let issued = token.extra("issued_token_type").map(|json| {
        let text = serde_json::from_str::<String>(json);
        text.unwrap_or_default()
    });
    issued.filter(|issued| !issued.is_empty()).ok_or_else(|| {
        TokenError::unusable_response(
            "the response has no `issued_token_type`, which token exchange requires (RFC 8693 section 2.2.1)",
        )
    })
}
