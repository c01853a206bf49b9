//! The Identity Assertion JWT Authorization Grant (ID-JAG) of draft-ietf-oauth-identity-assertion-authz-grant-03: token
//! exchange at an identity provider, then the JWT bearer grant at a resource's authorization server.

use async_trait::async_trait;
use hallpass_core::{AccessToken, Secret, TokenError, TokenRequest};

use super::{
    jwt_bearer::GRANT as JWT_BEARER,
    security_token::{SecurityToken, TokenTypeUri},
    token_exchange::{TokenExchangeGrant, issued_token_type},
};
use crate::{
    Assertion, AuthenticationContext, BuildError, ClientAuthentication, Endpoint, GrantSource,
    Retry, SourceBuilder, encoding,
    exchange::{
        form::{Form, Input},
        grant::Grant,
        source::token_source,
        token::GrantClient,
    },
    response::{
        token::IssuedTokens,
        wording::{TOKEN_ENDPOINT, Wording},
    },
};

/// A source of tokens of another domain's authorization server, on behalf of a user whom both domains know by the same
/// identity provider (draft-ietf-oauth-identity-assertion-authz-grant-03).
///
/// Each attempt sends two requests: the [`IdJagProvider`] exchanges the user's identity assertion for an ID-JAG, a JWT for
/// the authorization server of the API, which then grants the token for it. Scopes, resources, authorization details and
/// extra parameters go to the identity provider, which writes what it grants into the ID-JAG; a request has no audience,
/// since that is the authorization server.
///
/// The new token expires when its server says, independent of the ID-JAG. If the response has no scopes, they are those of
/// the ID-JAG.
///
/// Each call of [`token`](hallpass_core::TokenSource::token) sends requests: wrap it in a cache, one for each user.
///
/// ```
/// use hallpass_core::Secret;
/// use hallpass_endpoint::{ClientSecretBasic, IdJagProvider, IdentityAssertion, SecurityToken, TokenTypeUri};
///
/// # fn example(id_token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let basic = |secret: &str| Ok::<_, hallpass_core::SecretError>(ClientSecretBasic::new(Secret::new(secret)?));
/// let user = SecurityToken::from_secret(Secret::new(id_token)?, TokenTypeUri::ID_TOKEN);
/// let chat = "https://login.chat.example";
/// let provider = IdJagProvider::builder("https://idp.example/token", "wiki", basic("s3cr3t")?, user, chat).build()?;
/// let source = IdentityAssertion::builder("https://login.chat.example/token", "wiki-at-chat", basic("0ther")?, provider)
///     .resource("https://api.chat.example/")
///     .scope("chat.read")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Dropping the future of a call drops its request; the connection is closed, or reused if it is still usable.
#[derive(Debug)]
pub struct IdentityAssertion(GrantClient<IdJagGrant>);

impl IdentityAssertion {
    /// Creates a builder; the required settings are its arguments. The client is that of the API's authorization server,
    /// and the retries are those of both requests.
    pub fn builder(
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
        provider: IdJagProvider,
    ) -> SourceBuilder<Self> {
        let builder = SourceBuilder::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
            IdJagGrant(provider),
        );
        builder.check_defaults(|request| {
            let audience = request.audiences().next();
            audience.map_or(Ok(()), |_| Err(BuildError::new("audience", NO_AUDIENCE)))
        })
    }
}

const NO_AUDIENCE: &str = "the audience is the authorization server, and set at the `IdJagProvider`; set a `resource` instead";

token_source!(IdentityAssertion, IdJagGrant);

/// A client of an identity provider that issues ID-JAGs, for an [`IdentityAssertion`].
#[derive(Debug)]
pub struct IdJagProvider(GrantClient<IdJagExchange>);

