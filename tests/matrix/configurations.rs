//! Adapters, authentication methods and decorators, and the construction of each source.

use std::{sync::Arc, time::Duration};

use hallpass::{
    ErrorKind, Secret, SecretError, SecretSource, TokenSource, async_trait,
    cache::{CachedTokenSource, MemoryTokenStore},
    camall::{self, Camall},
    endpoint::{
        Anonymous, AuthenticationContext, ClientAuthentication as _, ClientCredentials,
        ClientSecretBasic, ClientSecretPost, HttpTransport, HttpTransportBuilder, JwtBearer,
        RefreshToken, Retry, SecurityToken, TokenExchange, TokenTypeUri,
    },
    jwt::{AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SignedAssertion, WorkloadIdentity},
    secrets::MemorySecret,
};

use hallpass_testkit::{
    AuthMethod,
    faults::{Answer, Body, Expected, FaultyResponse},
};

use crate::{assertions, tls_front::TlsFront};

pub(crate) const ID: &str = "orders-service";
/// A canary that every output is searched for.
pub(crate) const SECRET: &str = "s3cr3t-canary+of/the whole matrix";
/// The subject token of a token exchange, a JWT to the server.
pub(crate) const SUBJECT: &str = "subject-canary+of/the whole matrix";
/// The initial refresh token.
pub(crate) const REFRESH: &str = "refresh-canary+of/the whole matrix";
pub(crate) const SCOPES: &str = "orders.read orders.write";

pub(crate) struct Configuration {
    adapter: Adapter,
    authentication: Authentication,
    decorator: Decorator,
}

#[derive(Clone, Copy, PartialEq)]
enum Adapter {
    Camall,
    Endpoint,
    JwtBearer,
    RefreshToken,
    TokenExchange,
}

#[derive(Clone, Copy, PartialEq)]
enum Authentication {
    Anonymous,
    Basic,
    BasicRaw,
    Post,
    PrivateKey,
    SecretJwt,
    MutualTls,
    Workload,
}

#[derive(Clone, Copy, PartialEq)]
enum Decorator {
    None,
    Cache,
    CacheWithStore,
}

const fn configuration(
    adapter: Adapter,
    authentication: Authentication,
    decorator: Decorator,
) -> Configuration {
    Configuration {
        adapter,
        authentication,
        decorator,
    }
}

use Adapter as A;
use Authentication as M;
use Decorator as D;

pub(crate) const CONFIGURATIONS: &[Configuration] = &[
    configuration(A::Camall, M::Post, D::None),
    configuration(A::Camall, M::Basic, D::None),
    configuration(A::Endpoint, M::Post, D::None),
    configuration(A::Endpoint, M::Basic, D::None),
    configuration(A::Endpoint, M::BasicRaw, D::None),
    configuration(A::Endpoint, M::PrivateKey, D::None),
    configuration(A::Endpoint, M::SecretJwt, D::None),
    configuration(A::Endpoint, M::Workload, D::None),
    configuration(A::Endpoint, M::MutualTls, D::None),
    configuration(A::JwtBearer, M::Anonymous, D::None),
    configuration(A::RefreshToken, M::Basic, D::None),
    configuration(A::TokenExchange, M::Basic, D::None),
    configuration(A::Camall, M::Post, D::Cache),
    configuration(A::Camall, M::Basic, D::Cache),
    configuration(A::Endpoint, M::Post, D::Cache),
    configuration(A::Endpoint, M::Basic, D::Cache),
    configuration(A::Endpoint, M::BasicRaw, D::Cache),
    configuration(A::Endpoint, M::PrivateKey, D::Cache),
    configuration(A::Endpoint, M::MutualTls, D::Cache),
    configuration(A::JwtBearer, M::Anonymous, D::Cache),
    configuration(A::RefreshToken, M::Basic, D::Cache),
    configuration(A::TokenExchange, M::Basic, D::Cache),
    configuration(A::Endpoint, M::Basic, D::CacheWithStore),
];

