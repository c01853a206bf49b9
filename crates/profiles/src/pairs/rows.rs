//! The table of all settings: for each some values, the servers and the clients with which it has an effect, and how
//! the effect is seen.

use std::time::Duration;

use hallpass_core::TokenType;
use serde_json::{Value, json};

use super::{
    base::{Address, Client, Table},
    redis,
    run::Run,
    server::Answer,
};
use crate::{authentication::AuthenticationSettings, server::Server};

/// A value of a setting.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) key: &'static str,
    /// The value as TOML.
    pub(super) value: &'static str,
    /// The servers with which it has an effect.
    pub(super) addresses: &'static [Address],
    /// The clients with which it has an effect.
    pub(super) clients: &'static [Client],
    /// The settings that it needs.
    pub(super) with: &'static [(&'static str, &'static str)],
    /// The response that the server gives to clients with this setting.
    pub(super) answer: fn(&mut Answer),
    /// True if the effect is seen when a token is issued.
    pub(super) seen: fn(&Run) -> bool,
    pub(super) probe: Option<Probe>,
}

/// A run of its own that shows the effect.
#[derive(Clone, Copy)]
pub(super) struct Probe {
    pub(super) change: fn(&mut Table),
    pub(super) answer: fn(&mut Answer),
    pub(super) seen: fn(&Run) -> bool,
}

impl Sample {
    pub(super) fn new(key: &'static str, value: &'static str, seen: fn(&Run) -> bool) -> Self {
        Self {
            key,
            value,
            addresses: Address::ALL,
            clients: Client::ALL,
            with: &[],
            answer: |_| {},
            seen,
            probe: None,
        }
    }

    fn at(self, addresses: &'static [Address]) -> Self {
        Self { addresses, ..self }
    }

    fn of(self, clients: &'static [Client]) -> Self {
        Self { clients, ..self }
    }

    fn with(self, with: &'static [(&'static str, &'static str)]) -> Self {
        Self { with, ..self }
    }

    fn answer(self, answer: fn(&mut Answer)) -> Self {
        Self { answer, ..self }
    }

    fn probe(self, answer: fn(&mut Answer), seen: fn(&Run) -> bool) -> Self {
        self.changed(|_| {}, answer, seen)
    }

    fn changed(
        self,
        change: fn(&mut Table),
        answer: fn(&mut Answer),
        seen: fn(&Run) -> bool,
    ) -> Self {
        let probe = Some(Probe {
            change,
            answer,
            seen,
        });
        Self { probe, ..self }
    }
}

use Address as A;
use Client as C;

const SIGNED: &[C] = &[C::Signed, C::SignedWithCertificate];
const SIGNING: &[C] = &[C::Signed, C::SignedWithCertificate, C::SecretJwt];
const WITH_SECRET: &[C] = &[C::Secret, C::SecretAndTls, C::SecretAndTlsWithKey];
const IN_TLS: &[C] = &[
    C::Tls,
    C::TlsWithKey,
    C::SelfSigned,
    C::SelfSignedWithKey,
    C::SecretAndTls,
    C::SecretAndTlsWithKey,
];
const DPOP: (&str, &str) = ("dpop", "'file:{dir}/dpop.pem'");
pub(super) const REDIS: &str = "{ url = 'redis://{redis}', keys = 'file:{dir}/keys', username = 'user-{run}', password = 'file:{dir}/password', timeout = '50ms' }";
const DETAILS: &str = r#"'[{"type":"payment"}]'"#;

/// Returns all values of all settings.
pub(super) fn samples() -> Vec<Sample> {
    [
        client(),
        methods(),
        server(),
        request(),
        response(),
        local(),
    ]
    .concat()
}

