//! Every adapter and decorator, tested against the promises of `TokenSource`.

use std::time::Duration;

use hallpass::{
    TokenSource,
    cache::CachedTokenSource,
    camall::Camall,
    endpoint::{
        Anonymous, ClientCredentials, ClientSecretBasic, ClientSecretPost, JwtBearer, RefreshToken,
        Retry, SecurityToken, TokenExchange, TokenTypeUri,
    },
    jwt::{AssertionSettings, PrivateKeyJwt, SignedAssertion},
    secrets::MemorySecret,
};
use hallpass_testkit::{
    AuthorizationServer, Client, conformance,
    conformance::Subject,
    raw::{self, RawServer},
};

use crate::{
    shared::{assertions, tls_front::TlsFront},
    support::{ID, secret},
};

const SECRET: &str = "s3cr3t-of-the-conformance";
const WRONG: &str = "wr0ng-of-the-conformance";
const SUBJECT: &str = "subject-of-the-conformance";
const REFRESH: &str = "refresh-of-the-conformance";
const SCOPES: &str = "orders.read orders.write";

/// The part that a provider's crate would write: builds its source for an address and a secret.
async fn subject<S: TokenSource + std::fmt::Debug + 'static>(
    build: impl Fn(&str, &str) -> S,
) -> Subject {
    let server = AuthorizationServer::builder()
        .client(
            Client::new(ID, SECRET)
                .scopes(SCOPES)
                .assertions(assertions::verify),
        )
        .start()
        .await;
    server.trust_token(SUBJECT, TokenTypeUri::JWT.as_str());
    server.issue_refresh_token(ID, REFRESH, SCOPES);
    let url = server.token_endpoint();
    let limited = RawServer::always(raw::http(429, &[("retry-after", "7")], "")).await;
    Subject::new(build(&url, SECRET))
        .secret(SECRET)
        .secret(WRONG)
        .secret(SUBJECT)
        .secret(REFRESH)
        .scopes("orders.read", SCOPES)
        .resources("https://a.example", "https://b.example")
        .audiences("https://c.example", "https://d.example")
        .parameter("tenant", "tenant-one", "tenant-two")
        .with_wrong_credentials(build(&url, WRONG))
        .with_unreachable_server(build(&raw::refused_url().unwrap(), SECRET))
        .with_limited_server(
            build(&limited.url("/token"), SECRET),
            Duration::from_secs(7),
        )
        .keep_alive(limited)
        .issued_for(move |token| {
            let request = server.request_for(token);
            format!("{:?}", request.map(|request| request.form))
        })
}

fn basic(url: &str, text: &str) -> ClientCredentials {
    let basic = ClientSecretBasic::new(secret(text));
    ClientCredentials::builder(url, ID, basic)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap()
}

fn post(url: &str, text: &str) -> ClientCredentials {
    let post = ClientSecretPost::new(secret(text));
    ClientCredentials::builder(url, ID, post)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap()
}

fn mutual_tls(url: &str, text: &str) -> ClientCredentials {
    let front = TlsFront::before(url, text);
    ClientCredentials::builder(front.url, ID, front.authentication)
        .transport(front.transport.build().unwrap())
        .retry(Retry::never())
        .build()
        .unwrap()
}

fn private_key(url: &str, text: &str) -> ClientCredentials {
    let issuer = url.trim_end_matches("/oauth/token");
    let settings = AssertionSettings::new(issuer).unwrap();
    let authentication = PrivateKeyJwt::new(settings, assertions::key(text));
    ClientCredentials::builder(url, ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap()
}

fn jwt_bearer(url: &str, text: &str) -> JwtBearer {
    let issuer = url.trim_end_matches("/oauth/token");
    let settings = AssertionSettings::new(issuer).unwrap();
    let assertion = SignedAssertion::new(settings, assertions::key(text));
    JwtBearer::builder(url, ID, Anonymous::new(), assertion)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap()
}

fn token_exchange(url: &str, text: &str) -> TokenExchange {
    let basic = ClientSecretBasic::new(secret(text));
    let subject = SecurityToken::from_secret(secret(SUBJECT), TokenTypeUri::JWT);
    TokenExchange::builder(url, ID, basic, subject)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap()
}

fn refresh_token(url: &str, text: &str) -> RefreshToken {
    let basic = ClientSecretBasic::new(secret(text));
    RefreshToken::builder(url, ID, basic, MemorySecret::new(secret(REFRESH)))
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap()
}

fn camall(url: &str, text: &str) -> impl TokenSource + std::fmt::Debug + use<> {
    Camall::builder(ID, secret(text))
        .token_endpoint(url)
        .danger_allow_http_on_loopback()
        .with_endpoint(|endpoint| endpoint.retry(Retry::never()))
        .build()
        .unwrap()
}

conformance!(endpoint_basic, subject(basic));
conformance!(endpoint_post, subject(post));
conformance!(endpoint_private_key, subject(private_key));
conformance!(endpoint_mutual_tls, subject(mutual_tls));
conformance!(endpoint_jwt_bearer, subject(jwt_bearer));
conformance!(endpoint_token_exchange, subject(token_exchange));
conformance!(endpoint_refresh_token, subject(refresh_token));
conformance!(camall_io, subject(camall));
conformance!(
    cached_endpoint,
    subject(|url, text| CachedTokenSource::new(basic(url, text)))
);
conformance!(
    cached_private_key,
    subject(|url, text| CachedTokenSource::new(private_key(url, text)))
);
conformance!(
    cached_mutual_tls,
    subject(|url, text| CachedTokenSource::new(mutual_tls(url, text)))
);
conformance!(
    cached_jwt_bearer,
    subject(|url, text| CachedTokenSource::new(jwt_bearer(url, text)))
);
conformance!(
    cached_token_exchange,
    subject(|url, text| CachedTokenSource::new(token_exchange(url, text)))
);
conformance!(
    cached_refresh_token,
    subject(|url, text| CachedTokenSource::new(refresh_token(url, text)))
);
conformance!(
    cached_camall_io,
    subject(|url, text| CachedTokenSource::new(camall(url, text)))
);
conformance!(
    cached_twice,
    subject(|url, text| CachedTokenSource::new(CachedTokenSource::new(basic(url, text))))
);
