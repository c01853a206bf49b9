//! The FAPI 2.0 Security Profile: settings that are weaker are refused before the network.

use std::sync::Arc;

use hallpass::{
    TokenError, async_trait,
    endpoint::{
        Anonymous, AuthenticationContext, BuildError, ClientAuthentication, ClientCredentials,
        ClientSecretBasic, ClientSecretPost, Credentials, Discovery, Endpoint, ExpiryFormat,
        HttpTransport, JwtBearer, MutualTls, PublicClient, RefreshToken, SecretAssertion,
        SecurityProfile, SourceBuilder, Strongest, TokenManagement,
    },
    jwt::{
        Algorithm, AssertionSettings, ClientSecretJwt, Dpop, PrivateKeyJwt, SigningKey,
        WorkloadIdentity,
    },
    secrets::MemorySecret,
};

use crate::support::{ID, secret};

const FAPI: SecurityProfile = SecurityProfile::Fapi2;
const ISSUER: &str = "https://bank.example";

fn bank() -> Discovery {
    Endpoint::discover(ISSUER)
}

fn settings() -> AssertionSettings {
    AssertionSettings::for_discovered_issuer()
}

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(algorithm).unwrap().0
}

fn signed() -> PrivateKeyJwt {
    PrivateKeyJwt::new(settings(), key(Algorithm::Es256))
}

/// Nothing is read before a request.
fn certificate() -> MutualTls {
    MutualTls::new(secret("certificate and key"))
}

/// Returns a builder that the profile accepts.
fn fit() -> SourceBuilder<ClientCredentials> {
    of(signed()).dpop(Dpop::generate().unwrap())
}

fn of(authentication: impl ClientAuthentication + 'static) -> SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(bank().build().unwrap(), ID, authentication).security_profile(FAPI)
}

fn with_dpop(authentication: impl ClientAuthentication + 'static) -> Result<(), BuildError> {
    let builder = of(authentication).dpop(Dpop::generate().unwrap());
    builder.build().map(drop)
}

/// Checks that the error names the setting, the profile's setting and the section.
fn assert_excluded(result: Result<(), BuildError>, setting: &str, section: &str, name: &str) {
    let error = result.expect_err(name);
    assert_eq!(error.setting(), setting, "{name}: {error}");
    let text = error.to_string();
    let section = format!("FAPI 2.0 Security Profile, section {section}: ");
    for named in ["`security_profile`", &section] {
        assert!(text.contains(named), "{name}: {text}");
    }
}

#[test]
fn fapi_accepts_the_four_ways_to_bind_tokens() {
    fit().build().unwrap();
    of(certificate()).build().unwrap();
    of(certificate().self_signed()).build().unwrap();
    with_dpop(certificate().unbound_tokens()).unwrap();
    with_dpop(Strongest::new(signed()).or(certificate())).unwrap();
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        with_dpop(PrivateKeyJwt::new(settings(), key(algorithm))).unwrap();
    }
}

#[test]
fn fapi_refuses_other_authentication_methods() {
    let shared = || secret("a-shared-secret-of-at-least-32-bytes");
    let methods: [(&str, Box<dyn ClientAuthentication>); 8] = [
        ("basic", Box::new(ClientSecretBasic::new(shared()))),
        ("post", Box::new(ClientSecretPost::new(shared()))),
        ("jwt", Box::new(ClientSecretJwt::new(settings(), shared()))),
        ("none", Box::new(PublicClient::new())),
        ("anonymous", Box::new(Anonymous::new())),
        ("workload", Box::new(WorkloadIdentity::new(shared()))),
        (
            "one of two",
            Box::new(Strongest::new(signed()).or(ClientSecretPost::new(shared()))),
        ),
        ("foreign", Box::new(Foreign(None))),
    ];
    for (name, method) in methods {
        let section = "5.3.3.1";
        assert_excluded(with_dpop(method), "authentication", section, name);
    }
}

#[test]
fn fapi_refuses_other_algorithms_at_build() {
    for algorithm in [Algorithm::Es384, Algorithm::Rs256] {
        let pem = include_str!("../../crates/jwt/src/key/samples/rsa.pem");
        let key = match algorithm {
            Algorithm::Rs256 => SigningKey::from_pem(pem).unwrap(),
            _ => key(algorithm),
        };
        let result = with_dpop(PrivateKeyJwt::new(settings(), key));
        assert_excluded(result, "authentication", "5.4.1", algorithm.name());
    }
    let foreign = with_dpop(Foreign(Some("RS256")));
    assert_excluded(foreign, "authentication", "5.4.1", "foreign");
}

/// A method of another crate.
#[derive(Debug)]
struct Foreign(Option<&'static str>);

#[async_trait]
impl ClientAuthentication for Foreign {
    async fn credentials(&self, _: &AuthenticationContext<'_>) -> Result<Credentials, TokenError> {
        Ok(Credentials::parameters([("client_assertion", "e30.e30.")]))
    }

    fn method(&self) -> Option<&'static str> {
        self.0.map(|_| "private_key_jwt")
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.0
    }
}