/// Returns the settings of the client.
fn client() -> Vec<Sample> {
    vec![
        Sample::new("algorithm", "'PS256'", |run| run.jwt(0, "alg") == "PS256").of(SIGNED),
        Sample::new("assertion", "'file:{dir}/assertion'", |run| {
            run.parameter("client_assertion")
                .contains("CANARY-signature")
        })
        .of(&[C::Workload, C::Spiffe]),
        Sample::new("bound_tokens", "false", |run| {
            run.token().is_some_and(|token| token.binding().is_none())
        })
        .of(IN_TLS),
        Sample::new("bound_tokens", "true", |run| {
            run.token().is_some_and(|token| token.binding().is_some())
        })
        .of(IN_TLS),
        Sample::new("certificate", "'file:{dir}/identity.pem'", |run| {
            run.has_certificate() || run.jwt(0, "x5t#S256").is_string()
        })
        .of(&[
            C::Tls,
            C::TlsWithKey,
            C::SelfSigned,
            C::SelfSignedWithKey,
            C::SecretAndTls,
            C::SecretAndTlsWithKey,
            C::SignedWithCertificate,
        ]),
        Sample::new("client_id", "'invoices'", |run| {
            let sent =
                run.basic().starts_with("invoices:") || run.parameter("client_id") == "invoices";
            sent || run.jwt(1, "sub") == "invoices"
        }),
        Sample::new("client_secret", "'file:{dir}/secret'", |run| {
            let sent =
                run.basic().contains("CANARY") || run.parameter("client_secret").contains("CANARY");
            sent || run.jwt(0, "alg") == "HS256"
        })
        .of(&[
            C::Secret,
            C::Post,
            C::SecretJwt,
            C::SecretAndTls,
            C::SecretAndTlsWithKey,
        ]),
        Sample::new("dpop", DPOP.1, |run| {
            let is_bound = run
                .token()
                .is_some_and(|token| token.token_type() == TokenType::Dpop);
            is_bound && run.header("dpop").contains('.')
        })
        .answer(|answer| answer.token_type = "DPoP"),
        Sample::new("key_id", "'k-2026'", |run| run.jwt(0, "kid") == "k-2026").of(SIGNED),
        Sample::new("private_key", "'file:{dir}/key.pem'", |run| {
            run.has_certificate()
                || run
                    .jwt(0, "alg")
                    .as_str()
                    .is_some_and(|alg| alg.ends_with("S256"))
        })
        .of(&[
            C::Signed,
            C::SignedWithCertificate,
            C::TlsWithKey,
            C::SelfSignedWithKey,
            C::SecretAndTlsWithKey,
        ]),
        Sample::new("send_certificate_chain", "true", |run| {
            run.jwt(0, "x5c").is_array()
        })
        .of(&[C::SignedWithCertificate]),
    ]
}

/// Returns the client authentication methods.
fn methods() -> Vec<Sample> {
    let method = |value, clients, seen| Sample::new("authentication", value, seen).of(clients);
    vec![
        method(
            "'client_secret_post'",
            &[C::Post, C::SecretAndTls, C::SecretAndTlsWithKey],
            |run| run.parameter("client_secret").contains("CANARY"),
        ),
        method("'client_secret_basic'", WITH_SECRET, |run| {
            run.basic().contains("CANARY%2B")
        }),
        method("'client_secret_basic_raw'", WITH_SECRET, |run| {
            run.basic().contains("CANARY+")
        }),
        method("'private_key_jwt'", SIGNED, |run| {
            run.jwt(0, "alg")
                .as_str()
                .is_some_and(|alg| alg.ends_with("S256"))
        }),
        method("'client_secret_jwt'", &[C::SecretJwt], |run| {
            run.jwt(0, "alg") == "HS256"
        }),
        method("'workload_identity'", &[C::Workload], |run| {
            run.parameter("client_assertion_type")
                .ends_with(":jwt-bearer")
        }),
        method("'spiffe_jwt'", &[C::Spiffe], |run| {
            run.parameter("client_assertion_type").contains("spiffe")
        }),
        method(
            "'tls_client_auth'",
            &[C::Tls, C::TlsWithKey],
            Run::has_certificate,
        ),
        method(
            "'self_signed_tls_client_auth'",
            &[C::SelfSigned, C::SelfSignedWithKey],
            Run::has_certificate,
        ),
        method("'none'", &[C::Public], |run| {
            let sent = ["client_secret", "client_assertion"];
            run.basic().is_empty() && sent.iter().all(|name| run.parameter(name).is_empty())
        }),
    ]
}

