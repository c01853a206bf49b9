use std::{fmt, sync::Arc};

use hallpass_core::ScopeSet;

/// A method of client authentication that the [`AuthorizationServer`](crate::AuthorizationServer) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMethod {
    /// `client_secret_basic`, form-decoded as in RFC 6749 section 2.3.1.
    Basic,
    /// `client_secret_basic` at a server that decodes nothing after the base64.
    BasicRaw,
    /// `client_secret_post`.
    Post,
    /// `private_key_jwt` or `client_secret_jwt`; see [`Client::assertions`].
    Assertion,
}

/// A client that the [`AuthorizationServer`](crate::AuthorizationServer) knows.
#[derive(Clone)]
pub struct Client {
    pub(crate) id: String,
    /// The accepted secrets.
    pub(crate) secrets: Vec<String>,
    pub(crate) scopes: ScopeSet,
    pub(crate) methods: Vec<AuthMethod>,
    pub(crate) verify: Option<Verify>,
}

/// A function that returns true if an assertion is signed with a secret.
pub(crate) type Verify = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

impl Client {
    /// Creates a client without scopes that may use [`AuthMethod::Basic`] and [`AuthMethod::Post`].
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self {
            id: client_id.into(),
            secrets: vec![client_secret.into()],
            scopes: ScopeSet::EMPTY,
            methods: vec![AuthMethod::Basic, AuthMethod::Post],
            verify: None,
        }
    }

    /// Accepts signed assertions of this client as well (RFC 7523).
    ///
    /// `verify` takes an assertion in compact form and a secret of the client, and returns true if the assertion is
    /// signed with it: the testkit has no cryptography. For a public key it ignores the secret, or reads the key in
    /// its place. The server checks everything else: the audience, the times, and replay.
    #[must_use]
    pub fn assertions(
        mut self,
        verify: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.verify = Some(Arc::new(verify));
        self.methods.push(AuthMethod::Assertion);
        self
    }

    pub(crate) fn signed(&self, assertion: &str) -> bool {
        let mut secrets = self.secrets.iter();
        let verify = self.verify.as_ref();
        verify.is_some_and(|verify| secrets.any(|secret| verify(assertion, secret)))
    }

    /// Sets the scopes that the client may have, space-separated; it gets all of them if it requests none.
    ///
    /// # Panics
    ///
    /// If these are no scopes.
    #[must_use]
    pub fn scopes(mut self, scopes: &str) -> Self {
        // A typo in a test must stop the test.
        self.scopes = scopes
            .parse()
            .unwrap_or_else(|error| panic!("scopes of a test's client: {error}"));
        self
    }

    /// Sets the client's authentication methods.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = AuthMethod>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("scopes", &self.scopes)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}
