//! The FAPI 2.0 Security Profile against a certified authorization server in its FAPI 2.0 mode.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    AccessToken, ErrorKind, OAuthError, TokenError, TokenRequest, TokenSource, TokenType,
    async_trait,
    endpoint::{
        AuthenticationContext, ClientAuthentication, ClientCredentials, ClientIdentity,
        Credentials, Endpoint, HttpTransport, MutualTls, SecurityProfile, SourceBuilder,
        TokenManagement,
    },
    jwt::{Algorithm, AssertionSettings, Dpop, PrivateKeyJwt, Signer as _, SigningKey},
};
use serde_json::{Value, json};

use crate::{peer::OidcProvider, support::secret};

const FAPI: SecurityProfile = SecurityProfile::Fapi2;

fn read(peer: &OidcProvider, name: &str) -> String {
    fs::read_to_string(Path::new(peer.received("keys")).join(name)).unwrap()
}

fn transport(peer: &OidcProvider) -> HttpTransport {
    HttpTransport::builder()
        .add_root_certificates_pem(read(peer, "ca.crt"))
        .only_added_root_certificates()
        .build()
        .unwrap()
}

fn login(peer: &OidcProvider) -> Endpoint {
    let login = Endpoint::discover(peer.received("tls_issuer")).transport(transport(peer));
    login.openid_location().build().unwrap()
}

fn key(peer: &OidcProvider, name: &str) -> SigningKey {
    let key = SigningKey::from_pem(&read(peer, &format!("{name}.pem"))).unwrap();
    let key = key.with_key_id(name);
    match name {
        "ps256" => key.with_algorithm(Algorithm::Ps256).unwrap(),
        _ => key,
    }
}

fn signed(peer: &OidcProvider, name: &str) -> PrivateKeyJwt {
    PrivateKeyJwt::new(AssertionSettings::for_discovered_issuer(), key(peer, name))
}

fn certificate(peer: &OidcProvider, name: &str) -> MutualTls {
    let pem = read(peer, &format!("{name}.crt")) + &read(peer, &format!("{name}.key"));
    MutualTls::new(secret(&pem))
}

/// Returns the source of tokens that are not JWTs.
fn opaque(
    peer: &OidcProvider,
    id: &str,
    authentication: impl ClientAuthentication + 'static,
) -> SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(login(peer), id, authentication)
        .transport(transport(peer))
        .scope("api:read")
}

fn client(
    peer: &OidcProvider,
    id: &str,
    authentication: impl ClientAuthentication + 'static,
) -> SourceBuilder<ClientCredentials> {
    opaque(peer, id, authentication).resource("https://orders.example/api")
}

fn dpop() -> Dpop {
    Dpop::generate().unwrap()
}

async fn fetch(source: SourceBuilder<ClientCredentials>) -> Result<AccessToken, TokenError> {
    let source = source.build().unwrap();
    source.token(&TokenRequest::default()).await
}

/// Returns the confirmation in a token, which is a JWT.
fn confirmation(token: &AccessToken) -> Value {
    let claims = token.expose().split('.').nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["cnf"].clone()
}

#[tokio::test]
async fn fapi_works_with_each_algorithm_proofs_and_nonces() {
    let Some(mut peer) = OidcProvider::start(&["--fapi", "--dpop-nonce"]).await else {
        return;
    };
    for name in ["es256", "ps256", "eddsa"] {
        let dpop = dpop();
        let source = client(&peer, &format!("key-{name}"), signed(&peer, name));
        let source = source.dpop(dpop.clone()).security_profile(FAPI);
        let token = fetch(source).await.expect(name);
        assert_eq!(token.token_type(), TokenType::Dpop);
        assert_eq!(confirmation(&token), json!({ "jkt": dpop.thumbprint() }));
        // The demand of a nonce, and the request with it.
        assert_eq!((peer.served().await, peer.served().await), (400, 200));
    }
}

#[tokio::test]
async fn fapi_works_with_certificates_and_aliases() {
    let Some(mut peer) = OidcProvider::start(&["--fapi"]).await else {
        return;
    };
    for (id, authentication) in [
        ("mtls", certificate(&peer, "client")),
        (
            "mtls-self-signed",
            certificate(&peer, "self-signed").self_signed(),
        ),
    ] {
        let source = client(&peer, id, authentication).security_profile(FAPI);
        let token = fetch(source).await.expect(id);
        assert_eq!(token.token_type(), TokenType::Bearer);
        assert!(confirmation(&token)["x5t#S256"].is_string() && token.binding().is_some());
        assert_eq!(peer.served().await, 200);
    }
    // The certificate authenticates, and a proof binds.
    let authentication = certificate(&peer, "client").unbound_tokens();
    let source = client(&peer, "mtls-dpop", authentication).dpop(dpop());
    let token = fetch(source.security_profile(FAPI)).await.unwrap();
    assert_eq!(token.token_type(), TokenType::Dpop);
}

/// `private_key_jwt` and a certificate to which tokens are bound.
#[derive(Debug)]
struct SignedAndCertified(PrivateKeyJwt, ClientIdentity);

