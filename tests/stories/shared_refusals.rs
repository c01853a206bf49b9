//! A fleet whose client is refused: one request for all processes, until the credential is rotated.

use std::{sync::Arc, time::Duration};

use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{
        Anonymous, ClientAuthentication, ClientCredentials, ClientSecretBasic, ClientSecretPost,
        GrantSource, JwtBearer, MutualTls, RefreshToken, SecurityToken, SourceBuilder, Strongest,
        TokenExchange, TokenTypeUri,
    },
    jwt::{AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SignedAssertion},
    redis_store::RedisTokenStore,
};
use hallpass_testkit::{AuthorizationServer, Client, RotatingSecret};

use crate::{
    mtls_server::MtlsServer,
    shared::{
        assertions::{key, verify},
        redis_server::RedisServer,
    },
    support::{ID, secret},
};

const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";
const SECRET: &str = "CANARY-client-of-more-than-32-bytes";
const WRONG: &str = "CANARY-wrong-of-more-than-32-bytes-";
const SUBJECT: &str = "CANARY-subject";
const REFRESH: &str = "CANARY-refresh";

/// Returns the cache of a process, with a store of its own on this Redis.
fn process(
    redis: &RedisServer,
    source: Arc<dyn TokenSource>,
    namespace: &str,
) -> CachedTokenSource<Arc<dyn TokenSource>> {
    let store = RedisTokenStore::builder(redis.text("url")).keys(secret(KEY));
    CachedTokenSource::builder(source)
        .store(store.build().unwrap(), namespace)
        // The machine may be busy.
        .store_timeout(Duration::from_secs(5))
        .build()
}

/// Runs five processes with a refused credential, and five more after its rotation. Returns the numbers of requests.
async fn requests(
    redis: &RedisServer,
    namespace: &str,
    source: impl Fn() -> Arc<dyn TokenSource>,
    rotate: impl FnOnce(),
    count: impl Fn() -> usize,
) -> [usize; 2] {
    let before = count();
    for _ in 0..5 {
        let process = process(redis, source(), namespace);
        let refused = process.token(&TokenRequest::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CredentialsRefused, "{namespace}");
        process.shutdown().await;
    }
    let refused = count() - before;
    rotate();
    for _ in 0..5 {
        let process = process(redis, source(), namespace);
        let token = process.token(&TokenRequest::default()).await;
        assert!(token.is_ok(), "{namespace}: {token:?}");
        process.shutdown().await;
    }
    [refused, count() - before - refused]
}

fn boxed<S: GrantSource + TokenSource + 'static>(
    builder: SourceBuilder<S>,
) -> Arc<dyn TokenSource> {
    let builder = builder.danger_allow_http_on_loopback();
    Arc::new(builder.build().unwrap())
}

type Text = Arc<RotatingSecret>;
type MakeSource = fn(&AuthorizationServer, Text) -> Arc<dyn TokenSource>;

fn settings(server: &AuthorizationServer) -> AssertionSettings {
    AssertionSettings::new(&server.issuer()).unwrap()
}

fn of_client(
    server: &AuthorizationServer,
    authentication: impl ClientAuthentication + 'static,
) -> Arc<dyn TokenSource> {
    boxed(ClientCredentials::builder(
        server.token_endpoint(),
        ID,
        authentication,
    ))
}

fn signed(server: &AuthorizationServer, text: Text) -> PrivateKeyJwt {
    PrivateKeyJwt::from_source(settings(server), text, |text| Ok(key(text)))
}

const SOURCES: [(&str, MakeSource); 8] = [
    ("client_secret_basic", |server, text| {
        of_client(server, ClientSecretBasic::new(text))
    }),
    ("client_secret_post", |server, text| {
        of_client(server, ClientSecretPost::new(text))
    }),
    ("client_secret_jwt", |server, text| {
        of_client(server, ClientSecretJwt::new(settings(server), text))
    }),
    ("private_key_jwt", |server, text| {
        of_client(server, signed(server, text))
    }),
    ("strongest", |server, text| {
        let authentication = Strongest::new(ClientSecretPost::new(text.clone()));
        of_client(server, authentication.or(signed(server, text)))
    }),
    ("jwt-bearer", |server, text| {
        let assertion = SignedAssertion::from_source(settings(server), text, |text| Ok(key(text)));
        let url = server.token_endpoint();
        boxed(JwtBearer::builder(url, ID, Anonymous::new(), assertion))
    }),
    ("token exchange", |server, text| {
        let subject = SecurityToken::from_secret(secret(SUBJECT), TokenTypeUri::JWT);
        let authentication = signed(server, text);
        boxed(TokenExchange::builder(
            server.token_endpoint(),
            ID,
            authentication,
            subject,
        ))
    }),
    ("refresh token", |server, text| {
        let store = RotatingSecret::new(REFRESH);
        let authentication = ClientSecretBasic::new(text);
        boxed(RefreshToken::builder(
            server.token_endpoint(),
            ID,
            authentication,
            store,
        ))
    }),
];

#[tokio::test]
async fn each_method_and_grant_shares_its_refusals() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let client = Client::new(ID, SECRET).assertions(verify);
    let server = AuthorizationServer::builder().client(client).start().await;
    server.trust_token(SUBJECT, TokenTypeUri::JWT.as_str());
    server.issue_refresh_token(ID, REFRESH, "");
    for (name, make) in SOURCES {
        let text = Arc::new(RotatingSecret::new(WRONG));
        let counts = requests(
            &redis,
            name,
            || make(&server, text.clone()),
            || text.rotate(SECRET),
            || server.token_request_count(),
        );
        assert_eq!(counts.await, [1, 1], "{name}");
    }
}

#[tokio::test]
async fn a_refused_certificate_is_presented_once_by_a_fleet() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = MtlsServer::start().await;
    let [stranger, known] = ["stranger", "known"].map(|name| server.identity(name));
    server.register(&known);
    let text = Arc::new(RotatingSecret::new(&stranger.pem()));
    let counts = requests(
        &redis,
        "mtls",
        || {
            let authentication = MutualTls::new(text.clone()).unbound_tokens();
            Arc::new(server.source(authentication).build().unwrap())
        },
        || text.rotate(&known.pem()),
        || server.token_requests().len(),
    );
    assert_eq!(counts.await, [1, 1]);
}
