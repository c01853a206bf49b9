//! Every two settings of a builder, with every authentication method, every grant, and an endpoint that is set or
//! discovered: both have an effect, or `build` fails and names both.
//!
//! A new method of a builder needs a row in the table; its pairs are then run like all others.

mod expected;
mod rows;
mod run;
#[allow(dead_code)] // Profiles use more of it.
#[path = "../shared/token_server.rs"]
mod server;
#[path = "../shared/settings.rs"]
mod table;

use std::collections::BTreeSet;

use hallpass::{
    AccessToken, TokenRequest, TokenSource,
    endpoint::{
        BuildError, ClientAuthentication, ClientCredentials, ClientSecretPost, Endpoint,
        GrantSource, IdJagProvider, IdentityAssertion, JwtBearer, RefreshToken, Retry,
        SecretAssertion, SecurityToken, SourceBuilder, TokenExchange, TokenManagement,
        TokenManagementBuilder, TokenTypeUri,
    },
};
use hallpass_testkit::{RotatingSecret, leak};
use serde_json::json;

use self::{
    expected::Case,
    rows::{Row, Set},
    run::{ID, Method, Outcome, Run, Site, UTF8_ID, World},
    server::Answer,
    table::{assert_none, setters},
};
use crate::support::{secret, static_token};

const JWT: &str = "e30.e30.c2ln";