#[async_trait]
impl ClientAuthentication for SignedAndCertified {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let credentials = self.0.credentials(context).await?;
        Ok(credentials.with_identity(self.1.clone()))
    }

    fn method(&self) -> Option<&'static str> {
        self.0.method()
    }

    fn binds_tokens(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn fapi_works_with_an_assertion_and_a_certificate() {
    let Some(mut peer) = OidcProvider::start(&["--fapi"]).await else {
        return;
    };
    let pem = read(&peer, "client.crt") + &read(&peer, "client.key");
    let identity = ClientIdentity::from_pem(&pem).unwrap();
    let authentication = SignedAndCertified(signed(&peer, "es256"), identity);
    let source = client(&peer, "key-mtls", authentication).security_profile(FAPI);
    let token = fetch(source).await.unwrap();
    assert!(confirmation(&token)["x5t#S256"].is_string());
    assert_eq!(peer.served().await, 200);
}

#[tokio::test]
async fn fapi_holds_for_introspection_at_a_real_server() {
    let Some(peer) = OidcProvider::start(&["--fapi"]).await else {
        return;
    };
    let source = opaque(&peer, "mtls", certificate(&peer, "client"));
    let token = fetch(source.security_profile(FAPI)).await.unwrap();
    let tokens = TokenManagement::builder(login(&peer), "mtls", certificate(&peer, "client"));
    let tokens = tokens.transport(transport(&peer)).security_profile(FAPI);
    let known = tokens.build().unwrap().introspect(&token).await.unwrap();
    assert!(known.is_active());
}

/// An implementation of another crate, which signs these claims over those of the profile.
#[derive(Debug)]
struct Foreign {
    key: SigningKey,
    claims: Value,
}

#[async_trait]
impl ClientAuthentication for Foreign {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        let issuer = context.metadata().unwrap().issuer();
        let id = context.client_id();
        let mut claims = json!({
            "iss": id, "sub": id, "aud": issuer, "iat": now, "exp": now + 60, "jti": now.to_string(),
        });
        for (name, value) in self.claims.as_object().unwrap() {
            claims[name] = match value.as_str() {
                Some("token endpoint") => json!(context.token_endpoint()),
                Some("list") => json!([issuer]),
                Some("a year") => json!(now + 31_536_000),
                _ => value.clone(),
            };
        }
        let header = json!({ "alg": self.key.algorithm().name(), "kid": self.key.key_id() });
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let [header, claims] = [header, claims].map(|part| encode(part.to_string().as_bytes()));
        let message = format!("{header}.{claims}");
        let signature = encode(&self.key.sign(message.as_bytes()).await?);
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        Ok(Credentials::parameters([
            ("client_id", id.to_owned()),
            ("client_assertion_type", kind.to_owned()),
            ("client_assertion", format!("{message}.{signature}")),
        ]))
    }

    fn method(&self) -> Option<&'static str> {
        Some("private_key_jwt")
    }
}

#[tokio::test]
async fn fapi_stops_a_foreign_method_before_the_network() {
    let Some(mut peer) = OidcProvider::start(&["--fapi"]).await else {
        return;
    };
    for (name, claims, section, at_server) in [
        (
            "es256",
            json!({ "aud": "token endpoint" }),
            "5.3.3.1",
            Some("invalid_client"),
        ),
        (
            "es256",
            json!({ "aud": "list" }),
            "5.3.3.1",
            Some("invalid_client"),
        ),
        ("rs256", json!({}), "5.4.1", Some("invalid_client")),
        // The server accepts it, so the client's own check is the only one.
        ("es256", json!({ "exp": "a year" }), "5.3.3.1", None),
    ] {
        let foreign = || Foreign {
            key: key(&peer, name),
            claims: claims.clone(),
        };
        let id = format!("key-{name}");
        let free = client(&peer, &id, foreign()).dpop(dpop());
        let held = client(&peer, &id, foreign())
            .dpop(dpop())
            .security_profile(FAPI);

        let error = fetch(held).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{claims}: {error}");
        assert!(error.to_string().contains(section), "{claims}: {error}");

        // Without the profile it is sent, which also shows that nothing was sent before.
        let answer = fetch(free).await;
        let code = answer.as_ref().err().and_then(TokenError::oauth_error);
        assert_eq!(code.map(OAuthError::code), at_server, "{claims}");
        let status = if at_server.is_some() { 401 } else { 200 };
        assert_eq!(peer.served().await, status, "{claims}");
    }
}

#[tokio::test]
async fn fapi_server_refuses_what_the_profile_excludes() {
    let Some(mut peer) = OidcProvider::start(&["--fapi"]).await else {
        return;
    };
    // Each of these is an error of `build` with the profile.
    let without_proof = client(&peer, "key-es256", signed(&peer, "es256"));
    let settings = AssertionSettings::for_discovered_issuer();
    let settings = settings.danger_token_endpoint_as_audience();
    let audience = PrivateKeyJwt::new(settings, key(&peer, "es256"));
    let audience = client(&peer, "key-es256", audience).dpop(dpop());
    let algorithm = client(&peer, "key-rs256", signed(&peer, "rs256")).dpop(dpop());
    for (name, source) in [
        ("no proof", without_proof),
        ("audience", audience),
        ("algorithm", algorithm),
    ] {
        let error = fetch(source).await.expect_err(name);
        assert!(error.oauth_error().is_some(), "{name}: {error}");
        assert!(peer.served().await >= 400, "{name}");
    }
}
