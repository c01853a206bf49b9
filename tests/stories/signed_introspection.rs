//! Signed introspection responses (RFC 9701).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    ErrorKind, TokenError,
    endpoint::{ClientSecretBasic, Introspection, Retry, TokenManagement},
    jwt::{Algorithm, ResponseKeys, Signer as _, SigningKey},
};
use hallpass_testkit::{ManualClock, leak};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

use crate::{
    discovery::{OAUTH, count, discover, document},
    support::{ID, secret, static_token},
};

const TOKEN: &str = "t0k3n-CANARY";
pub(crate) const MEDIA_TYPE: &str = "application/token-introspection+jwt";

/// A server that signs, and publishes its keys.
pub(crate) struct Signing {
    server: MockServer,
    /// The published JWK set; a status other than 200 for a text that is a number.
    published: Arc<Mutex<String>>,
    response: Arc<Mutex<ResponseTemplate>>,
    accepted: Arc<AtomicUsize>,
    pub(crate) clock: ManualClock,
}

pub(crate) fn key(id: &str) -> SigningKey {
    SigningKey::generate(Algorithm::Es256)
        .unwrap()
        .0
        .with_key_id(id)
}

pub(crate) fn set(keys: &[&SigningKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

pub(crate) async fn jwt(key: &SigningKey, header: Value, claims: &Value) -> String {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = key.sign(message.as_bytes()).await.unwrap();
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) fn header(key: &SigningKey) -> Value {
    json!({ "alg": "ES256", "typ": "token-introspection+jwt", "kid": key.key_id() })
}

impl Signing {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        let uri = server.uri();
        let mut metadata = document(&uri);
        metadata["introspection_endpoint"] = json!(format!("{uri}/introspect"));
        metadata["jwks_uri"] = json!(format!("{uri}/jwks"));
        let mock = Mock::given(method("GET")).and(path(OAUTH));
        let metadata = ResponseTemplate::new(200).set_body_json(metadata);
        mock.respond_with(metadata).mount(&server).await;

        let published = Arc::new(Mutex::new(String::new()));
        let keys = published.clone();
        let respond = move |_: &Request| {
            let keys = keys.lock().unwrap();
            match keys.parse::<u16>() {
                Ok(status) => ResponseTemplate::new(status),
                Err(_) => ResponseTemplate::new(200).set_body_raw(keys.clone(), "application/json"),
            }
        };
        let mock = Mock::given(method("GET")).and(path("/jwks"));
        mock.respond_with(respond).mount(&server).await;

        let response = Arc::new(Mutex::new(ResponseTemplate::new(500)));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (next, count) = (response.clone(), accepted.clone());
        let respond = move |request: &Request| {
            let accepts = request
                .headers
                .get("accept")
                .is_some_and(|accept| accept == MEDIA_TYPE);
            count.fetch_add(accepts.into(), Ordering::Relaxed);
            next.lock().unwrap().clone()
        };
        let mock = Mock::given(method("POST")).and(path("/introspect"));
        mock.respond_with(respond).mount(&server).await;
        Self {
            server,
            published,
            response,
            accepted,
            clock: ManualClock::new(),
        }
    }

    pub(crate) fn publish(&self, keys: &str) {
        keys.clone_into(&mut self.published.lock().unwrap());
    }

    fn claims(&self) -> Value {
        let now = self.clock_seconds();
        json!({
            "iss": self.server.uri(),
            "aud": ["https://api.example", ID],
            "iat": now,
            "token_introspection": { "active": true, "scope": "a", "sub": "CANARY" },
        })
    }

    /// Returns the seconds since 1970 by the wall clock, or zero before.
    fn clock_seconds(&self) -> u64 {
        use hallpass::Clock as _;
        let since = self.clock.wall().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    }

    fn answer(&self, jwt: &str, media_type: &str) {
        let template = ResponseTemplate::new(200).set_body_raw(jwt, media_type);
        *self.response.lock().unwrap() = template;
    }

    pub(crate) async fn sign(&self, key: &SigningKey) {
        let jwt = jwt(key, header(key), &self.claims()).await;
        self.answer(&jwt, MEDIA_TYPE);
    }

    pub(crate) fn client(&self) -> TokenManagement {
        let login = discover(&self.server.uri())
            .clock(self.clock.clone())
            .build();
        let authentication = ClientSecretBasic::new(secret("s3cr3t"));
        TokenManagement::builder(login.unwrap(), ID, authentication)
            .require_signed_responses(ResponseKeys::new())
            .danger_allow_http_on_loopback()
            .retry(Retry::never())
            .clock(self.clock.clone())
            .build()
            .unwrap()
    }

    pub(crate) async fn key_reads(&self) -> usize {
        count(&self.server, "/jwks").await
    }
}

pub(crate) async fn introspect(tokens: &TokenManagement) -> Result<Introspection, TokenError> {
    tokens.introspect(&static_token(TOKEN)).await
}

#[tokio::test]
async fn a_signed_response_is_requested_verified_and_read() {
    let signing = Signing::start().await;
    let key = key("one");
    signing.publish(&set(&[&key]));
    signing.sign(&key).await;
    let tokens = signing.client();
    for _ in 0..3 {
        let introspection = introspect(&tokens).await.unwrap();
        assert!(introspection.is_active());
        assert_eq!(introspection.scopes().as_str(), "a");
    }
    assert_eq!(signing.accepted.load(Ordering::Relaxed), 3);
    assert_eq!(signing.key_reads().await, 1);
    // An hour later, the keys are read again.
    signing.clock.advance(Duration::from_secs(3_600));
    signing.sign(&key).await;
    introspect(&tokens).await.unwrap();
    assert_eq!(signing.key_reads().await, 2);
}

#[tokio::test]
async fn a_response_without_a_signature_is_refused() {
    let signing = Signing::start().await;
    let key = key("one");
    signing.publish(&set(&[&key]));
    let signed = jwt(&key, header(&key), &signing.claims()).await;
    let plain = r#"{"active":true,"sub":"CANARY"}"#;
    let unsigned = signed.rsplit_once('.').unwrap().0.to_owned() + ".";
    for (body, media_type) in [
        (plain, "application/json"),
        (plain, MEDIA_TYPE),
        (signed.as_str(), "application/json"),
        (signed.as_str(), "application/jwt"),
        (unsigned.as_str(), MEDIA_TYPE),
        ("", MEDIA_TYPE),
    ] {
        signing.answer(body, media_type);
        let error = introspect(&signing.client()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{body}");
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
    }
    // The positive control.
    signing.answer(
        &signed,
        "Application/Token-Introspection+JWT; charset=utf-8",
    );
    introspect(&signing.client()).await.unwrap();
}

#[tokio::test]
async fn the_claims_must_be_those_for_this_client_now() {
    let signing = Signing::start().await;
    let key = key("one");
    signing.publish(&set(&[&key]));
    let now = signing.clock_seconds();
    for (name, value, says) in [
        ("iss", json!("https://other.example"), "another issuer"),
        ("iss", json!(null), "`token_introspection`"),
        ("aud", json!("other"), "`client_id`"),
        ("aud", json!([]), "`client_id`"),
        ("aud", json!({ "CANARY": 1 }), "`token_introspection`"),
        ("iat", json!(now - 301), "clock"),
        ("iat", json!(now + 301), "clock"),
        ("iat", json!(-1), "not a time"),
        ("iat", json!("CANARY"), "`token_introspection`"),
        (
            "token_introspection",
            json!({ "sub": "CANARY" }),
            "`active`",
        ),
        ("token_introspection", json!("CANARY"), "`active`"),
    ] {
        let mut claims = signing.claims();
        claims[name] = value.clone();
        signing.answer(&jwt(&key, header(&key), &claims).await, MEDIA_TYPE);
        let error = introspect(&signing.client()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{name} {value}");
        assert!(error.to_string().contains(says), "{name} {value}: {error}");
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
    }
    for (name, value) in [
        ("aud", json!(ID)),
        ("iat", json!(now - 299)),
        ("iat", json!(now + 299)),
    ] {
        let mut claims = signing.claims();
        claims[name] = value;
        signing.answer(&jwt(&key, header(&key), &claims).await, MEDIA_TYPE);
        introspect(&signing.client()).await.unwrap();
    }
}

#[tokio::test]
async fn keys_are_read_again_for_an_unknown_key_once_a_minute() {
    let signing = Signing::start().await;
    let [one, two, three] = ["one", "two", "three"].map(key);
    signing.publish(&set(&[&one]));
    signing.sign(&one).await;
    let tokens = signing.client();
    introspect(&tokens).await.unwrap();
    // The server has rotated.
    signing.publish(&set(&[&two]));
    signing.sign(&two).await;
    introspect(&tokens).await.unwrap();
    assert_eq!(signing.key_reads().await, 2);
    // Unknown keys do not cause further reads, not even many at once.
    signing.sign(&three).await;
    let tokens = Arc::new(tokens);
    let call = |tokens: Arc<TokenManagement>| async move { introspect(&tokens).await };
    let calls: Vec<_> = (0..20)
        .map(|_| tokio::spawn(call(tokens.clone())))
        .collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("has no key for it"), "{error}");
    }
    assert_eq!(signing.key_reads().await, 2);
    signing.sign(&two).await;
    introspect(&tokens).await.unwrap();
    signing.clock.advance(Duration::from_secs(60));
    signing.publish(&set(&[&three]));
    signing.sign(&three).await;
    introspect(&tokens).await.unwrap();
    assert_eq!(signing.key_reads().await, 3);
}

/// The keys of a server that has rotated them cannot be read at first: that does not count as the read of this minute.
#[tokio::test]
async fn keys_that_cannot_be_read_are_read_again_for_an_unknown_key() {
    let signing = Signing::start().await;
    let [one, two] = ["one", "two"].map(key);
    signing.publish(&set(&[&one]));
    signing.sign(&one).await;
    let tokens = signing.client();
    introspect(&tokens).await.unwrap();
    signing.sign(&two).await;
    signing.publish("503");
    for (passed, reads) in [(0, 2), (4_999, 2), (1, 3), (4_999, 3)] {
        signing.clock.advance(Duration::from_millis(passed));
        let error = introspect(&tokens).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(signing.key_reads().await, reads, "{passed}");
    }
    signing.publish(&set(&[&two]));
    signing.clock.advance(Duration::from_millis(1));
    introspect(&tokens).await.unwrap();
    assert_eq!(signing.key_reads().await, 4);
}

#[tokio::test]
async fn known_keys_are_used_while_the_server_has_none() {
    let signing = Signing::start().await;
    let key = key("one");
    signing.publish("503");
    signing.sign(&key).await;
    let tokens = signing.client();
    for _ in 0..2 {
        let error = introspect(&tokens).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(signing.key_reads().await, 1);
    signing.clock.advance(Duration::from_secs(5));
    signing.publish(&set(&[&key]));
    introspect(&tokens).await.unwrap();
    // An outage of the keys, of less than a day.
    signing.publish("503");
    for (hours, works) in [(1, true), (22, true), (1, false)] {
        signing.clock.advance(Duration::from_secs(hours * 3_600));
        signing.sign(&key).await;
        assert_eq!(introspect(&tokens).await.is_ok(), works, "{hours}");
    }
}

/// Triggers the events of the server's keys.
pub(crate) async fn emit() {
    let signing = Signing::start().await;
    let key = key("one");
    signing.publish(&set(&[&key]));
    signing.sign(&key).await;
    let tokens = signing.client();
    introspect(&tokens).await.unwrap();
    signing.publish("503");
    signing.clock.advance(Duration::from_secs(3_600));
    signing.sign(&key).await;
    introspect(&tokens).await.unwrap();
}

#[tokio::test]
async fn a_hostile_key_set_is_an_error_within_bounds() {
    let signing = Signing::start().await;
    let key = key("one");
    signing.sign(&key).await;
    let good = key.public_jwk();
    for (keys, works) in [
        (
            format!(
                r#"{{"keys":["CANARY",7,null,{{}},{{"kty":"oct","kid":"one","k":"Q0FOQVJZ"}},{{"kid":["one"]}},{good}]}}"#
            ),
            true,
        ),
        (
            format!(
                r#"{{"keys":[{{"kid":"one","kty":"EC","crv":"P-256","x":"AA","y":"AA"}},{good}]}}"#
            ),
            true,
        ),
        (
            format!(r#"{{"keys":[{}{good}]}}"#, format!("{good},").repeat(100)),
            true,
        ),
        (
            format!(
                r#"{{"keys":[{good}],"x":{}}}"#,
                "[".repeat(1_000) + &"]".repeat(1_000)
            ),
            true,
        ),
        (r#"{"keys":{"CANARY":1}}"#.to_owned(), false),
        ("CANARY".to_owned(), false),
        (format!(r#"{{"keys":[{good}],"keys":[]}}"#), false),
        (
            format!(r#"{{"keys":[{good},"{}"]}}"#, "A".repeat(300_000)),
            false,
        ),
        (
            format!(r#"{{"keys":[{good},"{}"]}}"#, "A".repeat(3_000_000)),
            false,
        ),
        (format!(r#"{{"keys":{}"#, "[".repeat(100_000)), false),
    ] {
        signing.publish(&keys);
        let result = introspect(&signing.client()).await.map(drop);
        assert_eq!(result.is_ok(), works, "{keys:.60} {result:?}");
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{error}");
            leak::assert_clean(&leak::error_chain(&error), "CANARY");
        }
    }
}

#[test]
fn a_server_without_known_keys_is_a_configuration_error() {
    let fixed = hallpass::endpoint::Endpoint::new("https://login.example/token")
        .with_introspection_endpoint("https://login.example/introspect");
    let tokens = TokenManagement::builder(fixed, ID, ClientSecretBasic::new(secret("s3cr3t")))
        .require_signed_responses(ResponseKeys::new());
    let error = tokens.build().unwrap_err();
    assert_eq!(error.setting(), "require_signed_responses");
    assert!(error.hint().unwrap().contains("Endpoint::discover"));
}
