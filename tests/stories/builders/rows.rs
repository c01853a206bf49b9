//! The settings of the builders: how each is set, the response to clients with it, and how its effect is seen.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
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
    call_setup::{CallSetup, Origin, ServerUrls},
    method::Method,
    run::{AcceptAllVerifier, CallRecord, UTF8_ID},
    server::Answer,
};
use crate::support::secret;

/// A setting of the builder `B`, or of the endpoint that the builder gets.
pub(super) struct Row<B> {
    pub(super) name: &'static str,
    pub(super) set: Setter<B>,
    /// Sets first what the setting needs.
    pub(super) needs: fn(B, &ServerUrls<'_>) -> B,
    /// The response to clients with the setting.
    pub(super) answer: fn(&mut Answer),
    /// At least one.
    pub(super) effects: Vec<Effect>,
}

/// An effect of a setting.
pub(super) struct Effect {
    /// Changes the setup to that of a call that shows the effect, and may fail, if an ordinary call does not show it.
    pub(super) change_setup: Option<fn(&mut CallSetup)>,
    /// True if the effect is seen.
    pub(super) seen: fn(&CallRecord) -> bool,
}

/// A function that changes the builder, or the endpoint that it gets.
pub(super) enum Setter<B> {
    Discovery(fn(Discovery, &ServerUrls<'_>) -> Discovery),
    Endpoint(fn(Endpoint, &ServerUrls<'_>) -> Endpoint),
    Builder(fn(B, &ServerUrls<'_>) -> B),
}

impl<B> Row<B> {
    fn new(name: &'static str, set: Setter<B>, seen: fn(&CallRecord) -> bool) -> Self {
        Self {
            name,
            set,
            needs: |builder, _| builder,
            answer: |_| {},
            effects: vec![Effect {
                change_setup: None,
                seen,
            }],
        }
    }

    fn of(
        name: &'static str,
        set: fn(B, &ServerUrls<'_>) -> B,
        seen: fn(&CallRecord) -> bool,
    ) -> Self {
        Self::new(name, Setter::Builder(set), seen)
    }

    /// Creates a setting without which this response is refused.
    fn accepting(
        name: &'static str,
        set: fn(B, &ServerUrls<'_>) -> B,
        answer: fn(&mut Answer),
    ) -> Self {
        Self::of(name, set, |record| record.error.is_empty()).with_answer(answer)
    }

    fn with_needs(self, needs: fn(B, &ServerUrls<'_>) -> B) -> Self {
        Self { needs, ..self }
    }

    fn with_answer(self, answer: fn(&mut Answer)) -> Self {
        Self { answer, ..self }
    }

    /// Sets the setup of the most recent effect.
    fn with_setup(mut self, change: fn(&mut CallSetup)) -> Self {
        let last = self.effects.last_mut().unwrap();
        last.change_setup = Some(change);
        self
    }

    /// Adds an effect that is seen in another setup.
    fn with_effect(mut self, change: fn(&mut CallSetup), seen: fn(&CallRecord) -> bool) -> Self {
        self.effects.push(Effect {
            change_setup: Some(change),
            seen,
        });
        self
    }
}

/// The error for plain HTTP that is not allowed.
const PLAIN_HTTP: &str = "plain HTTP would expose the credentials";

/// The error for an authentication method that the profile does not allow.
const WEAK: &str = "the method is `client_secret_post`, which `security_profile` excludes";

/// The error for an assertion that the profile does not allow, which `build` does not see.
const OTHER_AUDIENCE: &str = "the audience of the assertion is another than the issuer identifier";

/// Returns the settings of the endpoint that every builder gets.
fn endpoint<B>() -> Vec<Row<B>> {
    let discovery = |name, set, seen| Row::new(name, Setter::Discovery(set), seen);
    let endpoint = |name, set, seen| Row::new(name, Setter::Endpoint(set), seen);
    vec![
        discovery(
            "Discovery::openid_location",
            |discovery, _| discovery.openid_location(),
            |record| record.requested("/.well-known/openid-configuration"),
        ),
        discovery(
            "Discovery::lifetime",
            |discovery, _| discovery.lifetime(Duration::from_secs(600)),
            |record| record.discoveries() > 1,
        )
        .with_setup(|setup| {
            setup.later = Some(|world| {
                for clock in [&world.discovery_clock, &world.other_discovery_clock] {
                    clock.advance(Duration::from_secs(1_200));
                }
            });
        }),
        discovery(
            "Discovery::transport",
            |discovery, urls| discovery.transport(urls.world.other_transport.clone()),
            |record| record.discovery_header("user-agent") == "other/1.0",
        ),
        discovery(
            "Discovery::refuse_local_issuer",
            |discovery, _| discovery.refuse_local_issuer(),
            |record| record.failed("`refuse_local_issuer` forbids"),
        )
        .with_setup(|setup| setup.issuer = Origin::Local),
        discovery(
            "Discovery::danger_allow_http_on_loopback",
            |discovery, _| discovery.danger_allow_http_on_loopback(),
            |record| !record.failed(PLAIN_HTTP),
        )
        .with_setup(|setup| setup.issuer = Origin::Plain),
        discovery(
            "Discovery::clock",
            |discovery, urls| discovery.clock(urls.world.other_discovery_clock.clone()),
            |record| record.discoveries() > 1,
        )
        .with_setup(|setup| {
            setup.later = Some(|world| {
                let clock = &world.other_discovery_clock;
                clock.advance(Duration::from_secs(7_200));
            });
        }),
        endpoint(
            "Endpoint::with_introspection_endpoint",
            |endpoint, urls| endpoint.with_introspection_endpoint(urls.url("other/introspect")),
            |record| record.requested("/other/introspect"),
        ),
        endpoint(
            "Endpoint::with_revocation_endpoint",
            |endpoint, urls| endpoint.with_revocation_endpoint(urls.url("other/revoke")),
            |record| record.requested("/other/revoke"),
        ),
        endpoint(
            "Endpoint::with_mtls_alias",
            |endpoint, urls| endpoint.with_mtls_alias(urls.url("alias")),
            |record| record.requested("/alias"),
        )
        .with_setup(|setup| setup.method = Method::Certificate),
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
                |record| record.error.is_empty() || record.failed("SPIFFE ID"),
            )
            .with_setup(|setup| setup.id = UTF8_ID),
            of(
                "clock",
                |one, urls| one.clock(urls.world.client_clock.clone()),
                CallRecord::is_by_clock,
            ),
            of(
                "danger_allow_http_on_loopback",
                |one, _| one.danger_allow_http_on_loopback(),
                |record| !record.failed(PLAIN_HTTP),
            )
            .with_setup(|setup| setup.endpoints = Origin::Plain),
            of(
                "hints",
                |one, _| one.hints(|_| Some("a hint of the adapter".into())),
                |record| record.failed("a hint of the adapter"),
            )
            .with_setup(|setup| setup.answer.status = 503),
            of(
                "refuse_local_endpoint",
                |one, _| one.refuse_local_endpoint(),
                |record| record.failed("`refuse_local_endpoint` forbids"),
            )
            .with_setup(|setup| setup.endpoints = Origin::Local),
            of(
                "retry",
                |one, _| one.retry(Retry::never()),
                |record| record.attempts == 1,
            )
            .with_setup(|setup| setup.answer.status = 503),
            of(
                "transport",
                |one, urls| one.transport(urls.world.other_transport.clone()),
                |record| record.header("user-agent") == "other/1.0",
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
            |record| record.sent("audience", "https://orders.example"),
        ),
        of(
            "authentication",
            |one, _| one.authentication(ClientSecretPost::new(secret("replaced"))),
            |record| record.sent("client_secret", "replaced"),
        ),
        of(
            "authorization_details",
            |one, _| one.authorization_details(DETAILS),
            |record| record.sent("authorization_details", "payment"),
        )
        .with_answer(|answer| answer.details = Some(json!([{ "type": "payment" }]))),
        of(
            "dpop",
            |one, urls| one.dpop(urls.dpop(&urls.world.dpop)),
            |record| record.proof_key() == record.dpop_key,
        )
        .with_answer(|answer| answer.token_type = "DPoP"),
        of(
            "json_requests",
            |one, _| one.json_requests(),
            |record| record.header("content-type") == "application/json",
        ),
        of(
            "parameter",
            |one, _| one.parameter("tenant", "blue"),
            |record| record.sent("tenant", "blue"),
        ),
        of(
            "request_header",
            |one, _| {
                let one = one.request_header("x-gateway", secret("gateway"));
                one.request_header("x-tenant", secret("tenant"))
            },
            |record| {
                record.header("x-gateway") == "gateway" && record.header("x-tenant") == "tenant"
            },
        ),
        of(
            "resource",
            |one, _| one.resource("https://orders.example/"),
            |record| record.sent("resource", "https://orders.example/"),
        ),
        of(
            "scope",
            |one, _| one.scope("orders.read"),
            |record| record.sent("scope", "orders.read"),
        ),
        // It needs tokens that are bound to a key.
        of(
            "security_profile",
            |one, _| one.security_profile(SecurityProfile::Fapi2),
            |record| record.failed(WEAK),
        )
        .with_needs(|one, urls| one.dpop(urls.dpop(&urls.world.other_dpop)))
        .with_setup(|setup| setup.method = Method::Post)
        .with_effect(
            |setup| setup.method = Method::SignedForOther,
            |record| record.failed(OTHER_AUDIENCE),
        )
        .with_effect(
            |setup| {
                setup.method = Method::Signed;
                setup.is_prover_weak = true;
            },
            |record| record.failed("the DPoP proof has a signature"),
        )
        .with_answer(|answer| answer.token_type = "DPoP"),
        of(
            "token_endpoint",
            |one, urls| one.token_endpoint(urls.url("replaced")),
            |record| record.requested("/replaced"),
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
            |record| record.lifetime() == Duration::from_secs(600),
        )
        .with_answer(|answer| answer.expires_in = None),
        of(
            "expiry_member",
            |one, _| one.expiry_member("/until", ExpiryFormat::Milliseconds),
            |record| record.lifetime() == Duration::from_secs(500),
        )
        .with_answer(|answer| answer.until = Some(500_000)),
        accepting(
            "lenient_responses",
            |one, _| one.lenient_responses(),
            |answer| answer.content_type = "text/plain",
        ),
        of(
            "max_lifetime",
            |one, _| one.max_lifetime(Duration::from_secs(900)),
            |record| record.lifetime() == Duration::from_secs(900),
        )
        .with_setup(|setup| {
            setup.answer.expires_in = Some(7_200);
            setup.answer.until = Some(7_200_000);
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
            |record| record.failed("authorization details"),
        )
        .with_setup(|setup| {
            let details = r#"[{"type":"own"}]"#.parse().unwrap();
            setup.request = TokenRequest::new().with_authorization_details(details);
            setup.answer.details = None;
        }),
        of(
            "require_granted_scopes",
            |one, _| one.require_granted_scopes(),
            |record| record.failed("without the required `two`"),
        )
        .with_setup(|setup| {
            setup.request = TokenRequest::new().with_scopes("one two".parse().unwrap());
            setup.answer.scope = Some("one");
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
        |record| record.sent("grant_type", "own"),
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
            |record| record.sent("actor_token", "the-actor"),
        ),
        Row::of(
            "requested_token_type",
            |one, _| one.requested_token_type(TokenTypeUri::JWT),
            |record| record.sent("requested_token_type", ":jwt"),
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
            |one, urls| one.require_signed_responses(AcceptAllVerifier::new(urls)),
            |record| record.requested("/jwks.json"),
        )
        .with_answer(|answer| {
            answer.content_type = "application/token-introspection+jwt";
            // Its algorithm and the length of its signature are those that FAPI 2.0 allows.
            let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
            answer.body = Some(format!("{header}.e30.{}", "A".repeat(86)));
        }),
        Row::<TokenManagementBuilder>::of(
            "security_profile",
            |one, _| one.security_profile(SecurityProfile::Fapi2),
            |record| record.failed(WEAK),
        )
        .with_setup(|setup| setup.method = Method::Post)
        .with_effect(
            |setup| setup.method = Method::SignedForOther,
            |record| record.failed(OTHER_AUDIENCE),
        ),
    ]);
    rows
}
