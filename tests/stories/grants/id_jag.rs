//! The identity assertion grant of draft-ietf-oauth-identity-assertion-authz-grant-03: two requests, at two servers.

use std::{sync::Arc, time::Duration};

use hallpass::{
    AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource as _,
    cache::CachedTokenSource,
    endpoint::{
        ClientSecretPost, IdJagProvider, IdentityAssertion, Retry, SecurityToken, SourceBuilder,
        TokenTypeUri,
    },
    jwt::Dpop,
};
use hallpass_testkit::{
    RotatingSecret, leak,
    raw::{self, RawServer, Reply},
};
use serde_json::{Value, json};

use crate::support::{CANARY, secret};

const ID_TOKEN: &str = "e30.e30.aWQtdG9rZW4";
const ID_JAG: &str = "e30.e30.aWQtamFn";
const CHAT: &str = "https://login.chat.example";

fn id_jag() -> Value {
    json!({
        "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "access_token": ID_JAG,
        "token_type": "N_A",
        "expires_in": 300,
    })
}

fn access_token() -> Value {
    json!({ "access_token": "t0k3n", "token_type": "Bearer", "expires_in": 3600 })
}

fn ok(body: &Value) -> Reply {
    raw::json(200, body.to_string())
}

/// The identity provider and the authorization server of the API.
struct Domains {
    idp: RawServer,
    chat: RawServer,
}

impl Domains {
    async fn start(
        idp: impl IntoIterator<Item = Reply>,
        chat: impl IntoIterator<Item = Reply>,
    ) -> Self {
        Self {
            idp: RawServer::start(idp).await,
            chat: RawServer::start(chat).await,
        }
    }

    fn builder(&self) -> SourceBuilder<IdentityAssertion> {
        let user = SecurityToken::from_secret(secret(ID_TOKEN), TokenTypeUri::ID_TOKEN);
        self.builder_for(user)
    }

    fn builder_for(&self, user: SecurityToken) -> SourceBuilder<IdentityAssertion> {
        let own = ClientSecretPost::new(secret("at-the-idp"));
        let provider = IdJagProvider::builder(self.idp.url("/token"), "wiki", own, user, CHAT)
            .danger_allow_http_on_loopback()
            .build();
        let own = ClientSecretPost::new(secret(CANARY));
        IdentityAssertion::builder(
            self.chat.url("/token"),
            "wiki-at-chat",
            own,
            provider.unwrap(),
        )
        .allow_utf8_credentials()
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
    }

    /// Requests a token with a scope, a resource and authorization details.
    async fn token(&self) -> Result<AccessToken, TokenError> {
        let details = r#"[{"type":"chat"}]"#;
        let source = self
            .builder()
            .scope("chat.read chat.write")
            .authorization_details(details);
        let source = source
            .resource("https://api.chat.example/")
            .build()
            .unwrap();
        source.token(&TokenRequest::default()).await
    }

    fn counts(&self) -> (usize, usize) {
        (self.idp.request_count(), self.chat.request_count())
    }
}

/// Returns the parameters of the last request.
fn sent(server: &RawServer) -> Vec<(String, String)> {
    let request = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    let (_, form) = request.split_once("\r\n\r\n").unwrap();
    let url = reqwest::Url::parse(&format!("https://x.example/?{form}")).unwrap();
    url.query_pairs().into_owned().collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    list.iter().map(owned).collect()
}

#[tokio::test]
async fn the_provider_gets_the_wishes_and_the_api_the_id_jag() {
    let details = json!([{ "type": "chat" }]);
    let mut token = access_token();
    token["authorization_details"] = details;
    let domains = Domains::start([ok(&id_jag())], [ok(&token)]).await;
    let token = domains.token().await.unwrap();
    assert_eq!(token.expose(), "t0k3n");
    assert_eq!(token.scopes().as_str(), "chat.read chat.write");
    assert_eq!(token.lifetime().as_secs(), 3_600);
    let expected = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", ID_TOKEN),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:id-jag",
        ),
        ("scope", "chat.read chat.write"),
        ("resource", "https://api.chat.example/"),
        ("audience", CHAT),
        ("authorization_details", r#"[{"type":"chat"}]"#),
        ("client_id", "wiki"),
        ("client_secret", "at-the-idp"),
    ];
    assert_eq!(sent(&domains.idp), pairs(&expected));
    let expected = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", ID_JAG),
        ("client_id", "wiki-at-chat"),
        ("client_secret", CANARY),
    ];
    assert_eq!(sent(&domains.chat), pairs(&expected));
    assert_eq!(domains.counts(), (1, 1));
}

