use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use hallpass_core::{TextFilter, TokenError};

use super::{
    context::AuthenticationContext, credentials::Credentials, digest::credential_digest,
    method::ClientAuthentication,
};
use crate::{BuildError, Metadata, SecurityProfile};

/// The client authentication methods, strongest first (RFC 9700 section 2.5 recommends the asymmetric ones).
const METHODS_BY_STRENGTH: [&str; 9] = [
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "spiffe_x509",
    "private_key_jwt",
    "spiffe_jwt",
    "client_secret_jwt",
    "client_secret_basic",
    "client_secret_post",
    "none",
];

/// A set of client authentication methods, of which the strongest one that the server supports is used.
///
/// The server's methods are in its metadata, so this is for an endpoint that is
/// [discovered](crate::Endpoint::discover); otherwise the strongest of all is used. From strong to weak: certificates,
/// `private_key_jwt`, `client_secret_jwt`, `client_secret_basic`, `client_secret_post`, `none`; a method without such a
/// name comes last. The choice is traced, and returned by [`last_method`](Self::last_method).
///
/// Most servers register a client for one method: this is for migrating a fleet from one method to another, and for
/// programs that do not know their server. After a refusal, no weaker method is tried.
///
/// ```
/// use hallpass_core::Secret;
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, ClientSecretPost, Endpoint, Strongest};
///
/// let secret = Secret::new("s3cr3t")?;
/// let authentication = Strongest::new(ClientSecretPost::new(secret.clone())).or(ClientSecretBasic::new(secret));
/// let login = Endpoint::discover("https://login.example").build()?;
/// let source = ClientCredentials::builder(login, "orders-service", authentication.clone()).build()?;
/// // Known after the first token request.
/// assert_eq!(authentication.last_method(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Strongest {
    /// The methods, strongest first.
    offers: Arc<Vec<Arc<dyn ClientAuthentication>>>,
    chosen: Arc<AtomicUsize>,
}

const NO_METHOD: usize = usize::MAX;

impl Strongest {
    /// Creates a set with one method.
    pub fn new(way: impl ClientAuthentication + 'static) -> Self {
        Self {
            offers: Arc::new(vec![Arc::new(way)]),
            chosen: Arc::new(AtomicUsize::new(NO_METHOD)),
        }
    }

    /// Adds another method. Of two equally strong ones, the first is used.
    #[must_use]
    pub fn or(self, way: impl ClientAuthentication + 'static) -> Self {
        let mut offers = (*self.offers).clone();
        offers.push(Arc::new(way));
        offers.sort_by_key(|offer| strength(&**offer));
        Self {
            offers: Arc::new(offers),
            chosen: Arc::new(AtomicUsize::new(NO_METHOD)),
        }
    }

    /// Returns the name of the method used last; `None` before the first token request, or if it has no name.
    pub fn last_method(&self) -> Option<&'static str> {
        self.current()?.method()
    }

    fn current(&self) -> Option<&dyn ClientAuthentication> {
        let offer = self.offers.get(self.chosen.load(Ordering::Relaxed))?;
        Some(&**offer)
    }

    fn choose(&self, context: &AuthenticationContext<'_>) -> Result<usize, TokenError> {
        if let Some(metadata) = context.metadata() {
            metadata.require("token_endpoint_auth_methods_supported")?;
        }
        let fit = |offer: &Arc<_>| fits(&**offer, context.metadata());
        let at = self.offers.iter().position(fit).ok_or_else(|| {
            let offered: Vec<_> = self
                .offers
                .iter()
                .filter_map(ClientAuthentication::method)
                .collect();
            let metadata = context.metadata().into_iter();
            let taken: Vec<_> = metadata
                .flat_map(Metadata::token_endpoint_auth_methods)
                .collect();
            TokenError::configuration(format!(
                "the server supports none of the authentication methods of this client, `{}`",
                offered.join("`, `")
            ))
            .with_hint(format!(
                "the server's metadata names `{}`",
                TextFilter::new().clean(&taken.join("`, `"))
            ))
        })?;
        let offer = &self.offers[at];
        if self.chosen.swap(at, Ordering::Relaxed) != at {
            tracing::info!(
                method = offer.method(),
                algorithm = offer.algorithm(),
                discovered = context.metadata().is_some(),
                "client authentication chosen"
            );
        }
        Ok(at)
    }
}

fn strength(offer: &dyn ClientAuthentication) -> usize {
    let method = offer.method();
    let place = METHODS_BY_STRENGTH
        .iter()
        .position(|known| method == Some(known));
    place.unwrap_or(METHODS_BY_STRENGTH.len())
}

