//! Adapters, authentication methods and decorators, and how each source is built from them.

use std::{sync::Arc, time::Duration};

use hallpass::{
    Secret, TokenSource,
    cache::{CachedTokenSource, MemoryTokenStore},
    camall::{self, Camall},
    endpoint::{
        ClientCredentials, ClientSecretBasic, ClientSecretPost, HttpTransport,
        HttpTransportBuilder, Retry,
    },
    jwt::{AssertionSettings, ClientSecretJwt, PrivateKeyJwt},
};

use hallpass_testkit::AuthMethod;

use crate::{assertions, tls_front::TlsFront};

pub(crate) const ID: &str = "orders-service";
/// Sought in everything that is shown.
pub(crate) const SECRET: &str = "s3cr3t-canary+of/the whole matrix";
pub(crate) const SCOPES: &str = "orders.read orders.write";

pub(crate) struct Configuration {
    adapter: Adapter,
    authentication: Authentication,
    decorator: Decorator,
}

#[derive(Clone, Copy)]
enum Adapter {
    Camall,
    Endpoint,
}

#[derive(Clone, Copy)]
enum Authentication {
    Basic,
    BasicRaw,
    Post,
    PrivateKey,
    SecretJwt,
    MutualTls,
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
    configuration(A::Endpoint, M::MutualTls, D::None),
    configuration(A::Camall, M::Post, D::Cache),
    configuration(A::Camall, M::Basic, D::Cache),
    configuration(A::Endpoint, M::Post, D::Cache),
    configuration(A::Endpoint, M::Basic, D::Cache),
    configuration(A::Endpoint, M::BasicRaw, D::Cache),
    configuration(A::Endpoint, M::PrivateKey, D::Cache),
    configuration(A::Endpoint, M::MutualTls, D::Cache),
    configuration(A::Endpoint, M::Basic, D::CacheWithStore),
];

impl Configuration {
    pub(crate) fn name(&self) -> String {
        let adapter = match self.adapter {
            A::Camall => "camall",
            A::Endpoint => "endpoint",
        };
        let authentication = match self.authentication {
            M::Basic => "basic",
            M::BasicRaw => "basic_raw",
            M::Post => "post",
            M::PrivateKey => "private_key_jwt",
            M::SecretJwt => "secret_jwt",
            M::MutualTls => "mutual_tls",
        };
        let decorator = match self.decorator {
            D::None => "plain",
            D::Cache => "cached",
            D::CacheWithStore => "cached_store",
        };
        format!("{adapter}_{authentication}_{decorator}")
    }

    /// How the server must be told to read the credentials.
    pub(crate) fn method(&self) -> AuthMethod {
        match self.authentication {
            M::Basic => AuthMethod::Basic,
            M::BasicRaw => AuthMethod::BasicRaw,
            // The front before the server tells who it is by the client's secret.
            M::Post | M::MutualTls => AuthMethod::Post,
            M::PrivateKey | M::SecretJwt => AuthMethod::Assertion,
        }
    }

    pub(crate) fn caches(&self) -> bool {
        self.decorator != D::None
    }

    /// A source that tries once.
    pub(crate) fn source(&self, url: &str, secret: &str) -> Arc<dyn TokenSource> {
        self.source_within(PATIENCE, url, secret)
    }

    /// A source that tries once, and waits for so long.
    pub(crate) fn source_within(
        &self,
        patience: Duration,
        url: &str,
        secret: &str,
    ) -> Arc<dyn TokenSource> {
        let text = secret;
        let secret = Secret::new(text).unwrap();
        let mut settings = HttpTransport::builder();
        match self.adapter {
            A::Camall => {
                let authentication = match self.authentication {
                    M::Post => camall::Authentication::Form,
                    _ => camall::Authentication::Basic,
                };
                let source = Camall::builder(ID, secret)
                    .authentication(authentication)
                    .token_endpoint(url)
                    .danger_allow_http_on_loopback()
                    .transport(transport(settings, patience))
                    .retry(Retry::never())
                    .scope(SCOPES)
                    .build();
                self.decorate(source.unwrap())
            }
            A::Endpoint => {
                let builder = match self.authentication {
                    M::Basic => ClientCredentials::builder(url, ID, ClientSecretBasic::new(secret)),
                    M::BasicRaw => {
                        ClientCredentials::builder(url, ID, ClientSecretBasic::raw(secret))
                    }
                    M::Post => ClientCredentials::builder(url, ID, ClientSecretPost::new(secret)),
                    M::PrivateKey => {
                        let how = PrivateKeyJwt::new(for_issuer(url), assertions::key(text));
                        ClientCredentials::builder(url, ID, how)
                    }
                    M::SecretJwt => {
                        let how = ClientSecretJwt::new(for_issuer(url), secret);
                        ClientCredentials::builder(url, ID, how)
                    }
                    M::MutualTls => {
                        let front = TlsFront::before(url, text);
                        settings = front.transport;
                        ClientCredentials::builder(front.url, ID, front.how)
                    }
                };
                let source = builder
                    .danger_allow_http_on_loopback()
                    .transport(transport(settings, patience))
                    .retry(Retry::never())
                    .scope(SCOPES)
                    .build();
                self.decorate(source.unwrap())
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
            .refusal_memory(SOON);
        let cache = if self.decorator == D::CacheWithStore {
            cache.store(MemoryTokenStore::default(), "matrix")
        } else {
            cache
        };
        Arc::new(cache.build())
    }
}

/// For the server of this token endpoint.
fn for_issuer(url: &str) -> AssertionSettings {
    AssertionSettings::new(url.trim_end_matches("/oauth/token")).unwrap()
}

/// More than any answer takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

fn transport(settings: HttpTransportBuilder, patience: Duration) -> HttpTransport {
    settings
        .connect_timeout(patience)
        .timeout(patience)
        .build()
        .unwrap()
}