// covers: I-08
#[tokio::test]
async fn scopes_that_the_provider_withholds_are_not_granted() {
    let mut narrower = id_jag();
    narrower["scope"] = "chat.read".into();
    let domains = Domains::start([ok(&narrower)], [ok(&access_token())]).await;
    let token = domains.token().await.unwrap();
    assert_eq!(token.scopes().as_str(), "chat.read");
}

// covers: C-60
#[tokio::test]
async fn only_an_id_jag_is_used_as_one() {
    let with = |name: &str, value: &str| {
        let mut answer = id_jag();
        answer[name] = value.into();
        answer
    };
    let mut untyped = id_jag();
    untyped.as_object_mut().unwrap().remove("issued_token_type");
    let access = "urn:ietf:params:oauth:token-type:access_token";
    for (answer, expected) in [
        (with("token_type", "Bearer"), "is not `N_A` but `Bearer`"),
        (with("issued_token_type", access), "not that of an ID-JAG"),
        (untyped, "no `issued_token_type`"),
        (with("access_token", "CANARY CANARY"), "RFC 6750"),
    ] {
        let domains = Domains::start([ok(&answer)], [ok(&access_token())]).await;
        let error = domains.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse);
        let text = leak::error_chain(&error);
        assert!(text.contains(expected) && !text.contains(ID_JAG), "{text}");
        assert_eq!(domains.counts(), (1, 0));
    }
    // The API's server issues an access token, not another grant.
    let domains = Domains::start([ok(&id_jag())], [ok(&id_jag())]).await;
    let error = domains.token().await.unwrap_err().to_string();
    assert!(
        error.contains("`N_A`: the issued token is not an access token"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_names_the_server_that_refused() {
    let refusal = || raw::json(400, r#"{"error":"invalid_grant"}"#);
    let domains = Domains::start([refusal()], [ok(&access_token())]).await;
    let error = domains.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert!(
        error.to_string().contains("the identity provider refused"),
        "{error}"
    );
    let host = |server: &RawServer| server.address().to_string();
    assert_eq!(error.host(), Some(&*host(&domains.idp)));
    assert_eq!(domains.counts(), (1, 0));

    let domains = Domains::start([ok(&id_jag())], [refusal()]).await;
    let error = domains.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert!(error.to_string().contains("refused the ID-JAG"), "{error}");
    assert_eq!(error.host(), Some(&*host(&domains.chat)));
    // Another ID-JAG would have the same content.
    assert_eq!(domains.counts(), (1, 1));
}

#[tokio::test]
async fn an_outage_of_the_provider_is_retried_by_one_policy() {
    let busy = || raw::json(503, "{}");
    let domains = Domains::start([busy(), busy(), ok(&id_jag())], [ok(&access_token())]).await;
    let retry = Retry::new().min_delay(Duration::from_millis(1));
    let source = domains.builder().retry(retry).build().unwrap();
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(domains.counts(), (3, 1));
    let domains = Domains::start([busy()], [ok(&access_token())]).await;
    let source = domains.builder().retry(retry).build().unwrap();
    source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(domains.counts(), (3, 0));
}

#[tokio::test]
async fn an_audience_is_the_providers_setting() {
    let domains = Domains::start([ok(&id_jag())], [ok(&access_token())]).await;
    let built = domains.builder().audience("https://other.example").build();
    assert_eq!(built.unwrap_err().setting(), "audience");
    let source = domains.builder().build().unwrap();
    let request = TokenRequest::new().with_audience("https://other.example");
    let error = source.token(&request.unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(domains.counts(), (0, 0));
}

#[tokio::test]
async fn a_new_sign_in_clears_a_cached_refusal() {
    let refusal = raw::json(400, r#"{"error":"invalid_grant"}"#);
    let domains = Domains::start([refusal, ok(&id_jag())], [ok(&access_token())]).await;
    let user = Arc::new(RotatingSecret::new(ID_TOKEN));
    let subject = SecurityToken::from_secret(user.clone(), TokenTypeUri::ID_TOKEN);
    let tokens = CachedTokenSource::new(domains.builder_for(subject).build().unwrap());
    tokens.token(&TokenRequest::default()).await.unwrap_err();
    tokens.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(domains.counts(), (1, 0));
    user.rotate("e30.e30.bmV3");
    tokens.token(&TokenRequest::default()).await.unwrap();
    tokens.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(domains.counts(), (2, 1));
}

// covers: F-99
#[tokio::test]
async fn debug_shows_neither_assertions_nor_secrets() {
    let domains = Domains::start([ok(&id_jag())], [ok(&access_token())]).await;
    let source = domains.builder().build().unwrap();
    let shown = format!("{source:?} {source:#?}");
    assert!(shown.contains("wiki-at-chat"), "{shown}");
    for secret in [CANARY, ID_TOKEN, "at-the-idp"] {
        assert!(leak::find(&format!("x{secret}"), secret).is_some());
        leak::assert_clean(&shown, secret);
    }
}

#[tokio::test]
async fn a_refusal_by_the_api_causes_no_second_exchange() {
    for code in ["invalid_grant", "invalid_client"] {
        let refusal = raw::json(400, format!(r#"{{"error":"{code}"}}"#));
        let domains = Domains::start([ok(&id_jag())], [refusal]).await;
        let own = RotatingSecret::new("at-the-api");
        let source = domains.builder().retry(Retry::new());
        let source = source.authentication(ClientSecretPost::new(own.clone()));
        let source = source.build().unwrap();
        let error = source.token(&TokenRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        // The secret was read again.
        assert_eq!((own.reads(), domains.counts()), (2, (1, 1)), "{code}");
    }
}

#[tokio::test]
async fn a_new_secret_at_the_api_has_a_new_id_jag() {
    let refusal = raw::json(400, r#"{"error":"invalid_client"}"#);
    let domains = Domains::start([ok(&id_jag())], [refusal, ok(&access_token())]).await;
    let own = RotatingSecret::new("old-secret");
    own.rotate_after_reading("new-secret");
    let source = domains.builder().retry(Retry::new());
    let source = source.authentication(ClientSecretPost::new(own));
    let source = source.build().unwrap();
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(domains.counts(), (2, 2));
}

#[tokio::test]
async fn one_request_per_call_holds_at_the_provider_too() {
    let refusal = raw::json(400, r#"{"error":"invalid_grant"}"#);
    let domains = Domains::start([refusal, ok(&id_jag())], [ok(&access_token())]).await;
    let user = RotatingSecret::new(ID_TOKEN);
    user.rotate_after_reading("e30.e30.bmV3");
    let subject = SecurityToken::from_secret(user, TokenTypeUri::ID_TOKEN);
    let source = domains.builder_for(subject).build().unwrap();
    source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(domains.counts(), (1, 0));
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(domains.counts(), (2, 1));
}

#[tokio::test]
async fn a_refusal_by_the_provider_refuses_nothing_at_the_api() {
    let refusal = raw::json(401, r#"{"error":"invalid_client"}"#);
    let headers = [("content-type", "application/json"), ("dpop-nonce", "n")];
    let demand = raw::http(400, &headers, r#"{"error":"use_dpop_nonce"}"#);
    let domains = Domains::start([ok(&id_jag()), refusal], [demand]).await;
    let own = RotatingSecret::new("at-the-api");
    let source = domains.builder().retry(Retry::new());
    let source = source.authentication(ClientSecretPost::new(own.clone()));
    let source = source.dpop(Dpop::generate().unwrap()).build().unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    let idp = domains.idp.address().to_string();
    assert_eq!(error.host(), Some(&*idp));
    assert_eq!((domains.counts(), own.refusals()), ((2, 1), 0));
}
