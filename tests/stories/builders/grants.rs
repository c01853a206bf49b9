//! The table of each grant.

use std::time::Duration;

use hallpass::{
    TokenRequest, TokenSource,
    endpoint::{
        ClientAuthentication, ClientCredentials, ClientSecretPost, Endpoint, GrantSource,
        IdJagProvider, IdentityAssertion, JwtBearer, RefreshToken, Retry, SecretAssertion,
        SecurityToken, SourceBuilder, TokenExchange, TokenTypeUri,
    },
    jwt::{AssertionSettings, SignedAssertion},
};
use hallpass_testkit::RotatingSecret;
use serde_json::json;

use super::{
    call_setup::ServerUrls,
    expected::ClientKind,
    rows::{self, Row},
    run::{CallRecord, ID, Outcome},
    server::Answer,
    table::{Counts, Table},
};
use crate::{shared::assertions::key, support::secret};

const JWT: &str = "e30.e30.c2ln";

/// Returns the table of a source's builder; `seen` is true if a call is one of this kind of client.
fn table<S: GrantSource + TokenSource + 'static>(
    client: ClientKind,
    rows: Vec<Row<SourceBuilder<S>>>,
    new: fn(Endpoint, &str, Box<dyn ClientAuthentication>, &ServerUrls<'_>) -> SourceBuilder<S>,
    seen: fn(&CallRecord) -> bool,
) -> Table<SourceBuilder<S>, S> {
    Table {
        client,
        rows,
        new,
        base,
        build: |builder, _| builder.build(),
        answer: |_| {},
        call,
        seen,
    }
}

fn call<'a>(source: &'a impl TokenSource, request: &'a TokenRequest) -> Outcome<'a> {
    Box::pin(async { source.token(request).await.map(Some) })
}

fn base<S: GrantSource>(builder: SourceBuilder<S>, urls: &ServerUrls<'_>) -> SourceBuilder<S> {
    builder
        .transport(urls.world.transport.clone())
        .retry(Retry::new().min_delay(Duration::ZERO))
}

fn provider(
    endpoint: Endpoint,
    id: &str,
    authentication: impl ClientAuthentication + 'static,
) -> SourceBuilder<IdJagProvider> {
    let user = SecurityToken::from_secret(secret(JWT), TokenTypeUri::ID_TOKEN);
    IdJagProvider::builder(endpoint, id, authentication, user, "https://chat.example")
}

/// The response of an identity provider.
fn id_jag(answer: &mut Answer) {
    answer.token_type = "N_A";
    answer.token.get_or_insert_with(|| JWT.to_owned());
    let id_jag = "urn:ietf:params:oauth:token-type:id-jag";
    answer.members.push(("issued_token_type", json!(id_jag)));
}

#[tokio::test]
async fn client_credentials() {
    let new = |endpoint, id: &str, authentication, _: &ServerUrls<'_>| {
        ClientCredentials::builder(endpoint, id, authentication)
    };
    let table = table(
        ClientKind::ClientCredentials,
        rows::client_credentials(),
        new,
        |record| {
            ["client_credentials", "own"]
                .iter()
                .any(|name| record.sent("grant_type", name))
        },
    );
    table
        .check(Counts {
            built: 15_834,
            refused: 1_367,
            called: 1_118,
        })
        .await;
}

#[tokio::test]
async fn token_exchange() {
    let new = |endpoint, id: &str, authentication, _: &ServerUrls<'_>| {
        let subject = SecurityToken::from_secret(secret("the-subject"), TokenTypeUri::JWT);
        TokenExchange::builder(endpoint, id, authentication, subject)
    };
    let mut table = table(
        ClientKind::TokenExchange,
        rows::token_exchange(),
        new,
        |record| record.sent("subject_token", "the-subject"),
    );
    table.answer = |answer| {
        let issued = "urn:ietf:params:oauth:token-type:access_token";
        answer.members.push(("issued_token_type", json!(issued)));
    };
    table
        .check(Counts {
            built: 16_786,
            refused: 1_517,
            called: 1_090,
        })
        .await;
}