fn fits(offer: &dyn ClientAuthentication, metadata: Option<&Metadata>) -> bool {
    let (Some(metadata), Some(method)) = (metadata, offer.method()) else {
        // Without metadata, nothing rules it out.
        return true;
    };
    let algorithm = offer.algorithm();
    metadata
        .token_endpoint_auth_methods()
        .any(|known| known == method)
        && algorithm.is_none_or(|by| metadata.supports_assertion_algorithm(by).unwrap_or(true))
}

#[async_trait]
impl ClientAuthentication for Strongest {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let at = self.choose(context)?;
        let mut credentials = self.offers[at].credentials(context).await?;
        credentials.offer = Some(at);
        Ok(credentials)
    }

    fn epoch(&self) -> u64 {
        let epochs = self.offers.iter().map(ClientAuthentication::epoch);
        epochs.fold(0, u64::wrapping_add)
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        // Which method is used is not known before the first request: a change of any of them is a change.
        let mut digests = Vec::new();
        for offer in &*self.offers {
            match offer.digest(client_id).await {
                Some(digest) => digests.push(digest),
                None => return self.current()?.digest(client_id).await,
            }
        }
        let parts: Vec<&[u8]> = digests.iter().map(<[u8; 32]>::as_slice).collect();
        Some(credential_digest("strongest", &parts))
    }

    fn binds_tokens(&self) -> bool {
        let all = || self.offers.iter().all(ClientAuthentication::binds_tokens);
        self.current()
            .map_or_else(all, ClientAuthentication::binds_tokens)
    }

    fn method(&self) -> Option<&'static str> {
        self.last_method()
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.current()?.algorithm()
    }

    /// Without metadata, the strongest one is used.
    fn needs_discovery(&self) -> bool {
        self.offers[0].needs_discovery()
    }

    /// Each method must satisfy it: which one is used is not known yet.
    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        let mut offers = self.offers.iter();
        offers.try_for_each(|offer| offer.check_profile(profile))
    }

    fn refused(&self, credentials: &Credentials) {
        // Not the most recent choice: clones of this may be used at another server.
        let offer = credentials.offer.and_then(|at| self.offers.get(at));
        if let Some(offer) = offer {
            offer.refused(credentials);
        }
    }
}

#[cfg(test)]
mod tests {
    use hallpass_core::Secret;
    use hallpass_testkit::leak::Capture;

    use super::*;
    use crate::{ClientSecretBasic, ClientSecretPost, PublicClient};

    /// A method with this name and algorithm.
    #[derive(Debug)]
    struct TestMethod(&'static str, Option<&'static str>);

    #[async_trait]
    impl ClientAuthentication for TestMethod {
        async fn credentials(
            &self,
            _: &AuthenticationContext<'_>,
        ) -> Result<Credentials, TokenError> {
            Ok(Credentials::parameters([("client_id", self.0)]))
        }

        fn method(&self) -> Option<&'static str> {
            Some(self.0)
        }

