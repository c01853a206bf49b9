use async_trait::async_trait;
use hallpass_core::{TokenError, TokenRequest};

use crate::{
    AssertionSource, AuthenticationContext, ClientAuthentication, Endpoint, SourceBuilder,
    encoding,
    exchange::{
        form::{Form, Input},
        grant::Grant,
        source::token_source,
        token::GrantClient,
    },
    response::wording::{TOKEN_ENDPOINT, Wording},
};

pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A source of tokens for an assertion, a JWT that names the subject (RFC 7523 section 2.1, RFC 7521 section 4.1).
///
/// For service accounts that sign for themselves, for a server that trusts another server's tokens, and for calls on
/// behalf of a user whose token came in. The client may authenticate as well, or not, with
/// [`Anonymous`](crate::Anonymous).
///
/// Each attempt calls the [`AssertionSource`] again. If the server refuses the assertion (`invalid_grant`), one that
/// another party issued is read again, and the request is retried if it changed.
///
/// Each call of [`token`](hallpass_core::TokenSource::token) sends a request: wrap it in a cache to share one token between calls.
///
/// ```
/// use hallpass_core::{Secret, SecretSource};
/// use hallpass_endpoint::{ClientSecretBasic, JwtBearer, SecretAssertion};
///
/// # fn example(projected: impl SecretSource + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// // `projected` is where the platform writes its JWT: a `FileSecret` of hallpass-secrets.
/// let basic = ClientSecretBasic::new(Secret::new("s3cr3t")?);
/// let source = JwtBearer::builder("https://login.example/token", "orders-service", basic, SecretAssertion::new(projected))
///     .scope("orders.read")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Dropping the future of a call drops its request; the connection is closed, or reused if it is still usable.
#[derive(Debug)]
pub struct JwtBearer(GrantClient<JwtBearerGrant>);

impl JwtBearer {
    /// Creates a builder; the required settings are its arguments.
    pub fn builder(
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
        assertion: impl AssertionSource + 'static,
    ) -> SourceBuilder<Self> {
        SourceBuilder::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
            JwtBearerGrant(Box::new(assertion)),
        )
    }
}

token_source!(JwtBearer, JwtBearerGrant);

/// A grant whose input is an assertion.
#[derive(Debug)]
pub struct JwtBearerGrant(Box<dyn AssertionSource>);

#[async_trait]
impl Grant for JwtBearerGrant {
    const WORDING: Wording = Wording {
        endpoint: TOKEN_ENDPOINT,
        grant: GRANT,
        input: "the assertion",
        input_refusals: &["invalid_grant"],
        input_refused: "the server refused the assertion",
        input_hint: "check that the server trusts the signer of the assertion, and that its issuer, subject, audience and times are those that it expects",
    };

    const IDEMPOTENT: bool = false;

    async fn form(
        &self,
        request: &TokenRequest,
        context: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError> {
        let assertion = self.0.assertion(context, request).await?;
        let pairs = [("grant_type", GRANT), ("assertion", assertion.expose())];
        let body = encoding::token_request(&pairs, request);
        Ok(Form::new(body, vec![Input::Assertion(assertion)]))
    }

    fn needs_discovery(&self) -> bool {
        self.0.needs_discovery()
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    async fn digests(&self, client_id: &str) -> Option<Vec<[u8; 32]>> {
        Some(vec![self.0.digest(client_id).await?])
    }

    fn refused(&self, form: &Form) {
        for assertion in form.assertions() {
            self.0.refused(assertion);
        }
    }
}
