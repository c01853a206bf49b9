use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;

use crate::{AccessToken, TokenError, TokenRequest};

/// A source of access tokens: the one trait that a provider implements and that everyone else holds, as `Arc<dyn
/// TokenSource>`.
///
/// Callers get their tokens with [`TokenSourceExt::access_token`], which every source has.
///
/// A provider implements [`token`](Self::token) only. A decorator that stores tokens (a cache) overrides
/// [`ready_token`](Self::ready_token) and [`invalidate`](Self::invalidate) too; one that stores none forwards all, as
/// `Arc<T>`, `Box<T>` and `&T` do.
///
/// # Promises
///
/// - A returned token is valid now, for what the request asks for.
/// - Calls may run concurrently.
/// - Errors are classified: [`TokenError::kind`] says who is at fault, [`TokenError::is_transient`] whether a later
///   retry can help.
/// - No secret and no token appears in `Debug`, `Display`, an error's `source()` chain or a log.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// Returns a token that is valid now for `request`.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] whose kind says what to do. A source never returns an expired token, or one of a type that it
    /// does not understand (RFC 6749 section 7.1).
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons this call only: it must not harm other callers or later calls.
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError>;

    /// Returns a token without waiting, if one is cached.
    ///
    /// Callers try it before [`token`](Self::token): a source that stores tokens answers in nanoseconds, without an
    /// allocation. It never returns an expired token. A source that stores none keeps this default.
    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        let _ = request;
        None
    }

    /// Drops `token` if it is the current one, because a resource server refused it; the next call fetches.
    ///
    /// An older token changes nothing, so that a thousand reports of one refusal cost one fetch.
    fn invalidate(&self, token: &AccessToken) {
        let _ = token;
    }

    /// Checks a token from elsewhere as the source checks its own: a cache calls it before it uses a token that another
    /// process, with other settings, put into a shared store.
    ///
    /// A source with rules for its tokens (scopes that must be granted, a token type) applies them here. The default
    /// has none. It must be cheap, and do no I/O.
    ///
    /// # Errors
    ///
    /// The [`TokenError`] that [`token`](Self::token) would return if the server granted this token.
    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        let _ = (request, token);
        Ok(())
    }

    /// Returns a number that changes with the credentials of this source.
    ///
    /// A cache repeats a refusal for a while, so that a wrong secret does not lock an account; a new number ends that
    /// at once. A source whose credentials never change keeps this default. It must be cheap: it is called whenever a
    /// refusal is about to be repeated.
    fn credential_epoch(&self) -> u64 {
        0
    }

    /// Returns a digest of the current credentials: the same in each process that has them, and another one after a
    /// rotation.
    ///
    /// A cache with a shared store records by it which credentials the server refused, or for which it requested a
    /// delay, so that a wrong secret is sent once and not once for each process. A source that keeps the default,
    /// `None`, shares no failures.
    ///
    /// It covers all that a refusal may concern: the credentials, the method by which they are presented, the inputs of
    /// the grant, and what the source adds to each request, such as default scopes. A process whose scopes were corrected
    /// then does not get the refusal of one with the old scopes. It is called before a fetch, and may read the secret, as
    /// [`token`](Self::token) does. A weak secret can be guessed from its digest, so stores encrypt it.
    async fn credential_digest(&self) -> Option<[u8; 32]> {
        None
    }

    /// Returns true if the tokens of this source are bound to this process: to a key that no other process has (DPoP, RFC
    /// 9449) or to a client certificate (RFC 8705).
    ///
    /// A cache with a shared store neither looks for such tokens there, nor lets other processes wait while it fetches
    /// one. The default is false. It must be cheap, and do no I/O.
    fn binds_tokens(&self) -> bool {
        false
    }
}

/// The methods that every [`TokenSource`] has, also behind a pointer and as `dyn TokenSource`.
pub trait TokenSourceExt: TokenSource {
    /// Returns a token that is valid now for `request`: a cached one at once, otherwise as
    /// [`token`](TokenSource::token) does.
    ///
    /// This is the call for a program that uses tokens, of any [`TokenType`](crate::TokenType). With a cached token it
    /// allocates nothing, unlike `token`, whose future is boxed.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use hallpass_core::{TokenError, TokenRequest, TokenSource, TokenSourceExt};
    ///
    /// async fn header(tokens: Arc<dyn TokenSource>) -> Result<http::HeaderValue, TokenError> {
    ///     let token = tokens.access_token(&TokenRequest::default()).await?;
    ///     Ok(token.header_value().clone())
    /// }
    /// # let _ = header;
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`token`](TokenSource::token).
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons this call only, as with [`token`](TokenSource::token).
    #[inline]
    fn access_token(
        &self,
        request: &TokenRequest,
    ) -> impl Future<Output = Result<AccessToken, TokenError>> + Send {
        async move {
            match self.ready_token(request) {
                Some(token) => Ok(token),
                None => self.token(request).await,
            }
        }
    }
}