impl IdJagProvider {
    /// Creates a builder; the required settings are its arguments. The client is that of the identity provider.
    ///
    /// `subject` is the user's identity assertion, such as an ID token ([`ID_TOKEN`](TokenTypeUri::ID_TOKEN)) or a SAML
    /// assertion, or a refresh token of the provider. `audience` is the issuer identifier of the API's authorization
    /// server, or the provider's own name for it.
    ///
    /// Retries, lifetimes, a clock and `token_type_name` have no effect here: the [`IdentityAssertion`] retries, and an
    /// ID-JAG is used at once and is no access token.
    pub fn builder(
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
        subject: SecurityToken,
        audience: impl AsRef<str>,
    ) -> SourceBuilder<Self> {
        let mut builder = SourceBuilder::<Self>::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
            IdJagExchange(TokenExchangeGrant::requesting(
                subject,
                TokenTypeUri::ID_JAG,
            )),
        );
        builder.rules.is_grant = true;
        builder.audience(audience.as_ref())
    }
}

/// Not a token source: an ID-JAG is not an access token.
impl GrantSource for IdJagProvider {
    type Grant = IdJagExchange;

    fn from_client(client: GrantClient<IdJagExchange>) -> Self {
        Self(client)
    }
}

/// The request to the identity provider.
#[derive(Debug)]
pub struct IdJagExchange(TokenExchangeGrant);

#[async_trait]
impl Grant for IdJagExchange {
    const WORDING: Wording = Wording {
        input: "the identity assertion",
        input_refused: "the identity provider refused the exchange for an ID-JAG",
        input_hint: "check that the identity assertion has not expired and was issued to this client, and that the provider allows this client access to the `audience`",
        ..TokenExchangeGrant::WORDING
    };

    const IDEMPOTENT: bool = TokenExchangeGrant::IDEMPOTENT;

    async fn form(
        &self,
        request: &TokenRequest,
        context: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError> {
        let mut form = self.0.form(request, context).await?;
        // A draft of its own rules how long it is valid; a later expiry than the subject's is not an error.
        form.ends = None;
        Ok(form)
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    async fn digests(&self, client_id: &str) -> Option<Vec<[u8; 32]>> {
        self.0.digests(client_id).await
    }

    fn refused(&self, form: &Form) {
        self.0.refused(form);
    }

    async fn accept(&self, granted: IssuedTokens, _: &Form) -> Result<AccessToken, TokenError> {
        let token = granted.token?;
        if issued_token_type(&token)? == TokenTypeUri::ID_JAG.as_str() {
            return Ok(token);
        }
        Err(TokenError::unusable_response(
            "the response's `issued_token_type` is not that of an ID-JAG, which was requested",
        ))
    }
}

/// The request to the API's authorization server, whose input is the provider's ID-JAG.
#[derive(Debug)]
pub struct IdJagGrant(IdJagProvider);

#[async_trait]
impl Grant for IdJagGrant {
    const WORDING: Wording = Wording {
        endpoint: TOKEN_ENDPOINT,
        grant: JWT_BEARER,
        input: "the ID-JAG",
        input_refusals: &["invalid_grant"],
        input_refused: "the server refused the ID-JAG",
        input_hint: "check that the server trusts the identity provider, that the `audience` is its issuer, and that the provider knows this `client_id`",
    };

    const IDEMPOTENT: bool = false;

    async fn form(
        &self,
        request: &TokenRequest,
        _: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError> {
        if request.audiences().next().is_some() {
            return Err(TokenError::configuration(NO_AUDIENCE));
        }
        // Retries are those of the whole call.
        let id_jag = self.0.0.token_once(request).await?;
        // Not retried after a refusal: another one has the same content.
        let assertion = Assertion::signed(Secret::new(id_jag.expose())?).fixed();
        let pairs = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.expose()),
        ];
        let body = encoding::parameters(&pairs);
        let mut form = Form::new(body, vec![Input::Assertion(assertion)]);
        form.scopes = Some(id_jag.scopes().clone());
        Ok(form)
    }

    fn set_retry(&mut self, retry: Retry) {
        self.0.0.server.set_retry(retry);
    }

    fn epoch(&self) -> u64 {
        self.0.0.epoch()
    }

    async fn digests(&self, _: &str) -> Option<Vec<[u8; 32]>> {
        Some(vec![self.0.0.digest().await?])
    }
}