#[tokio::test]
async fn jwt_bearer() {
    let new = |endpoint, id: &str, authentication, _: &ServerUrls<'_>| {
        let assertion = SecretAssertion::new(secret(JWT));
        JwtBearer::builder(endpoint, id, authentication, assertion)
    };
    let table = table(ClientKind::JwtBearer, rows::sources(), new, |record| {
        record.sent("assertion", JWT)
    });
    table
        .check(Counts {
            built: 14_910,
            refused: 1_402,
            called: 968,
        })
        .await;
}

/// Returns an assertion of this client for this server.
fn signed(settings: AssertionSettings) -> SignedAssertion {
    SignedAssertion::new(settings, key("a key")).subject("jane")
}

/// Returns true if the assertion of the grant is one that the client signed for this server.
fn is_signed(record: &CallRecord) -> bool {
    let claims = record.claims("assertion");
    claims["iss"] == ID && claims["sub"] == "jane" && claims["aud"] == record.issuer
}

#[tokio::test]
async fn signed_assertion() {
    let new = |endpoint, id: &str, authentication, urls: &ServerUrls<'_>| {
        let settings = AssertionSettings::new(&urls.issuer()).unwrap();
        JwtBearer::builder(endpoint, id, authentication, signed(settings))
    };
    let table = table(ClientKind::SignedAssertion, rows::sources(), new, is_signed);
    table
        .check(Counts {
            built: 14_910,
            refused: 1_402,
            called: 964,
        })
        .await;
}

#[tokio::test]
async fn signed_assertion_for_a_discovered_issuer() {
    let new = |endpoint, id: &str, authentication, _: &ServerUrls<'_>| {
        let settings = AssertionSettings::for_discovered_issuer();
        JwtBearer::builder(endpoint, id, authentication, signed(settings))
    };
    let table = table(ClientKind::SignedForIssuer, rows::sources(), new, is_signed);
    table
        .check(Counts {
            built: 14_910,
            refused: 7_112,
            called: 557,
        })
        .await;
}

#[tokio::test]
async fn refresh_token() {
    let new = |endpoint, id: &str, authentication, _: &ServerUrls<'_>| {
        RefreshToken::builder(endpoint, id, authentication, RotatingSecret::new("r0"))
    };
    let table = table(ClientKind::RefreshToken, rows::sources(), new, |record| {
        record.sent("refresh_token", "r0")
    });
    table
        .check(Counts {
            built: 14_910,
            refused: 1_310,
            called: 1_058,
        })
        .await;
}

#[tokio::test]
async fn identity_assertion() {
    let new = |endpoint, id: &str, authentication, urls: &ServerUrls<'_>| {
        let urls = urls.second_server();
        let mut answer = Answer::default();
        id_jag(&mut answer);
        urls.world.server.set_answer(urls.path_prefix, answer);
        let post = ClientSecretPost::new(secret("at-the-idp"));
        let provider = base(provider(urls.url("idp").into(), "wiki", post), &urls).build();
        IdentityAssertion::builder(endpoint, id, authentication, provider.unwrap())
    };
    let table = table(
        ClientKind::IdentityAssertion,
        rows::sources(),
        new,
        |record| record.sent("assertion", JWT),
    );
    table
        .check(Counts {
            built: 14_910,
            refused: 2_242,
            called: 902,
        })
        .await;
}

#[tokio::test]
async fn id_jag_provider() {
    let table = Table {
        client: ClientKind::IdJagProvider,
        rows: rows::sources(),
        new: |endpoint, id, authentication, _| provider(endpoint, id, authentication),
        base,
        build: |builder, urls| {
            let (provider, urls) = (builder.build()?, urls.second_server());
            let post = ClientSecretPost::new(secret("at-the-api"));
            let source = IdentityAssertion::builder(urls.url("token"), "wiki", post, provider);
            base(source, &urls).build()
        },
        answer: id_jag,
        call,
        seen: |record| {
            record.sent(
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:id-jag",
            )
        },
    };
    table
        .check(Counts {
            built: 14_910,
            refused: 1_402,
            called: 965,
        })
        .await;
}
