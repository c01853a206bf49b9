use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{
    AccessToken, Secret, SecretError, SecretStore, TokenError, TokenRequest, TokenSource,
};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{
    AuthenticationContext, BuildError, ClientAuthentication, Endpoint, SecurityProfile,
    SourceBuilder, credential_digest, encoding,
    exchange::{
        form::{Form, Input},
        grant::Grant,
        retry::Attempts,
        source::GrantSource,
        token::GrantClient,
    },
    response::{
        token::IssuedTokens,
        wording::{TOKEN_ENDPOINT, Wording},
    },
};

/// The timeout for saving a refresh token. The access token and the next exchange wait for it.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A source of tokens for a refresh token (RFC 6749 section 6) in a [`SecretStore`].
///
/// For a program that acts for a user who signed in once. The first refresh token comes from elsewhere: a sign-in in a
/// browser, a device code, an administrator's page.
///
/// Many servers **rotate** refresh tokens: each use yields a new one and revokes the old one, and reuse of an old one
/// revokes them all. A new refresh token must therefore never be lost:
///
/// - One exchange runs at a time, also for different requests; the others wait and use the new refresh token.
/// - Exchange and saving are one task: dropping a call stops neither it nor the waiting calls.
/// - The new refresh token is saved before the access token is returned, even if that is unusable. If saving fails, it
///   stays in memory and is used from there, a warning is traced, and the next exchange saves it first.
/// - After a response without a refresh token, the old one stays in use.
///
/// If the server refuses the refresh token (`invalid_grant`), the store is read again: another process may have used it
/// and saved a new one, which is then tried once. Otherwise the user must sign in again, and the error says so. Two
/// sources that share a store, in one process or in two, lose nothing when they are used in turn. At the same moment
/// they can use one refresh token twice, which a rotating server treats as theft: share one source, and give each
/// process its own store.
///
/// A request whose response is lost is retried according to [`Retry`](crate::Retry), with the same refresh token: a
/// rotating server accepts that for a short time, and without it the new token in the lost response would be lost. With
/// [`Retry::never`](crate::Retry::never) a refresh token is presented once.
///
/// The scopes of a request must not exceed those of the first sign-in (RFC 6749 section 6), which are the default.
///
/// Each call of [`token`](TokenSource::token) sends a request: wrap it in a cache to share one token between calls.
///
/// ```no_run
/// use hallpass_core::{Secret, SecretStore, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientSecretBasic, RefreshToken};
///
/// # async fn example(store: impl SecretStore + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// // `store` is a `FileSecret` of hallpass-secrets, with the first refresh token in its file.
/// let basic = ClientSecretBasic::new(Secret::new("s3cr3t")?);
/// let source = RefreshToken::builder("https://login.example/token", "reports", basic, store).build()?;
/// let token = source.token(&TokenRequest::default()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Dropping the future of a call gives up its place in the queue and its retries. A started exchange is completed and
/// its result saved. It needs a tokio runtime, and panics outside of one.
pub struct RefreshToken(Arc<GrantClient<RefreshTokenGrant>>);

impl RefreshToken {
    /// Creates a builder; the required settings are its arguments.
    pub fn builder(
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
        store: impl SecretStore + 'static,
    ) -> SourceBuilder<Self> {
        let mut builder = SourceBuilder::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
            RefreshTokenGrant {
                store: Box::new(store),
                turn: Arc::default(),
                unsaved: Mutex::default(),
            },
        );
        builder.rules.keep_refresh_token = true;
        builder
    }
}

/// The state that one call moves into its tasks and back.
struct Call {
    request: TokenRequest,
    tries: Attempts,
    retried: bool,
}

#[async_trait]
impl TokenSource for RefreshToken {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let Self(client) = self;
        let mut call = Call {
            request: request.or(&client.defaults),
            tries: client.server.retry().tries(RefreshTokenGrant::IDEMPOTENT),
            retried: false,
        };
        loop {
            let turn = client.grant.turn.clone().lock_owned();
            let turn = timeout(call.tries.left(), turn).await.map_err(|_| {
                TokenError::unavailable("earlier exchanges took longer than the call's deadline")
            })?;
            let client = client.clone();
            let exchange = async move {
                let Call {
                    request,
                    tries,
                    retried,
                } = &mut call;
                let token_call = client.call(request);
                let result = client.server.attempt(&token_call, retried, tries).await;
                drop(turn);
                (result, call)
            };
            let task = tokio::spawn(exchange.in_current_span());
            let (result, back) = task.await.map_err(|_| {
                TokenError::unavailable(
                    "the exchange was aborted: its runtime shut down, or it panicked",
                )
            })?;
            call = back;
            match result {
                Ok(token) => return Ok(token),
                Err(error) => {
                    let server = &self.0.server;
                    call.tries
                        .after(error, server.host(), server.pause())
                        .await?;
                }
            }
        }
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.0.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        self.0.epoch()
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        self.0.digest().await
    }

    fn binds_tokens(&self) -> bool {
        self.0.binds_tokens()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RefreshToken").field(&*self.0).finish()
    }
}