/// Returns the settings of the server, and of assertions for it.
fn server() -> Vec<Sample> {
    const WITH_ENDPOINT: &[A] = &[A::Endpoint, A::PresetAt, A::Registered];
    let is_endpoint = |run: &Run| run.token_path().ends_with("/token");
    vec![
        Sample::new("assertion_audience", "'https://audience.example'", |run| {
            run.audience() == "https://audience.example"
        })
        .of(SIGNING),
        Sample::new("assertion_audience", "'token_endpoint'", |run| {
            run.audience().ends_with("/token")
        })
        .of(SIGNING)
        .at(&[A::Endpoint, A::PresetAt, A::Preset, A::Registered]),
        Sample::new("assertion_typ", "'JWT'", |run| run.jwt(0, "typ") == "JWT").of(SIGNING),
        Sample::new("danger_token_endpoint_as_audience", "true", |run| {
            run.audience().ends_with(run.token_path())
        })
        .of(SIGNING),
        Sample::new("issuer", "'{base}/{run}'", |run| {
            run.token_path().ends_with("/discovered")
        })
        .at(&[A::Issuer, A::RegisteredIssuer]),
        Sample::new("issuer", "'https://other.example'", |run| {
            run.audience() == "https://other.example"
        })
        .of(SIGNING)
        .at(&[A::Endpoint, A::Preset, A::PresetAt, A::Registered]),
        Sample::new("openid_discovery", "true", |run| {
            run.requested("/.well-known/openid-configuration")
        })
        .at(&[A::Issuer, A::RegisteredIssuer]),
        Sample::new("openid_discovery", "false", |run| {
            run.requested("/.well-known/oauth-")
        })
        .at(&[A::Issuer, A::RegisteredIssuer]),
        Sample::new("provider", "'keycloak'", |run| is_preset(run, "Keycloak"))
            .at(&[A::Preset, A::PresetAt]),
        Sample::new("provider", "'auth0'", |run| {
            // Auth0 documents `client_secret_post`.
            let method = &run.settings().authentication;
            let is_default = matches!(
                method,
                AuthenticationSettings::ClientSecret { encoding: None, .. }
            );
            is_preset(run, "Auth0") && (run.basic().is_empty() || !is_default)
        })
        .at(&[A::PresetAt])
        .with(&[("audience", "'https://api.example'")]),
        Sample::new("provider", "'acme'", |run| {
            !run.parameter("region").is_empty()
        })
        .at(&[A::Registered, A::RegisteredIssuer]),
        Sample::new("provider_settings", "{ region = 'us' }", |run| {
            run.parameter("region") == "us"
        })
        .at(&[A::Registered, A::RegisteredIssuer]),
        Sample::new("security_profile", "'fapi2'", |run| {
            run.settings().security_profile.is_some()
                && (run.has_certificate() || run.jwt(0, "alg") == "PS256")
        })
        .at(&[A::Issuer, A::RegisteredIssuer])
        .of(&[
            C::Signed,
            C::SignedWithCertificate,
            C::Tls,
            C::TlsWithKey,
            C::SelfSigned,
            C::SelfSignedWithKey,
        ])
        .with(&[DPOP]),
        Sample::new("token_endpoint", "'{base}/{run}/token'", is_endpoint).at(WITH_ENDPOINT),
        Sample::new("variables", "{ host = '{host}', realm = '{run}' }", |run| {
            run.token_path().contains("/realms/")
        })
        .at(&[A::Preset]),
    ]
}

/// Returns the settings of requests.
fn request() -> Vec<Sample> {
    vec![
        Sample::new("audience", "'https://orders.example'", |run| {
            run.parameter("audience") == "https://orders.example"
        }),
        Sample::new("authorization_details", DETAILS, |run| {
            run.parameter("authorization_details").contains("payment")
        })
        .answer(|answer| answer.details = Some(json!([{ "type": "payment" }]))),
        Sample::new("grant_type", "'own'", |run| {
            run.parameter("grant_type") == "own"
        }),
        Sample::new("json_requests", "true", |run| {
            run.header("content-type") == "application/json"
        }),
        Sample::new("parameters", "{ tenant = 'blue' }", |run| {
            run.parameter("tenant") == "blue"
        }),
        Sample::new(
            "request_headers",
            "{ X-Gateway = 'file:{dir}/header' }",
            |run| run.header("x-gateway").contains("CANARY"),
        ),
        Sample::new("resource", "'https://orders.example/'", |run| {
            run.parameter("resource") == "https://orders.example/"
        }),
        Sample::new("scope", "'orders.read'", |run| {
            run.parameter("scope") == "orders.read"
        }),
        Sample::new("user_agent", "'orders/1.0'", |run| {
            run.header("user-agent") == "orders/1.0"
        }),
    ]
}