/// A builder with its settings.
struct Table<B, T> {
    grant: &'static str,
    /// The place among the tables, which decides which of the calls are made.
    place: usize,
    rows: Vec<Row<B>>,
    new: fn(Endpoint, &str, Box<dyn ClientAuthentication>, &Site<'_>) -> B,
    /// Sets what all runs need.
    base: fn(B, &Site<'_>) -> B,
    build: fn(B) -> Result<T, BuildError>,
    answer: fn(&mut Answer),
    call: fn(T, Site<'_>) -> Outcome<'_>,
}

/// The number of tables.
const TABLES: usize = 7;

/// The numbers of builders and of calls, and what is wrong.
#[derive(Default)]
struct Report {
    run: u32,
    refused: usize,
    called: usize,
    faults: Vec<String>,
}

impl<B, T> Table<B, T> {
    /// Runs all pairs; the numbers of builders, of those that are refused, and of calls are these.
    async fn check(&self, expected: [usize; 3]) {
        let world = World::new().await;
        let mut report = Report::default();
        let rows = self.rows.len();
        let pairs = (0..rows).flat_map(|one| (one + 1..rows).map(move |other| [one, other]));
        for (at, pair) in pairs.enumerate() {
            for (of, method) in Method::ALL.into_iter().enumerate() {
                for is_discovered in [false, true] {
                    // Each pair with each method, and with each grant.
                    let turn = (at + of) % (2 * TABLES);
                    let is_called = turn == 2 * self.place + usize::from(is_discovered);
                    let client = (method, is_discovered);
                    self.check_pair(&world, pair, client, is_called, &mut report)
                        .await;
                }
            }
        }
        assert_none(&report.faults);
        let built = report.run as usize / 2;
        assert_eq!([built, report.refused, report.called], expected);
    }

    async fn check_pair(
        &self,
        world: &World,
        pair: [usize; 2],
        (method, is_discovered): (Method, bool),
        is_called: bool,
        report: &mut Report,
    ) {
        let rows = pair.map(|at| &self.rows[at]);
        let has = |name: &str| rows.iter().any(|row| row.name == name);
        let needs_discovery = rows.iter().any(|row| matches!(row.set, Set::Discovery(_)));
        if needs_discovery && !is_discovered {
            return;
        }
        let is_remote = [
            "security_profile",
            "refuse_local_endpoint",
            "Discovery::refuse_local_issuer",
        ];
        report.run += 2;
        let site = Site {
            world,
            run: report.run,
            is_over_tls: method.has_certificate() || is_remote.iter().any(|name| has(name)),
        };
        let case = Case {
            settings: &rows.map(|row| row.name),
            method,
            grant: self.grant,
            is_discovered,
        };
        let title = || {
            format!(
                "{} {method:?} {is_discovered} {:?}",
                self.grant, case.settings
            )
        };
        let excluded = case.excluded();
        let built = self
            .builder(rows, &site, method, is_discovered)
            .and_then(self.build);
        let source = match built {
            Err(error) => {
                report.refused += 1;
                let shown = leak::error_chain(&error);
                let is_named = |name: &str| {
                    let name = name.rsplit("::").next().unwrap();
                    shown.contains(&format!("`{name}`"))
                        || shown.contains(&format!("::{name}`"))
                        || shown.starts_with(&format!("{name}:"))
                };
                let mut pairs = excluded.iter();
                if !pairs.any(|(one, other)| is_named(one) && is_named(other)) {
                    report.faults.push(format!("{}: {shown}", title()));
                }
                return;
            }
            Ok(source) => source,
        };
        if !excluded.is_empty() {
            report
                .faults
                .push(format!("{}: not refused, {excluded:?}", title()));
            return;
        }
        if !is_called {
            return;
        }
        report.called += 1;
        let mut answer = Answer::default();
        for row in rows {
            (row.answer)(&mut answer);
        }
        (self.answer)(&mut answer);
        world.server.set_answer(site.run, answer);
        match (self.call)(source, site).await {
            Err(error) => report
                .faults
                .push(format!("{}: {}", title(), leak::error_chain(&error))),
            Ok(token) => {
                let run = Run::new(&site, token);
                let unseen = rows
                    .iter()
                    .filter(|row| !case.is_unseen(row.name) && !(row.seen)(&run));
                let unseen: Vec<_> = unseen.map(|row| row.name).collect();
                if !unseen.is_empty() {
                    report
                        .faults
                        .push(format!("{}: no effect of {unseen:?}", title()));
                }
            }
        }
    }

    /// Returns a builder with these settings.
    fn builder(
        &self,
        rows: [&Row<B>; 2],
        site: &Site<'_>,
        method: Method,
        is_discovered: bool,
    ) -> Result<B, BuildError> {
        let mut endpoint = if is_discovered {
            let mut discovery =
                Endpoint::discover(site.issuer()).transport(site.world.transport.clone());
            if !site.is_over_tls {
                discovery = discovery.danger_allow_http_on_loopback();
            }
            for row in rows {
                if let Set::Discovery(set) = row.set {
                    discovery = set(discovery, site);
                }
            }
            discovery.build()?
        } else {
            Endpoint::new(site.url("token"))
                .with_introspection_endpoint(site.url("introspect"))
                .with_revocation_endpoint(site.url("revoke"))
        };
        let is_utf8 = rows.iter().any(|row| row.name == "allow_utf8_credentials");
        let id = if is_utf8 && !method.is_of_spiffe() {
            UTF8_ID
        } else {
            ID
        };
        for row in rows {
            if let Set::Endpoint(set) = row.set {
                endpoint = set(endpoint, site);
            }
        }
        let mut builder = (self.new)(endpoint, id, method.authentication(site), site);
        builder = (self.base)(builder, site);
        for row in rows {
            if let Set::Builder(set) = row.set {
                builder = set(builder, site);
            }
        }
        Ok(builder)
    }
}

/// Returns the table of a source's builder.
fn table<S: GrantSource + TokenSource + 'static>(
    grant: &'static str,
    place: usize,
    rows: Vec<Row<SourceBuilder<S>>>,
    new: fn(Endpoint, &str, Box<dyn ClientAuthentication>, &Site<'_>) -> SourceBuilder<S>,
) -> Table<SourceBuilder<S>, S> {
    Table {
        grant,
        place,
        rows,
        new,
        base,
        build: SourceBuilder::build,
        answer: |_| {},
        call: |source, _| Box::pin(async move { token(&source).await }),
    }
}

async fn token(source: &dyn TokenSource) -> Result<Option<AccessToken>, hallpass::TokenError> {
    source.token(&TokenRequest::default()).await.map(Some)
}

fn base<S: GrantSource>(builder: SourceBuilder<S>, site: &Site<'_>) -> SourceBuilder<S> {
    let builder = builder
        .transport(site.world.transport.clone())
        .retry(Retry::new());
    if site.is_over_tls {
        builder
    } else {
        builder.danger_allow_http_on_loopback()
    }
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
    let table = table("client_credentials", 0, rows::client_credentials(), new);
    table.check([15_834, 1_367, 1_037]).await;
}

#[tokio::test]
async fn token_exchange() {
    let new = |endpoint, id: &str, authentication, _: &Site<'_>| {
        let subject = SecurityToken::from_secret(secret("the-subject"), TokenTypeUri::JWT);
        TokenExchange::builder(endpoint, id, authentication, subject)
    };
    let mut table = table("token_exchange", 1, rows::token_exchange(), new);
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
    let table = table("jwt_bearer", 2, rows::sources(), new);
    table.check([14_910, 1_402, 968]).await;
}

#[tokio::test]
async fn refresh_token() {
    let new = |endpoint, id: &str, authentication, _: &Site<'_>| {
        RefreshToken::builder(endpoint, id, authentication, RotatingSecret::new("r0"))
    };
    let table = table("refresh_token", 3, rows::sources(), new);
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
    let table = table("identity_assertion", 4, rows::sources(), new);
    table.check([14_910, 2_242, 902]).await;
}

#[tokio::test]
async fn id_jag_provider() {
    let table = Table {
        grant: "id_jag_provider",
        place: 5,
        rows: rows::sources(),
        new: |endpoint, id, authentication, _| provider(endpoint, id, authentication),
        base,
        build: SourceBuilder::build,
        answer: id_jag,
        call: |provider, site| {
            let site = site.next();
            let post = ClientSecretPost::new(secret("at-the-api"));
            let source = IdentityAssertion::builder(site.url("token"), "wiki", post, provider);
            let source = base(source, &site).build().unwrap();
            Box::pin(async move { token(&source).await })
        },
    };
    table.check([14_910, 1_402, 965]).await;
}

#[tokio::test]
async fn token_management() {
    let table = Table {
        grant: "management",
        place: 6,
        rows: rows::management(),
        new: |endpoint, id, authentication, _| {
            TokenManagement::builder(endpoint, id, authentication)
        },
        base: |builder: TokenManagementBuilder, site| {
            let builder = builder.transport(site.world.transport.clone());
            if site.is_over_tls {
                builder
            } else {
                builder.danger_allow_http_on_loopback()
            }
        },
        build: TokenManagementBuilder::build,
        answer: |answer| answer.members.push(("active", json!(true))),
        call: |tokens, _| {
            Box::pin(async move {
                let token = static_token("t");
                assert!(tokens.introspect(&token).await?.is_active());
                tokens.revoke(&token).await?;
                Ok(None)
            })
        },
    };
    table.check([3_066, 570, 179]).await;
}

#[test]
fn each_method_of_a_builder_has_a_row() {
    const NEEDS_ROW: &str = "left: the rows of `builders/rows.rs`; a method needs a row";
    let names = |prefix: &str, type_name| {
        let names = setters("endpoint", type_name);
        names
            .into_iter()
            .map(move |name| format!("{prefix}{name}"))
            .collect::<Vec<_>>()
    };
    let own =
        |rows: Vec<&'static str>| rows.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let endpoint = [
        names("Discovery::", "Discovery"),
        names("Endpoint::", "Endpoint"),
    ]
    .concat();
    let client_credentials = rows::client_credentials();
    let token_exchange = rows::token_exchange();
    let sources = client_credentials.iter().map(|row| row.name);
    let sources = own(sources
        .chain(token_exchange.iter().map(|row| row.name))
        .collect());
    assert_eq!(
        sources,
        [names("", "SourceBuilder"), endpoint.clone()]
            .concat()
            .into_iter()
            .collect(),
        "{NEEDS_ROW}"
    );
    let management = rows::management();
    let management = own(management.iter().map(|row| row.name).collect());
    assert_eq!(
        management,
        [names("", "TokenManagementBuilder"), endpoint]
            .concat()
            .into_iter()
            .collect(),
        "{NEEDS_ROW}"
    );
}