/// Builds a source without retries. A macro, because the builders' common trait is not public.
macro_rules! finish {
    ($builder:expr, $settings:expr, $limit:expr) => {
        $builder
            .danger_allow_http_on_loopback()
            .transport(transport($settings, $limit))
            .retry(Retry::never())
            .scope(SCOPES)
            .build()
            .unwrap()
    };
}

impl Configuration {
    pub(crate) fn name(&self) -> String {
        let adapter = match self.adapter {
            A::Camall => "camall",
            A::Endpoint => "endpoint",
            A::JwtBearer => "jwt_bearer",
            A::RefreshToken => "refresh_token",
            A::TokenExchange => "token_exchange",
        };
        let authentication = match self.authentication {
            M::Anonymous => "anonymous",
            M::Basic => "basic",
            M::BasicRaw => "basic_raw",
            M::Post => "post",
            M::PrivateKey => "private_key_jwt",
            M::SecretJwt => "secret_jwt",
            M::MutualTls => "mutual_tls",
            M::Workload => "workload_identity",
        };
        let decorator = match self.decorator {
            D::None => "plain",
            D::Cache => "cached",
            D::CacheWithStore => "cached_store",
        };
        format!("{adapter}_{authentication}_{decorator}")
    }

    /// Returns the method by which the server must read the credentials.
    pub(crate) fn method(&self) -> AuthMethod {
        match self.authentication {
            M::Basic => AuthMethod::Basic,
            M::BasicRaw => AuthMethod::BasicRaw,
            // The front authenticates the client to the server by its secret.
            M::Post | M::MutualTls => AuthMethod::Post,
            // The issuer of an anonymous client's assertion is registered as one that signs its own.
            M::Anonymous | M::PrivateKey | M::SecretJwt | M::Workload => AuthMethod::Assertion,
        }
    }

    /// Returns the client's expected authentication method, if any.
    pub(crate) fn proof(&self) -> Option<AuthMethod> {
        (self.authentication != M::Anonymous).then(|| self.method())
    }