        fn algorithm(&self) -> Option<&'static str> {
            self.1
        }
    }

    fn all() -> Strongest {
        let secret = Secret::new("CANARY-s3cr3t").unwrap();
        Strongest::new(PublicClient::new())
            .or(ClientSecretPost::new(secret.clone()))
            .or(TestMethod("private_key_jwt", Some("ES256")))
            .or(ClientSecretBasic::new(secret))
    }

    async fn chosen(
        authentication: &Strongest,
        metadata: Option<&str>,
    ) -> Result<Option<&'static str>, TokenError> {
        let metadata = metadata.map(|more| {
            let json = format!(r#"{{"issuer":"https://a.example"{more}}}"#);
            Metadata::read(json.as_bytes()).unwrap()
        });
        let context = AuthenticationContext::new("id", "https://a.example/t");
        let context = match &metadata {
            None => context,
            Some(metadata) => context.with_metadata(metadata),
        };
        authentication.credentials(&context).await?;
        Ok(authentication.last_method())
    }

    // covers: C-39, C-41, C-56
    #[tokio::test]
    async fn the_strongest_that_both_sides_have_is_taken() {
        let methods = |list: &str| format!(r#","token_endpoint_auth_methods_supported":[{list}]"#);
        let signed = |by: &str| {
            let list = methods(r#""private_key_jwt","client_secret_post""#);
            format!(r#"{list},"token_endpoint_auth_signing_alg_values_supported":["{by}"]"#)
        };
        for (said, expect) in [
            (None, "private_key_jwt"),
            (Some(String::new()), "client_secret_basic"),
            (
                Some(methods(r#""none","client_secret_post""#)),
                "client_secret_post",
            ),
            (
                Some(methods(r#""client_secret_basic","private_key_jwt""#)),
                "private_key_jwt",
            ),
            (Some(methods(r#""none","tls_client_auth""#)), "none"),
            (Some(signed("ES256")), "private_key_jwt"),
            (Some(signed("RS256")), "client_secret_post"),
        ] {
            let authentication = all();
            let taken = chosen(&authentication, said.as_deref()).await.unwrap();
            assert_eq!(taken, Some(expect), "{said:?}");
            assert_eq!(authentication.method(), Some(expect));
        }
    }

    /// A method that counts the reported refusals.
    #[derive(Debug, Default)]
    struct Counting(&'static str, AtomicUsize);

    #[async_trait]
    impl ClientAuthentication for Counting {
        async fn credentials(
            &self,
            _: &AuthenticationContext<'_>,
        ) -> Result<Credentials, TokenError> {
            Ok(Credentials::parameters([("client_id", self.0)]))
        }

        fn method(&self) -> Option<&'static str> {
            Some(self.0)
        }

        fn refused(&self, _: &Credentials) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    // covers: C-42
    #[tokio::test]
    async fn a_refusal_reaches_the_method_that_made_the_credentials() {
        let [jwt, post] = ["private_key_jwt", "client_secret_post"]
            .map(|name| Arc::new(Counting(name, AtomicUsize::default())));
        let authentication = Strongest::new(jwt.clone()).or(post.clone());
        let of = async |method: &str| {
            let metadata = format!(
                r#"{{"issuer":"https://a.example","token_endpoint_auth_methods_supported":["{method}"]}}"#
            );
            let metadata = Metadata::read(metadata.as_bytes()).unwrap();
            let context = AuthenticationContext::new("id", "https://a.example/t");
            let context = context.with_metadata(&metadata);
            authentication.clone().credentials(&context).await.unwrap()
        };
        let one = of("private_key_jwt").await;
        let other = of("client_secret_post").await;
        let counts = || [&jwt, &post].map(|way| way.1.load(Ordering::Relaxed));
        authentication.refused(&one);
        assert_eq!(counts(), [1, 0]);
        authentication.refused(&other);
        assert_eq!(counts(), [1, 1]);
    }

    #[tokio::test]
    async fn a_digest_follows_each_method_before_a_choice() {
        let secret = |text: &str| Secret::new(text).unwrap();
        let authentication = |basic: &str, post: &str| {
            let basic = ClientSecretBasic::new(secret(basic));
            Strongest::new(ClientSecretPost::new(secret(post))).or(basic)
        };
        let (one, other) = (authentication("a", "b"), authentication("a", "b"));
        let digest = one.digest("id").await;
        assert!(digest.is_some());
        chosen(&one, None).await.unwrap();
        assert_eq!(one.digest("id").await, digest);
        assert_eq!(other.digest("id").await, digest);
        for changed in [
            authentication("c", "b"),
            authentication("a", "c"),
            authentication("b", "a"),
        ] {
            assert_ne!(changed.digest("id").await, digest);
        }
        // Of a method without a digest, nothing is known before the choice.
        let some = authentication("a", "b").or(PublicClient::new());
        assert_eq!(some.digest("id").await, None);
        chosen(&some, None).await.unwrap();
        let basic = ClientSecretBasic::new(secret("a"));
        assert_eq!(some.digest("id").await, basic.digest("id").await);
    }

    #[tokio::test]
    async fn it_says_which_and_where_there_is_none() {
        let capture = Capture::start();
        let authentication = all();
        chosen(&authentication, None).await.unwrap();
        chosen(&authentication, None).await.unwrap();
        assert_eq!(
            capture
                .text()
                .matches("client authentication chosen")
                .count(),
            1
        );
        assert!(capture.text().contains("private_key_jwt") && capture.text().contains("ES256"));

        let error = chosen(
            &authentication,
            Some(r#","token_endpoint_auth_methods_supported":["tls_client_auth"]"#),
        )
        .await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), hallpass_core::ErrorKind::Configuration);
        let text = error.to_string();
        assert!(
            text.contains("`private_key_jwt`") && text.contains("`tls_client_auth`"),
            "{text}"
        );
        assert!(!format!("{authentication:?} {text} {}", capture.text()).contains("CANARY"));
    }
}
