//! The settings of the builders: how each is set, the response to clients with it, and how its effect is seen.

use std::time::Duration;

use hallpass::{
    TokenRequest,
    endpoint::{
        ClientCredentials, ClientSecretPost, Discovery, Endpoint, ExpiryFormat, GrantSource, Retry,
        SecurityProfile, SecurityToken, SourceBuilder, TokenExchange, TokenManagementBuilder,
        TokenTypeUri,
    },
};
use serde_json::json;

use super::{
    method::Method,
    run::{Run, SignedBy, UTF8_ID},
    scene::{Origin, Scene, Site},
    server::Answer,
};
use crate::support::secret;

/// A setting of the builder `B`, or of the endpoint that the builder gets.
pub(super) struct Row<B> {
    pub(super) name: &'static str,
    pub(super) set: Set<B>,
    /// Sets first what the setting needs.
    pub(super) needs: fn(B, &Site<'_>) -> B,
    /// The response to clients with the setting.
    pub(super) answer: fn(&mut Answer),
    /// The circumstances of a call that shows the effect, and may fail, if an ordinary call does not show it.
    pub(super) scene: Option<fn(&mut Scene)>,
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
            needs: |builder, _| builder,
            answer: |_| {},
            scene: None,
            seen,
        }
    }

    fn of(name: &'static str, set: fn(B, &Site<'_>) -> B, seen: fn(&Run) -> bool) -> Self {
        Self::new(name, Set::Builder(set), seen)
    }

    /// Creates a setting without which this response is refused.
    fn accepting(name: &'static str, set: fn(B, &Site<'_>) -> B, answer: fn(&mut Answer)) -> Self {
        Self::of(name, set, |run| run.error.is_empty()).answer(answer)
    }

    fn needs(self, needs: fn(B, &Site<'_>) -> B) -> Self {
        Self { needs, ..self }
    }

    fn answer(self, answer: fn(&mut Answer)) -> Self {
        Self { answer, ..self }
    }

    fn scene(self, scene: fn(&mut Scene)) -> Self {
        let scene = Some(scene);
        Self { scene, ..self }
    }
}

/// The error for plain HTTP that is not allowed.
const PLAIN_HTTP: &str = "plain HTTP would expose the credentials";

/// The error for an authentication method that the profile does not allow.
const WEAK: &str = "the method is `client_secret_post`, which `security_profile` excludes";

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
            |discovery, _| discovery.lifetime(Duration::from_secs(600)),
            |run| run.discoveries() > 1,
        )
        .scene(|scene| {
            scene.later = Some(|world| {
                for clock in [&world.discovery_clock, &world.other_discovery_clock] {
                    clock.advance(Duration::from_secs(1_200));
                }
            });
        }),
        discovery(
            "Discovery::transport",
            |discovery, site| discovery.transport(site.world.other_transport.clone()),
            |run| run.discovery_header("user-agent") == "other/1.0",
        ),
        discovery(
            "Discovery::refuse_local_issuer",
            |discovery, _| discovery.refuse_local_issuer(),
            |run| run.failed("`refuse_local_issuer` forbids"),
        )
        .scene(|scene| scene.issuer = Origin::Local),
        discovery(
            "Discovery::danger_allow_http_on_loopback",
            |discovery, _| discovery.danger_allow_http_on_loopback(),
            |run| !run.failed(PLAIN_HTTP),
        )
        .scene(|scene| scene.issuer = Origin::Plain),
        discovery(
            "Discovery::clock",
            |discovery, site| discovery.clock(site.world.other_discovery_clock.clone()),
            |run| run.discoveries() > 1,
        )
        .scene(|scene| {
            scene.later = Some(|world| {
                let clock = &world.other_discovery_clock;
                clock.advance(Duration::from_secs(7_200));
            });
        }),
        endpoint(
            "Endpoint::with_introspection_endpoint",
            |endpoint, site| endpoint.with_introspection_endpoint(site.url("other/introspect")),
            |run| run.requested("/other/introspect"),
        ),
        endpoint(
            "Endpoint::with_revocation_endpoint",
            |endpoint, site| endpoint.with_revocation_endpoint(site.url("other/revoke")),
            |run| run.requested("/other/revoke"),
        ),
        endpoint(
            "Endpoint::with_mtls_alias",
            |endpoint, site| endpoint.with_mtls_alias(site.url("alias")),
            |run| run.requested("/alias"),
        )
        .scene(|scene| scene.method = Method::Certificate),
    ]
}

