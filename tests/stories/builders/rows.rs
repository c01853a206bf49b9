//! The settings of the builders: how each is set, the response to clients with it, and how its effect is seen.

use std::time::Duration;

use hallpass::endpoint::{
    ClientCredentials, ClientSecretPost, Discovery, Endpoint, ExpiryFormat, GrantSource, Retry,
    SecurityProfile, SecurityToken, SourceBuilder, TokenExchange, TokenManagementBuilder,
    TokenTypeUri,
};
use serde_json::json;

use super::{
    run::{Run, SignedBy, Site},
    server::Answer,
};
use crate::support::secret;

/// A setting of the builder `B`, or of the endpoint that the builder gets.
pub(super) struct Row<B> {
    pub(super) name: &'static str,
    pub(super) set: Set<B>,
    pub(super) answer: fn(&mut Answer),
    /// True if the effect is seen.
    pub(super) seen: fn(&Run) -> bool,
}

pub(super) enum Set<B> {
    Discovery(fn(Discovery, &Site<'_>) -> Discovery),
    Endpoint(fn(Endpoint, &Site<'_>) -> Endpoint),
    Builder(fn(B, &Site<'_>) -> B),
}

impl<B> Row<B> {
    fn new(name: &'static str, set: Set<B>, seen: fn(&Run) -> bool) -> Self {
        Self {
            name,
            set,
            answer: |_| {},
            seen,
        }
    }

    fn of(name: &'static str, set: fn(B, &Site<'_>) -> B, seen: fn(&Run) -> bool) -> Self {
        Self::new(name, Set::Builder(set), seen)
    }

    fn answer(self, answer: fn(&mut Answer)) -> Self {
        Self { answer, ..self }
    }
}

/// For a setting whose effect is that the call succeeds, or is not seen in one that does.
const WORKS: fn(&Run) -> bool = |_| true;

/// Returns the settings of the endpoint that every builder gets.
fn endpoint<B>() -> Vec<Row<B>> {
    let discovery = |name, set, seen| Row::new(name, Set::Discovery(set), seen);
    let endpoint = |name, set, seen| Row::new(name, Set::Endpoint(set), seen);
    vec![
        discovery(
            "Discovery::openid_location",
            |discovery, _| discovery.openid_location(),
            |run| run.requested("/.well-known/openid-configuration"),
        ),
        discovery(
            "Discovery::lifetime",
            |discovery, _| discovery.lifetime(Duration::ZERO),
            WORKS,
        ),
        discovery(
            "Discovery::transport",
            |discovery, site| discovery.transport(site.world.other_transport.clone()),
            |run| run.discovery_header("user-agent") == "other/1.0",
        ),
        discovery(
            "Discovery::refuse_local_issuer",
            |discovery, _| discovery.refuse_local_issuer(),
            WORKS,
        ),
        discovery(
            "Discovery::danger_allow_http_on_loopback",
            |discovery, _| discovery.danger_allow_http_on_loopback(),
            WORKS,
        ),
        discovery(
            "Discovery::clock",
            |discovery, site| discovery.clock(site.world.clock.clone()),
            WORKS,
        ),
        endpoint(
            "Endpoint::with_introspection_endpoint",
            |endpoint, site| endpoint.with_introspection_endpoint(site.url("other/introspect")),
            |run| !run.is_management || run.requested("/other/introspect"),
        ),
        endpoint(
            "Endpoint::with_revocation_endpoint",
            |endpoint, site| endpoint.with_revocation_endpoint(site.url("other/revoke")),
            |run| !run.is_management || run.requested("/other/revoke"),
        ),
        endpoint(
            "Endpoint::with_mtls_alias",
            |endpoint, site| endpoint.with_mtls_alias(site.url("alias")),
            |run| run.is_management || !run.has_certificate() || run.requested("/alias"),
        ),
    ]
}

/// The settings that both builders have.
macro_rules! common {
    ($builder:ty) => {
        vec![
            Row::<$builder>::of(
                "allow_utf8_credentials",
                |one, _| one.allow_utf8_credentials(),
                WORKS,
            ),
            Row::of(
                "clock",
                |one, site| one.clock(site.world.clock.clone()),
                Run::is_by_clock,
            ),
            Row::of(
                "danger_allow_http_on_loopback",
                |one, _| one.danger_allow_http_on_loopback(),
                |run| run.first().connection.is_tls == run.is_over_tls,
            ),
            Row::of("hints", |one, _| one.hints(|_| None), WORKS),
            Row::of(
                "refuse_local_endpoint",
                |one, _| one.refuse_local_endpoint(),
                WORKS,
            ),
            Row::of("retry", |one, _| one.retry(Retry::never()), WORKS),
            Row::of(
                "transport",
                |one, site| one.transport(site.world.other_transport.clone()),
                |run| run.header("user-agent") == "other/1.0",
            ),
        ]
    };
}

/// Returns the settings of the requests of all grants.
fn requests<S: GrantSource>() -> Vec<Row<SourceBuilder<S>>> {
    const DETAILS: &str = r#"[{"type":"payment"}]"#;
    let of = Row::<SourceBuilder<S>>::of;
    vec![
        of(
            "audience",
            |one, _| one.audience("https://orders.example"),
            |run| run.sent("audience", "https://orders.example"),
        ),
        of(
            "authentication",
            |one, _| one.authentication(ClientSecretPost::new(secret("replaced"))),
            |run| run.sent("client_secret", "replaced"),
        ),
        of(
            "authorization_details",
            |one, _| one.authorization_details(DETAILS),
            |run| run.sent("authorization_details", "payment"),
        )
        .answer(|answer| answer.details = Some(json!([{ "type": "payment" }]))),
        of(
            "dpop",
            |one, site| one.dpop(site.world.dpop.clone()),
            |run| run.header("dpop").contains('.'),
        )
        .answer(|answer| answer.token_type = "DPoP"),
        of(
            "json_requests",
            |one, _| one.json_requests(),
            |run| run.header("content-type") == "application/json",
        ),
        of(
            "parameter",
            |one, _| one.parameter("tenant", "blue"),
            |run| run.sent("tenant", "blue"),
        ),
        of(
            "request_header",
            |one, _| one.request_header("x-gateway", secret("gateway")),
            |run| run.header("x-gateway") == "gateway",
        ),
        of(
            "resource",
            |one, _| one.resource("https://orders.example/"),
            |run| run.sent("resource", "https://orders.example/"),
        ),
        of(
            "scope",
            |one, _| one.scope("orders.read"),
            |run| run.sent("scope", "orders.read"),
        ),
        // It needs tokens that are bound to a key.
        of(
            "security_profile",
            |one, site| {
                let one = one.dpop(site.world.dpop.clone());
                one.security_profile(SecurityProfile::Fapi2)
            },
            |run| run.header("dpop").contains('.'),
        )
        .answer(|answer| answer.token_type = "DPoP"),
        of(
            "token_endpoint",
            |one, site| one.token_endpoint(site.url("replaced")),
            |run| run.requested("/replaced"),
        ),
    ]
}

/// Returns the settings of the responses of all grants.
fn responses<S: GrantSource>() -> Vec<Row<SourceBuilder<S>>> {
    let of = Row::<SourceBuilder<S>>::of;
    vec![
        // The cap of another setting may apply.
        of(
            "default_lifetime",
            |one, _| one.default_lifetime(Duration::from_secs(1_200)),
            |run| [900, 1_200].contains(&run.lifetime().as_secs()),
        )
        .answer(|answer| answer.expires_in = None),
        of(
            "expiry_member",
            |one, _| one.expiry_member("/until", ExpiryFormat::Milliseconds),
            |run| [900, 3_000].contains(&run.lifetime().as_secs()),
        )
        .answer(|answer| answer.until = Some(3_000_000)),
        of("lenient_responses", |one, _| one.lenient_responses(), WORKS)
            .answer(|answer| answer.content_type = "text/plain"),
        of(
            "max_lifetime",
            |one, _| one.max_lifetime(Duration::from_secs(900)),
            |run| run.lifetime() == Duration::from_secs(900),
        ),
        of(
            "max_token_bytes",
            |one, _| one.max_token_bytes(40_000),
            WORKS,
        )
        .answer(|answer| {
            let header = "e30.e30.";
            answer.token = Some(header.to_owned() + &"A".repeat(33_200));
        }),
        of(
            "require_granted_authorization_details",
            |one, _| one.require_granted_authorization_details(),
            WORKS,
        ),
        of(
            "require_granted_scopes",
            |one, _| one.require_granted_scopes(),
            WORKS,
        ),
        of(
            "token_member",
            |one, _| one.token_member("/data/access_token"),
            WORKS,
        )
        .answer(|answer| answer.is_nested = true),
        of(
            "token_type_name",
            |one, _| one.token_type_name("Application Token"),
            WORKS,
        )
        .answer(|answer| answer.token_type = "Application Token"),
    ]
}

/// Returns the settings of all grants.
pub(super) fn sources<S: GrantSource>() -> Vec<Row<SourceBuilder<S>>> {
    let mut rows = requests();
    rows.extend(responses());
    rows.extend(common!(SourceBuilder<S>));
    rows.extend(endpoint());
    rows
}

/// Returns the settings of the client credentials grant.
pub(super) fn client_credentials() -> Vec<Row<SourceBuilder<ClientCredentials>>> {
    let mut rows = sources();
    rows.push(Row::of(
        "grant_type",
        |one, _| one.grant_type("own"),
        |run| run.sent("grant_type", "own"),
    ));
    rows
}

/// Returns the settings of token exchange.
pub(super) fn token_exchange() -> Vec<Row<SourceBuilder<TokenExchange>>> {
    let mut rows = sources::<TokenExchange>();
    rows.extend([
        Row::<SourceBuilder<TokenExchange>>::of(
            "actor",
            |one, _| {
                let actor = SecurityToken::from_secret(secret("the-actor"), TokenTypeUri::JWT);
                one.actor(actor)
            },
            |run| run.sent("actor_token", "the-actor"),
        ),
        Row::of(
            "requested_token_type",
            |one, _| one.requested_token_type(TokenTypeUri::JWT),
            |run| run.sent("requested_token_type", ":jwt"),
        ),
    ]);
    rows
}

/// Returns the settings of token management.
pub(super) fn management() -> Vec<Row<TokenManagementBuilder>> {
    let mut rows = common!(TokenManagementBuilder);
    rows.extend(endpoint());
    rows.extend([
        Row::<TokenManagementBuilder>::of(
            "require_signed_responses",
            |one, site| one.require_signed_responses(SignedBy::of(site)),
            |run| run.requested("/jwks.json"),
        )
        .answer(|answer| {
            answer.content_type = "application/token-introspection+jwt";
            answer.body = Some("e30.e30.e30".to_owned());
        }),
        Row::of(
            "security_profile",
            |one, _| one.security_profile(SecurityProfile::Fapi2),
            WORKS,
        ),
    ]);
    rows
}