#[test]
fn fapi_refuses_weaker_assertions_at_build() {
    let audience = settings().danger_token_endpoint_as_audience();
    let result = with_dpop(PrivateKeyJwt::new(audience, key(Algorithm::Es256)));
    let setting = "danger_token_endpoint_as_audience";
    assert_excluded(result, setting, "5.3.3.1", "audience");
    let other = AssertionSettings::for_audience("https://bank.example/token").unwrap();
    let result = with_dpop(PrivateKeyJwt::new(other, key(Algorithm::Es256)));
    assert_excluded(result, "for_audience", "5.3.3.1", "another text");
    let result = with_dpop(signed().reuse_assertions());
    assert_excluded(result, "reuse_assertions", "5.3.3.1", "reuse");
    // Also behind a pointer, and one of several.
    let result = with_dpop(Arc::new(Strongest::new(signed().reuse_assertions())));
    assert_excluded(result, "reuse_assertions", "5.3.3.1", "reuse");
}

#[test]
fn fapi_refuses_tokens_without_a_binding() {
    assert_excluded(of(signed()).build().map(drop), "dpop", "5.3.3.1", "key");
    let unbound = of(certificate().unbound_tokens()).build().map(drop);
    assert_excluded(unbound, "dpop", "5.3.3.1", "certificate");
}

#[test]
fn fapi_uses_the_servers_metadata_alone() {
    let at = |endpoint: Endpoint| fit().token_endpoint(endpoint).build().map(drop);
    let found = || bank().build().unwrap();
    for (setting, endpoint) in [
        (
            "token_endpoint",
            Endpoint::new("https://bank.example/token"),
        ),
        (
            "with_mtls_alias",
            found().with_mtls_alias("https://a.example"),
        ),
        (
            "with_introspection_endpoint",
            found().with_introspection_endpoint("https://a.example"),
        ),
        (
            "with_revocation_endpoint",
            found().with_revocation_endpoint("https://a.example"),
        ),
    ] {
        assert_excluded(at(endpoint), setting, "5.3.3.1", setting);
    }
}

#[test]
fn fapi_allows_tls_alone_also_on_loopback() {
    let plain = Endpoint::discover("http://127.0.0.1:1").danger_allow_http_on_loopback();
    let plain = fit().token_endpoint(plain.build().unwrap()).build();
    assert_excluded(plain.map(drop), "issuer", "5.2.1", "issuer");
    let setting = "danger_allow_http_on_loopback";
    let plain = fit().danger_allow_http_on_loopback().build();
    assert_excluded(plain.map(drop), setting, "5.2.1", setting);
}

#[test]
fn fapi_refuses_an_http_client_that_nobody_checked() {
    let own = || HttpTransport::danger_from_client(reqwest::Client::new());
    let result = fit().transport(own()).build().map(drop);
    assert_excluded(result, "transport", "5.2.1", "of the source");
    let found = bank().transport(own()).build().unwrap();
    let result = fit().token_endpoint(found).build().map(drop);
    assert_excluded(result, "transport", "5.2.1", "of the discovery");
}

#[test]
fn fapi_excludes_formats_other_than_those_of_oauth() {
    type Change = fn(SourceBuilder<ClientCredentials>) -> SourceBuilder<ClientCredentials>;
    let changes: [(&str, Change); 7] = [
        ("lenient_responses", SourceBuilder::lenient_responses),
        ("json_requests", SourceBuilder::json_requests),
        (
            "allow_utf8_credentials",
            SourceBuilder::allow_utf8_credentials,
        ),
        ("token_member", |source| source.token_member("/data/token")),
        ("expiry_member", |source| {
            source.expiry_member("/expires_on", ExpiryFormat::Seconds)
        }),
        ("token_type_name", |source| {
            source.token_type_name("BearerToken")
        }),
        ("grant_type", |source| source.grant_type("urn:own")),
    ];
    for (setting, change) in changes {
        let result = change(fit()).build().map(drop);
        assert_excluded(result, setting, "5.3.1", setting);
    }
}

#[test]
fn fapi_covers_two_grants_and_refuses_others() {
    let found = || bank().build().unwrap();
    let dpop = || Dpop::generate().unwrap();
    let store = MemorySecret::new(secret("refresh"));
    let refresh = RefreshToken::builder(found(), ID, signed(), store).dpop(dpop());
    refresh.security_profile(FAPI).build().unwrap();
    let assertion = SecretAssertion::new(secret("e30.e30.c2ln"));
    let bearer = JwtBearer::builder(found(), ID, signed(), assertion).dpop(dpop());
    let result = bearer.security_profile(FAPI).build().map(drop);
    assert_excluded(result, "grant_type", "5.3.1", "JWT bearer");
}

#[test]
fn fapi_holds_for_introspection_and_revocation() {
    let build = |authentication: Box<dyn ClientAuthentication>| {
        let tokens = TokenManagement::builder(bank().build().unwrap(), ID, authentication);
        tokens.security_profile(FAPI).build().map(drop)
    };
    build(Box::new(signed())).unwrap();
    build(Box::new(certificate())).unwrap();
    let post = ClientSecretPost::new(secret("s3cr3t"));
    let result = build(Box::new(post));
    assert_excluded(result, "authentication", "5.3.3.1", "post");
}