/// The settings that both builders have.
macro_rules! common {
    ($builder:ty) => {{
        let of = Row::<$builder>::of;
        vec![
            of(
                "allow_utf8_credentials",
                |one, _| one.allow_utf8_credentials(),
                // It is not a SPIFFE ID either.
                |run| run.error.is_empty() || run.failed("SPIFFE ID"),
            )
            .scene(|scene| scene.id = UTF8_ID),
            of(
                "clock",
                |one, site| one.clock(site.world.client_clock.clone()),
                Run::is_by_clock,
            ),
            of(
                "danger_allow_http_on_loopback",
                |one, _| one.danger_allow_http_on_loopback(),
                |run| !run.failed(PLAIN_HTTP),
            )
            .scene(|scene| scene.endpoints = Origin::Plain),
            of(
                "hints",
                |one, _| one.hints(|_| Some("a hint of the adapter".into())),
                |run| run.failed("a hint of the adapter"),
            )
            .scene(|scene| scene.answer.status = 503),
            of(
                "refuse_local_endpoint",
                |one, _| one.refuse_local_endpoint(),
                |run| run.failed("`refuse_local_endpoint` forbids"),
            )
            .scene(|scene| scene.endpoints = Origin::Local),
            of(
                "retry",
                |one, _| one.retry(Retry::never()),
                |run| run.attempts == 1,
            )
            .scene(|scene| scene.answer.status = 503),
            of(
                "transport",
                |one, site| one.transport(site.world.other_transport.clone()),
                |run| run.header("user-agent") == "other/1.0",
            ),
        ]
    }};
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
            |run| run.proof_key() == run.dpop_key,
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
            |one, _| one.security_profile(SecurityProfile::Fapi2),
            |run| run.failed(WEAK),
        )
        .needs(|one, site| one.dpop(site.world.other_dpop.clone()))
        .scene(|scene| scene.method = Method::Post)
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
    let accepting = Row::<SourceBuilder<S>>::accepting;
    vec![
        // Below the cap.
        of(
            "default_lifetime",
            |one, _| one.default_lifetime(Duration::from_secs(600)),
            |run| run.lifetime() == Duration::from_secs(600),
        )
        .answer(|answer| answer.expires_in = None),
        of(
            "expiry_member",
            |one, _| one.expiry_member("/until", ExpiryFormat::Milliseconds),
            |run| run.lifetime() == Duration::from_secs(500),
        )
        .answer(|answer| answer.until = Some(500_000)),
        accepting(
            "lenient_responses",
            |one, _| one.lenient_responses(),
            |answer| answer.content_type = "text/plain",
        ),
        of(
            "max_lifetime",
            |one, _| one.max_lifetime(Duration::from_secs(900)),
            |run| run.lifetime() == Duration::from_secs(900),
        )
        .scene(|scene| {
            scene.answer.expires_in = Some(7_200);
            scene.answer.until = Some(7_200_000);
        }),
        accepting(
            "max_token_bytes",
            |one, _| one.max_token_bytes(40_000),
            |answer| {
                let header = "e30.e30.";
                answer.token = Some(header.to_owned() + &"A".repeat(33_200));
            },
        ),
        of(
            "require_granted_authorization_details",
            |one, _| one.require_granted_authorization_details(),
            |run| run.failed("authorization details"),
        )
        .scene(|scene| {
            let details = r#"[{"type":"own"}]"#.parse().unwrap();
            scene.request = TokenRequest::new().with_authorization_details(details);
            scene.answer.details = None;
        }),
        of(
            "require_granted_scopes",
            |one, _| one.require_granted_scopes(),
            |run| run.failed("without the required `two`"),
        )
        .scene(|scene| {
            scene.request = TokenRequest::new().with_scopes("one two".parse().unwrap());
            scene.answer.scope = Some("one");
        }),
        accepting(
            "token_member",
            |one, _| one.token_member("/data/access_token"),
            |answer| answer.is_nested = true,
        ),
        accepting(
            "token_type_name",
            |one, _| one.token_type_name("Application Token"),
            |answer| answer.token_type = "Application Token",
        ),
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
        Row::<TokenManagementBuilder>::of(
            "security_profile",
            |one, _| one.security_profile(SecurityProfile::Fapi2),
            |run| run.failed(WEAK),
        )
        .scene(|scene| scene.method = Method::Post),
    ]);
    rows
}