/// Returns the settings of responses.
fn response() -> Vec<Sample> {
    const MEMBER: (&str, &str) = ("expiry_member", "'/until'");
    const FORMAT: (&str, &str) = ("expiry_format", "'milliseconds'");
    let until: fn(&mut Answer) = |answer| answer.until = Some(600_000);
    let in_minutes: fn(&Run) -> bool = |run| run.lifetime() == Duration::from_secs(600);
    vec![
        Sample::new("compressed_responses", "true", Run::is_issued)
            .answer(|answer| answer.is_compressed = true),
        Sample::new("default_lifetime", "'7m'", Run::is_issued).probe(
            |answer| answer.expires_in = None,
            |run| run.lifetime() == Duration::from_secs(420),
        ),
        Sample::new(FORMAT.0, FORMAT.1, in_minutes)
            .with(&[MEMBER])
            .answer(until),
        Sample::new(MEMBER.0, MEMBER.1, in_minutes)
            .with(&[FORMAT])
            .answer(until),
        Sample::new("lenient_responses", "true", Run::is_issued)
            .probe(|answer| answer.content_type = "text/plain", Run::is_issued),
        Sample::new("max_lifetime", "'15m'", Run::is_issued).probe(
            |answer| {
                answer.expires_in = Some(80_000);
                answer.until = answer.until.map(|_| 80_000_000);
            },
            |run| run.lifetime() == Duration::from_secs(900),
        ),
        Sample::new(
            "require_granted_authorization_details",
            "true",
            Run::is_issued,
        )
        .with(&[("authorization_details", DETAILS)])
        .probe(
            |answer| answer.details = None,
            |run| run.error().contains("authorization"),
        ),
        Sample::new("require_granted_scopes", "true", Run::is_issued)
            .with(&[("scope", "'orders.read'")])
            .probe(
                |answer| answer.scope = Some("other"),
                |run| run.error().contains("scope"),
            ),
        Sample::new("token_member", "'/data/access_token'", Run::is_issued)
            .answer(|answer| answer.is_nested = true),
        Sample::new("token_type_name", "'Application Token'", Run::is_issued)
            .answer(|answer| answer.token_type = "Application Token"),
    ]
}

/// Returns the settings of connections, and those of this machine.
fn local() -> Vec<Sample> {
    fn silent(table: &mut Table) {
        for (key, value) in table.iter_mut() {
            *value = match *key {
                "proxy" => "'http://127.0.0.1:{silent_port}'".to_owned(),
                "token_endpoint" | "issuer" => value.replace("{base}", "{silent}"),
                "variables" => "{ host = '127.0.0.1:{silent_port}', realm = '{run}' }".to_owned(),
                _ => continue,
            };
        }
    }
    fn plain(table: &mut Table) {
        for (key, value) in table.iter_mut() {
            if ["token_endpoint", "issuer"].contains(key) {
                *value = value.replace("{base}", "{http}");
            }
        }
    }
    fn stall(table: &mut Table) {
        for value in table.values_mut() {
            if let Some((before, rest)) = value.split_once("'command:") {
                let after = rest.split_once('\'').map_or("", |(_, after)| after);
                *value = format!("{before}'command:sleep 60'{after}");
            }
        }
    }
    vec![
        Sample::new("allowed_origins", "'https://api.example'", |run| {
            run.settings().allowed_origins == ["https://api.example"]
        }),
        Sample::new("ca_file", "'{dir}/authority.pem'", |run| {
            run.last().is_some_and(|request| request.connection.is_tls)
        }),
        Sample::new("cache", "false", |run| run.settings().cache == Some(false)),
        Sample::new("command_timeout", "'2s'", Run::is_issued).changed(
            stall,
            |_| {},
            |run| run.token().is_none() && run.elapsed() == Duration::from_secs(2),
        ),
        Sample::new("connect_timeout", "'3s'", Run::is_issued).changed(
            silent,
            |_| {},
            |run| (3_000..4_500).contains(&run.silence().as_millis()),
        ),
        Sample::new("danger_allow_http_on_loopback", "true", Run::is_issued).changed(
            plain,
            |_| {},
            |run| {
                let last = run.last().is_some_and(|request| !request.connection.is_tls);
                last && run.is_issued()
            },
        ),
        Sample::new("proxy", "'http://127.0.0.1:{port}'", |run| {
            run.last()
                .is_some_and(|request| request.connection.is_proxied)
        }),
        Sample::new("redis", REDIS, |run| {
            run.redis_received(&["EVALSHA", "user-", "CANARY-password"])
        }),
        Sample::new("redis", redis::SENTINELS, redis::SENTINELS_SEEN),
        Sample::new("redis", redis::CLUSTER, redis::CLUSTER_SEEN),
        Sample::new("timeout", "'7s'", Run::is_issued).probe(
            |answer| answer.is_missing = true,
            |run| (7_000..8_500).contains(&run.gap().as_millis()),
        ),
    ]
}

fn is_preset(run: &Run, name: &str) -> bool {
    matches!(run.settings().server, Server::Preset(preset) if preset.name == name)
}

/// Returns the text of a JSON string or of the only one of an array.
pub(super) fn text(value: &Value) -> &str {
    value
        .as_str()
        .or_else(|| value.get(0)?.as_str())
        .unwrap_or_default()
}