impl GrantSource for RefreshToken {
    type Grant = RefreshTokenGrant;

    fn from_client(client: GrantClient<RefreshTokenGrant>) -> Self {
        Self(Arc::new(client))
    }
}

/// A grant whose input is a refresh token, which the server may rotate.
pub struct RefreshTokenGrant {
    store: Box<dyn SecretStore>,
    /// The lock for an exchange.
    turn: Arc<tokio::sync::Mutex<()>>,
    unsaved: Mutex<Option<UnsavedToken>>,
}

/// A refresh token that is not in the store yet.
#[derive(Clone)]
struct UnsavedToken {
    new: Secret,
    /// The token that the store still has.
    stored: Secret,
}

impl RefreshTokenGrant {
    /// Returns the current refresh token, and true if it is not in the store yet.
    async fn current(&self) -> Result<(Secret, bool), TokenError> {
        let Some(UnsavedToken { new, stored }) = self.unsaved().clone() else {
            return Ok((self.store.secret().await?, false));
        };
        Ok(match self.store.secret().await {
            // The store was changed since, perhaps after a new sign-in: the unsaved token is older.
            Ok(now) if !now.matches(&stored) => (now, false),
            _ => (new, true),
        })
    }

    /// Saves a new refresh token: in memory first, so that no failure of the store loses it.
    async fn store_new(&self, new: Secret, used: &Secret) {
        {
            let mut unsaved = self.unsaved();
            let stored = unsaved
                .take()
                .map_or_else(|| used.clone(), |last| last.stored);
            *unsaved = Some(UnsavedToken {
                new: new.clone(),
                stored,
            });
        }
        self.save(&new).await;
    }

    async fn save(&self, new: &Secret) {
        let saved = timeout(SAVE_TIMEOUT, self.store.save(new)).await;
        let late = || Err(SecretError::unavailable("the store took too long"));
        match saved.unwrap_or_else(|_| late()) {
            Ok(()) => *self.unsaved() = None,
            Err(error) => {
                tracing::warn!(%error, "new refresh token not saved, and lost if the process ends before the next exchange");
            }
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, Option<UnsavedToken>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RefreshTokenGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokenGrant")
            .field("store", &self.store)
            .field("unsaved", &self.unsaved().is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Grant for RefreshTokenGrant {
    const WORDING: Wording = Wording {
        endpoint: TOKEN_ENDPOINT,
        grant: "refresh_token",
        input: "the refresh token",
        input_refusals: &["invalid_grant"],
        input_refused: "the server refused the refresh token",
        input_hint: "it has expired, was revoked, or was used before: sign in again, and replace the stored refresh token with the new one",
    };

    const IDEMPOTENT: bool = false;

    async fn form(
        &self,
        request: &TokenRequest,
        _: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError> {
        let (secret, is_unsaved) = self.current().await?;
        if is_unsaved {
            self.save(&secret).await;
        } else {
            *self.unsaved() = None;
        }
        let pairs = [
            ("grant_type", Self::WORDING.grant),
            ("refresh_token", secret.expose()),
        ];
        let body = encoding::token_request(&pairs, request);
        Ok(Form::new(body, vec![Input::Secret(secret)]))
    }

    fn epoch(&self) -> u64 {
        self.store.epoch()
    }

    fn check_profile(&self, _: SecurityProfile) -> Result<(), BuildError> {
        Ok(())
    }

    async fn digests(&self, _: &str) -> Option<Vec<[u8; 32]>> {
        let (current, _) = self.current().await.ok()?;
        let current = current.expose().as_bytes();
        Some(vec![credential_digest("refresh_token", &[current])])
    }

    fn refused(&self, form: &Form) {
        for input in &form.inputs {
            if let Input::Secret(secret) = input {
                self.store.refused(secret);
            }
        }
    }

    async fn accept(&self, granted: IssuedTokens, form: &Form) -> Result<AccessToken, TokenError> {
        if let Some(new) = granted.refresh_token
            && let [Input::Secret(used)] = form.inputs.as_slice()
            && !new.matches(used)
        {
            self.store_new(new, used).await;
        }
        granted.token
    }
}
