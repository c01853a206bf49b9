//! The key, the certificate, the audience and the type of assertions, as settings of profiles.

use std::fs;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_testkit::{
    leak,
    raw::{self, RawServer},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::support::{User, shown};

/// A server that records the last assertion.
struct Login(RawServer);

impl Login {
    async fn start() -> Self {
        let answer = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;
        Self(RawServer::always(raw::json(200, answer)).await)
    }

    fn endpoint(&self) -> String {
        self.0.url("/token")
    }

    /// Returns the header and the claims of the last assertion.
    fn assertion(&self) -> [Value; 2] {
        let sent = String::from_utf8(self.0.requests().pop().unwrap()).unwrap();
        let assertion = sent.split("client_assertion=").nth(1).unwrap();
        let mut parts = assertion.split(['.', '&']);
        [(); 2].map(|()| {
            let part = BASE64_URL_SAFE_NO_PAD.decode(parts.next().unwrap());
            serde_json::from_slice(&part.unwrap()).unwrap()
        })
    }

    fn profile(&self, more: &str) -> String {
        format!(
            "[profile.default]\ntoken_endpoint = '{}'\nclient_id = 'orders'\ncache = false\n\
             danger_allow_http_on_loopback = true\n{more}\n",
            self.endpoint()
        )
    }
}

/// Writes a private key, its certificate and its chain, and returns a setting for each.
fn certified_key(user: &User) -> (String, String) {
    let params = |name: &str, is_authority: bool| {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    };
    let (key, authority_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let authority = params("authority", true);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let authority = Issuer::new(authority, authority_key);
    let own = params("orders", false)
        .signed_by(&key, &authority)
        .unwrap()
        .pem();
    fs::write(user.path("key.pem"), key.serialize_pem()).unwrap();
    fs::write(user.path("chain.pem"), own.clone() + &authority_pem).unwrap();
    fs::write(user.path("upside-down.pem"), authority_pem + &own).unwrap();
    let key = format!(
        "authentication = 'private_key_jwt'\nprivate_key = 'file:{}'\n",
        user.path("key.pem").display()
    );
    (
        key,
        format!(
            "certificate = 'file:{}'\n",
            user.path("chain.pem").display()
        ),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_chain_is_sent_if_it_is_set() {
    let login = Login::start().await;
    let user = User::new();
    let (key, certificate) = certified_key(&user);
    let base = login.profile(&format!(
        "{key}{certificate}assertion_audience = 'token_endpoint'"
    ));
    user.profile(&base);
    assert_eq!(user.prints("token"), "t0ken\n");
    let [header, _] = login.assertion();
    assert!(
        header["x5t#S256"].is_string() && header.get("x5c").is_none(),
        "{header}"
    );

    user.profile(&(base.clone() + "send_certificate_chain = true\n"));
    assert_eq!(user.prints("token"), "t0ken\n");
    let [header, claims] = login.assertion();
    assert_eq!(header["x5c"].as_array().unwrap().len(), 2, "{header}");
    assert_eq!(claims["aud"], login.endpoint());
    assert!(
        user.prints("doctor")
            .contains("identified by its certificate")
    );

    let wrong = base.replace("chain.pem", "upside-down.pem") + "send_certificate_chain = true\n";
    for (profile, says) in [
        (
            wrong,
            "must come first in the chain, and it is certificate 2",
        ),
        (
            base.replace(&certificate, "") + "send_certificate_chain = true\n",
            "`send_certificate_chain` has no effect without `certificate`",
        ),
        (
            login.profile("client_secret = 'env:CLIENT_SECRET'\nsend_certificate_chain = true"),
            "`send_certificate_chain` has no effect",
        ),
    ] {
        user.profile(&profile);
        let text = shown(&user.run("token").code(3));
        assert!(text.contains(says), "{text}");
    }
}

// covers: C-47
#[tokio::test(flavor = "multi_thread")]
async fn audience_and_type_of_assertions_are_settings() {
    let login = Login::start().await;
    let user = User::new();
    let (key, _) = certified_key(&user);
    let endpoint = login.endpoint();
    for (more, audience, typ) in [
        (
            "issuer = 'https://login.example'",
            "https://login.example",
            "client-authentication+jwt",
        ),
        (
            "issuer = 'https://login.example'\nassertion_audience = 'issuer'\nassertion_typ = 'JWT'",
            "https://login.example",
            "JWT",
        ),
        (
            "assertion_audience = 'token_endpoint'",
            &endpoint,
            "client-authentication+jwt",
        ),
        (
            "assertion_audience = 'urn:acme'\nassertion_typ = 'login+jwt'",
            "urn:acme",
            "login+jwt",
        ),
    ] {
        user.profile(&login.profile(&format!("{key}{more}")));
        assert_eq!(user.prints("token"), "t0ken\n");
        let [header, claims] = login.assertion();
        assert_eq!(
            (&claims["aud"], &header["typ"]),
            (&json!(audience), &json!(typ))
        );
    }
    let discovered = login.profile(&format!(
        "{key}issuer = 'https://login.example'\nassertion_audience = 'token_endpoint'"
    ));
    let discovered = discovered.replacen("token_endpoint = ", "user_agent = ", 1);
    let before = login.0.requests().len();
    for (profile, says) in [
        (discovered, "but the token endpoint is not set"),
        (
            login.profile(&format!(
                "{key}assertion_audience = 'urn:acme'\ndanger_token_endpoint_as_audience = true"
            )),
            "both `assertion_audience` and `danger_token_endpoint_as_audience`",
        ),
        (
            login.profile(&format!("{key}assertion_audience = 'CANARY CANARY'")),
            "assertion_audience: ",
        ),
        (
            login.profile(&format!("{key}assertion_audience = 'issuer'")),
            "the issuer",
        ),
        (login.profile(&key), "`assertion_audience`"),
        (
            login.profile(&format!(
                "{key}assertion_audience = 'urn:acme'\nassertion_typ = 'dpop+jwt'"
            )),
            "assertion_typ: it is the type of a JWT for another purpose",
        ),
        (
            login.profile("client_secret = 'env:CLIENT_SECRET'\nassertion_audience = 'urn:acme'"),
            "`assertion_audience` has no effect: the client authenticates with `client_secret`, and signs no assertions",
        ),
        (
            login.profile("client_secret = 'env:CLIENT_SECRET'\nassertion_typ = 'JWT'"),
            "`assertion_typ` has no effect: the client authenticates with `client_secret`, and signs no assertions",
        ),
    ] {
        user.profile(&profile);
        let text = shown(&user.run("token").code(3));
        assert!(text.contains(says), "{says}: {text}");
        leak::assert_clean(&text, "CANARY");
    }
    assert_eq!(login.0.requests().len(), before, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_id_chooses_a_key_of_a_jwk_set() {
    let login = Login::start().await;
    let user = User::new();
    let jwk = |text: &str, kid: &str| {
        let mut jwk: Value = serde_json::from_str(text).unwrap();
        jwk["kid"] = kid.into();
        jwk
    };
    let one = jwk(
        include_str!("../../../jwt/src/key/samples/ec-256.jwk"),
        "one",
    );
    let two = jwk(
        include_str!("../../../jwt/src/key/samples/ed25519.jwk"),
        "two",
    );
    let damaged = json!({ "kid": "damaged", "kty": "EC", "crv": "P-256", "d": "CANARY" });
    let set = json!({ "keys": [7, damaged, one, two] });
    fs::write(user.path("keys.json"), set.to_string()).unwrap();
    let base = login.profile(&format!(
        "private_key = 'file:{}'\nissuer = 'https://login.example'",
        user.path("keys.json").display()
    ));
    for (kid, algorithm) in [("one", "ES256"), ("two", "EdDSA")] {
        user.profile(&format!("{base}key_id = '{kid}'\n"));
        assert_eq!(user.prints("token"), "t0ken\n");
        let [header, _] = login.assertion();
        assert_eq!(
            (&header["kid"], &header["alg"]),
            (&json!(kid), &json!(algorithm))
        );
    }
    let secret = one["d"].as_str().unwrap();
    for (key_id, says) in [
        ("", "choose one by its `kid`"),
        (
            "key_id = 'three'",
            "none of the 4 keys in the JWK set has this `kid`",
        ),
        ("key_id = 'damaged'", "private_key: `file:"),
    ] {
        user.profile(&format!("{base}{key_id}\n"));
        for words in ["token", "doctor"] {
            let text = shown(&user.run(words).code(3));
            assert!(text.contains(says), "{says}: {text}");
            leak::assert_clean(&text, secret);
            leak::assert_clean(&text, "CANARY");
        }
    }
    let twice = json!({ "keys": [one, jwk(include_str!("../../../jwt/src/key/samples/ed25519.jwk"), "one")] });
    fs::write(user.path("keys.json"), twice.to_string()).unwrap();
    user.profile(&format!("{base}key_id = 'one'\n"));
    let text = shown(&user.run("token").code(3));
    assert!(
        text.contains("several keys in the JWK set have this `kid`"),
        "{text}"
    );
}