    /// Returns the kind of the permanent error that a response means for this grant, if it differs from client
    /// credentials.
    pub(crate) fn instead(&self, fault: &FaultyResponse) -> Option<ErrorKind> {
        let refused: &[&str] = match self.adapter {
            A::Camall | A::Endpoint => &[],
            A::JwtBearer | A::RefreshToken => &["invalid_grant"],
            A::TokenExchange => &["invalid_grant", "invalid_request"],
        };
        let is_code = |code: &&str| match fault.answer {
            Answer::Http {
                body: Body::Text(text),
                ..
            } => text.contains(&format!(r#""error":"{code}""#)),
            _ => false,
        };
        match fault.expected {
            // No response in the list contains `issued_token_type`.
            Expected::Token { .. } if self.adapter == A::TokenExchange => {
                Some(ErrorKind::UnusableResponse)
            }
            Expected::Error {
                kind: ErrorKind::RequestRefused,
                ..
            } if refused.iter().any(is_code) => Some(ErrorKind::CredentialsRefused),
            _ => None,
        }
    }

    pub(crate) fn caches(&self) -> bool {
        self.decorator != D::None
    }

    /// Creates a source without retries.
    pub(crate) fn source(&self, url: &str, secret: &str) -> Arc<dyn TokenSource> {
        self.source_within(TIMEOUT, url, secret)
    }

    /// Creates a source without retries and with this timeout.
    pub(crate) fn source_within(
        &self,
        limit: Duration,
        url: &str,
        secret: &str,
    ) -> Arc<dyn TokenSource> {
        let text = secret;
        let secret = Secret::new(text).unwrap();
        let mut settings = HttpTransport::builder();
        match self.adapter {
            A::Camall => {
                let authentication = match self.authentication {
                    M::Post => camall::Authentication::Post,
                    _ => camall::Authentication::Basic,
                };
                let source = Camall::builder(ID, secret)
                    .authentication(authentication)
                    .token_endpoint(url)
                    .danger_allow_http_on_loopback()
                    .transport(transport(settings, limit))
                    .retry(Retry::never())
                    .scope(SCOPES)
                    .build();
                self.decorate(source.unwrap())
            }
            A::Endpoint => {
                let builder = match self.authentication {
                    M::Anonymous | M::Basic => {
                        ClientCredentials::builder(url, ID, ClientSecretBasic::new(secret))
                    }
                    M::BasicRaw => {
                        ClientCredentials::builder(url, ID, ClientSecretBasic::raw(secret))
                    }
                    M::Post => ClientCredentials::builder(url, ID, ClientSecretPost::new(secret)),
                    M::PrivateKey => {
                        let authentication =
                            PrivateKeyJwt::new(for_issuer(url), assertions::key(text));
                        ClientCredentials::builder(url, ID, authentication)
                    }
                    M::SecretJwt => {
                        let authentication = ClientSecretJwt::new(for_issuer(url), secret);
                        ClientCredentials::builder(url, ID, authentication)
                    }
                    M::Workload => {
                        let signer = PrivateKeyJwt::new(for_issuer(url), assertions::key(text));
                        let authentication = WorkloadIdentity::new(Platform(signer));
                        ClientCredentials::builder(url, ID, authentication)
                    }
                    M::MutualTls => {
                        let front = TlsFront::before(url, text);
                        settings = front.transport;
                        ClientCredentials::builder(front.url, ID, front.authentication)
                    }
                };
                self.decorate(finish!(builder, settings, limit))
            }
            A::JwtBearer => {
                let assertion = SignedAssertion::new(for_issuer(url), assertions::key(text));
                let builder = JwtBearer::builder(url, ID, Anonymous::new(), assertion);
                self.decorate(finish!(builder, settings, limit))
            }
            A::RefreshToken => {
                let store = MemorySecret::new(Secret::new(REFRESH).unwrap());
                let basic = ClientSecretBasic::new(secret);
                let builder = RefreshToken::builder(url, ID, basic, store);
                self.decorate(finish!(builder, settings, limit))
            }
            A::TokenExchange => {
                let subject = Secret::new(SUBJECT).unwrap();
                let subject = SecurityToken::from_secret(subject, TokenTypeUri::JWT);
                let basic = ClientSecretBasic::new(secret);
                let builder = TokenExchange::builder(url, ID, basic, subject);
                self.decorate(finish!(builder, settings, limit))
            }
        }
    }

    fn decorate(&self, source: impl TokenSource + 'static) -> Arc<dyn TokenSource> {
        const SOON: Duration = Duration::from_millis(1);
        if self.decorator == D::None {
            return Arc::new(source);
        }
        let cache = CachedTokenSource::builder(source)
            .min_interval(SOON)
            .backoff(SOON, SOON)
            .refusal_ttl(SOON);
        let cache = if self.decorator == D::CacheWithStore {
            cache.store(MemoryTokenStore::default(), "matrix")
        } else {
            cache
        };
        Arc::new(cache.build())
    }
}

/// A platform that writes a new assertion for each reading, signed with this key.
#[derive(Debug)]
struct Platform(PrivateKeyJwt);

#[async_trait]
impl SecretSource for Platform {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let context = AuthenticationContext::new(ID, "");
        let signed = self.0.credentials(&context).await.unwrap();
        let mut parameters = signed.expose_parameters();
        let assertion = parameters.find(|(name, _)| *name == "client_assertion");
        Secret::new(assertion.unwrap().1)
    }
}

/// Returns the settings for the server of this token endpoint.
fn for_issuer(url: &str) -> AssertionSettings {
    AssertionSettings::new(url.trim_end_matches("/oauth/token")).unwrap()
}

/// A timeout longer than any response takes, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(30);

fn transport(settings: HttpTransportBuilder, limit: Duration) -> HttpTransport {
    settings
        .connect_timeout(limit)
        .timeout(limit)
        .build()
        .unwrap()
}