impl<T: TokenSource + ?Sized> TokenSourceExt for T {}

/// The future of a method of a trait with `#[async_trait]`.
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Forwards every method, including those with a default: a pointer to a cache must be as fast as the cache. The async
/// ones return the future of the source itself, as `#[async_trait]` declares them: a second future would be one more
/// allocation for each pointer.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: TokenSource + ?Sized> TokenSource for $pointer {
            fn token<'this, 'request, 'future>(
                &'this self,
                request: &'request TokenRequest,
            ) -> BoxFuture<'future, Result<AccessToken, TokenError>>
            where
                'this: 'future,
                'request: 'future,
                Self: 'future,
            {
                (**self).token(request)
            }

            fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
                (**self).ready_token(request)
            }

            fn invalidate(&self, token: &AccessToken) {
                (**self).invalidate(token);
            }

            fn check_token(
                &self,
                request: &TokenRequest,
                token: &AccessToken,
            ) -> Result<(), TokenError> {
                (**self).check_token(request, token)
            }

            fn credential_epoch(&self) -> u64 {
                (**self).credential_epoch()
            }

            fn credential_digest<'this, 'future>(
                &'this self,
            ) -> BoxFuture<'future, Option<[u8; 32]>>
            where
                'this: 'future,
                Self: 'future,
            {
                (**self).credential_digest()
            }

            fn binds_tokens(&self) -> bool {
                (**self).binds_tokens()
            }
        }
    )+};
}

forward!(Arc<T>, Box<T>, &T);

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::*;
    use crate::{Clock, SystemClock};

    /// A source that records which of its methods ran.
    #[derive(Default)]
    struct Witness(Mutex<Vec<&'static str>>);

    fn token() -> AccessToken {
        AccessToken::bearer("abc", SystemClock.moment(), Duration::from_secs(60)).unwrap()
    }

    #[async_trait]
    impl TokenSource for Witness {
        async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
            self.0.lock().unwrap().push("token");
            Ok(token())
        }

        fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
            self.0.lock().unwrap().push("ready_token");
            Some(token())
        }

        fn invalidate(&self, _: &AccessToken) {
            self.0.lock().unwrap().push("invalidate");
        }

        fn check_token(&self, _: &TokenRequest, _: &AccessToken) -> Result<(), TokenError> {
            self.0.lock().unwrap().push("check_token");
            Ok(())
        }

        fn credential_epoch(&self) -> u64 {
            self.0.lock().unwrap().push("credential_epoch");
            7
        }

        async fn credential_digest(&self) -> Option<[u8; 32]> {
            self.0.lock().unwrap().push("credential_digest");
            Some([7; 32])
        }

        fn binds_tokens(&self) -> bool {
            self.0.lock().unwrap().push("binds_tokens");
            true
        }
    }

    async fn all_methods(source: impl TokenSource) {
        let request = TokenRequest::default();
        assert!(source.ready_token(&request).is_some());
        let token = source.token(&request).await.unwrap();
        source.invalidate(&token);
        source.check_token(&request, &token).unwrap();
        assert_eq!(source.credential_epoch(), 7);
        assert_eq!(source.credential_digest().await, Some([7; 32]));
        assert!(source.binds_tokens());
    }

    #[tokio::test]
    async fn pointers_forward_every_method() {
        let witness = Arc::new(Witness::default());
        all_methods(&*witness).await;
        all_methods(witness.clone()).await;
        all_methods(witness.clone() as Arc<dyn TokenSource>).await;
        all_methods(Box::new(witness.clone()) as Box<dyn TokenSource>).await;
        let once = [
            "ready_token",
            "token",
            "invalidate",
            "check_token",
            "credential_epoch",
            "credential_digest",
            "binds_tokens",
        ];
        assert_eq!(*witness.0.lock().unwrap(), once.repeat(4));
    }

    #[tokio::test]
    async fn access_token_fetches_only_without_a_ready_token() {
        let witness = Arc::new(Witness::default());
        let source: Arc<dyn TokenSource> = witness.clone();
        source.access_token(&TokenRequest::default()).await.unwrap();
        assert_eq!(*witness.0.lock().unwrap(), ["ready_token"]);

        let token = Minimal.access_token(&TokenRequest::default()).await;
        assert_eq!(token.unwrap().expose(), "abc");
    }

    struct Minimal;

    #[async_trait]
    impl TokenSource for Minimal {
        async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
            Ok(token())
        }
    }

    #[test]
    fn a_provider_holds_no_token_unless_it_says_so() {
        assert!(Minimal.ready_token(&TokenRequest::default()).is_none());
        Minimal.invalidate(&token());
        let request = TokenRequest::default();
        assert!(Minimal.check_token(&request, &token()).is_ok());
        assert_eq!(Minimal.credential_epoch(), 0);
    }
}
