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
    expected::Grant,
    rows::{self, Row},
    run::{ID, Outcome, Run},
    scene::Site,
    server::Answer,
    table::Table,
};
use crate::{shared::assertions::key, support::secret};

const JWT: &str = "e30.e30.c2ln";

/// Returns the table of a source's builder; `seen` is true if a call is one of this grant.
fn table<S: GrantSource + TokenSource + 'static>(
    grant: Grant,
    rows: Vec<Row<SourceBuilder<S>>>,
    new: fn(Endpoint, &str, Box<dyn ClientAuthentication>, &Site<'_>) -> SourceBuilder<S>,
    seen: fn(&Run) -> bool,
) -> Table<SourceBuilder<S>, S> {
    Table {
        grant,
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

fn base<S: GrantSource>(builder: SourceBuilder<S>, site: &Site<'_>) -> SourceBuilder<S> {
    builder
        .transport(site.world.transport.clone())
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
    let new = |endpoint, id: &str, authentication, _: &Site<'_>| {
        ClientCredentials::builder(endpoint, id, authentication)
    };
    let table = table(
        Grant::ClientCredentials,
        rows::client_credentials(),
        new,
        |run| {
            ["client_credentials", "own"]
                .iter()
                .any(|name| run.sent("grant_type", name))
        },
    );
    table.check([15_834, 1_367, 1_037]).await;
}

#[tokio::test]
async fn token_exchange() {
    let new = |endpoint, id: &str, authentication, _: &Site<'_>| {
        let subject = SecurityToken::from_secret(secret("the-subject"), TokenTypeUri::JWT);
        TokenExchange::builder(endpoint, id, authentication, subject)
    };
    let mut table = table(Grant::TokenExchange, rows::token_exchange(), new, |run| {
        run.sent("subject_token", "the-subject")
    });
    table.answer = |answer| {
        let issued = "urn:ietf:params:oauth:token-type:access_token";
        answer.members.push(("issued_token_type", json!(issued)));
    };
    table.check([16_786, 1_517, 1_090]).await;
}

#[tokio::test]
async fn jwt_bearer() {
    let new = |endpoint, id: &str, authentication, _: &Site<'_>| {
        let assertion = SecretAssertion::new(secret(JWT));
        JwtBearer::builder(endpoint, id, authentication, assertion)
    };
    let table = table(Grant::JwtBearer, rows::sources(), new, |run| {
        run.sent("assertion", JWT)
    });
    table.check([14_910, 1_402, 968]).await;
}

/// Returns an assertion of this client for this server.
fn signed(settings: AssertionSettings) -> SignedAssertion {
    SignedAssertion::new(settings, key("a key")).subject("jane")
}

/// Returns true if the assertion of the grant is one that the client signed for this server.
fn is_signed(run: &Run) -> bool {
    let claims = run.claims("assertion");
    claims["iss"] == ID && claims["sub"] == "jane" && claims["aud"] == run.issuer
}

#[tokio::test]
async fn signed_assertion() {
    let new = |endpoint, id: &str, authentication, site: &Site<'_>| {
        let settings = AssertionSettings::new(&site.issuer()).unwrap();
        JwtBearer::builder(endpoint, id, authentication, signed(settings))
    };
    let table = table(Grant::SignedAssertion, rows::sources(), new, is_signed);
    table.check([14_910, 1_402, 964]).await;
}

#[tokio::test]
async fn signed_assertion_for_a_discovered_issuer() {
    let new = |endpoint, id: &str, authentication, _: &Site<'_>| {
        let settings = AssertionSettings::for_discovered_issuer();
        JwtBearer::builder(endpoint, id, authentication, signed(settings))
    };
    let table = table(Grant::SignedForIssuer, rows::sources(), new, is_signed);
    table.check([14_910, 7_112, 557]).await;
}

#[tokio::test]
async fn refresh_token() {
    let new = |endpoint, id: &str, authentication, _: &Site<'_>| {
        RefreshToken::builder(endpoint, id, authentication, RotatingSecret::new("r0"))
    };
    let table = table(Grant::RefreshToken, rows::sources(), new, |run| {
        run.sent("refresh_token", "r0")
    });
    table.check([14_910, 1_310, 975]).await;
}

#[tokio::test]
async fn identity_assertion() {
    let new = |endpoint, id: &str, authentication, site: &Site<'_>| {
        let site = site.next();
        let mut answer = Answer::default();
        id_jag(&mut answer);
        site.world.server.set_answer(site.run, answer);
        let post = ClientSecretPost::new(secret("at-the-idp"));
        let provider = base(provider(site.url("idp").into(), "wiki", post), &site).build();
        IdentityAssertion::builder(endpoint, id, authentication, provider.unwrap())
    };
    let table = table(Grant::IdentityAssertion, rows::sources(), new, |run| {
        run.sent("assertion", JWT)
    });
    table.check([14_910, 2_242, 902]).await;
}

#[tokio::test]
async fn id_jag_provider() {
    let table = Table {
        grant: Grant::IdJagProvider,
        rows: rows::sources(),
        new: |endpoint, id, authentication, _| provider(endpoint, id, authentication),
        base,
        build: |builder, site| {
            let (provider, site) = (builder.build()?, site.next());
            let post = ClientSecretPost::new(secret("at-the-api"));
            let source = IdentityAssertion::builder(site.url("token"), "wiki", post, provider);
            base(source, &site).build()
        },
        answer: id_jag,
        call,
        seen: |run| {
            run.sent(
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:id-jag",
            )
        },
    };
    table.check([14_910, 1_402, 965]).await;
}
