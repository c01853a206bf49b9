//! A service gets its token source from a file.

use std::{fs, path::PathBuf};

use hallpass_core::{ErrorKind, TokenRequest, TokenSource as _};
use hallpass_profiles::{ProfileError, Profiles, Selection};
use hallpass_testkit::{
    AuthorizationServer, Client,
    raw::{self, RawServer},
};
use tempfile::TempDir;

struct ConfigFile {
    directory: TempDir,
}

impl ConfigFile {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("config.toml"), text).unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    fn load(&self) -> Result<Profiles, ProfileError> {
        Profiles::builder().file(self.path()).load()
    }
}

async fn server() -> AuthorizationServer {
    AuthorizationServer::builder()
        .client(Client::new("orders", "s3cr3t").scopes("orders.read"))
        .start()
        .await
}

/// A file with the profile `orders`, whose secret is in a file beside it.
fn orders(server: &AuthorizationServer) -> ConfigFile {
    let file = ConfigFile::new("");
    let secret = file.directory.path().join("secret");
    fs::write(&secret, "s3cr3t").unwrap();
    let text = format!(
        "[profile.orders]\ntoken_endpoint = '{}'\nclient_id = 'orders'\nclient_secret = 'file:{}'\n\
         danger_allow_http_on_loopback = true\n[profile.broken]\nclient_id = 7\n",
        server.token_endpoint(),
        secret.display(),
    );
    fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn a_profile_is_a_cached_source() {
    let server = server().await;
    let file = orders(&server);
    let profiles = file.load().unwrap();
    assert_eq!(profiles.names().collect::<Vec<_>>(), ["broken", "orders"]);
    let tokens = profiles.source("orders").unwrap();
    let request = TokenRequest::default();
    let token = tokens.token(&request).await.unwrap();
    assert_eq!(token.scopes().as_str(), "orders.read");
    assert!(tokens.token(&request).await.unwrap().is_same(&token));
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test]
async fn a_provider_sets_the_format_of_its_server() {
    let answer = r#"{"access_token":"00D!AQ","token_type":"Bearer"}"#;
    let server = RawServer::always(raw::json(200, answer)).await;
    let file = ConfigFile::new("");
    let secret = file.directory.path().join("secret");
    fs::write(&secret, "s3cr3t").unwrap();
    let profile = |provider: &str, more: &str| {
        format!(
            "[profile.{provider}]\nprovider = '{provider}'\ntoken_endpoint = '{}'\nclient_id = 'orders'\n\
             client_secret = 'file:{}'\ndanger_allow_http_on_loopback = true\n{more}\n",
            server.url("/token"),
            secret.display(),
        )
    };
    let fetch = async |provider: &str, more: &str| {
        fs::write(file.path(), profile(provider, more)).unwrap();
        let tokens = file.load().unwrap().source(provider)?;
        let token = tokens.token(&TokenRequest::default()).await;
        Ok::<_, ProfileError>(token.unwrap())
    };
    let token = fetch("salesforce", "").await.unwrap();
    assert_eq!(token.lifetime().as_secs(), 900);
    let error = fetch("zoom", "").await.unwrap_err().to_string();
    assert!(error.contains("parameters: Zoom requires the parameter `account_id`"));
    assert_eq!(server.request_count(), 1);
    let account = "parameters = { account_id = 'acc-1' }\nlenient_responses = true";
    fetch("zoom", account).await.unwrap();
    let requests = server.requests();
    let sent = String::from_utf8_lossy(&requests[1]);
    assert!(sent.contains("grant_type=account_credentials&account_id=acc-1"));
}

#[tokio::test]
async fn a_profile_requests_and_requires_authorization_details() {
    let granting = server().await;
    let token = r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#;
    let silent = RawServer::always(raw::json(200, token)).await;
    let file = orders(&granting);
    let text = fs::read_to_string(file.path()).unwrap();
    let fetch = async |endpoint: &str| {
        let details = "authorization_details = '[{\"type\":\"payment\"}]'\nrequire_granted_authorization_details = true";
        let text = text.replace(&granting.token_endpoint(), endpoint);
        let text = text.replace("[profile.broken]", &format!("{details}\n[profile.broken]"));
        fs::write(file.path(), text).unwrap();
        let tokens = file.load().unwrap().source("orders").unwrap();
        tokens.token(&TokenRequest::default()).await
    };
    let token = fetch(&granting.token_endpoint()).await.unwrap();
    let granted = token.authorization_details().unwrap().unwrap();
    assert_eq!(granted.as_str(), r#"[{"type":"payment"}]"#);
    let error = fetch(&silent.url("/token")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
    assert!(error.to_string().contains("type `payment`"), "{error}");
    assert_eq!(silent.request_count(), 1);
}

// covers: F-99
#[test]
fn settings_of_the_expiry_that_have_no_effect_are_refused() {
    let head = "[profile.orders]\ntoken_endpoint = 'https://login.example/token'\nclient_id = 'orders'\n\
                client_secret = 'env:X'\n";
    let expiry = "expiry_member = '/until'\n";
    let format = "expiry_format = 'seconds'\n";
    let lifetime = "default_lifetime = '5m'\n";
    for (settings, names) in [
        (vec![expiry], ["`expiry_member`", "`expiry_format`"]),
        (vec![format], ["`expiry_format`", "`expiry_member`"]),
        (
            vec![expiry, format, lifetime],
            ["`default_lifetime`", "`expiry_member`"],
        ),
    ] {
        let file = ConfigFile::new(&format!("{head}{}", settings.concat()));
        let profiles = file.load().unwrap();
        let error = profiles
            .settings(&Selection::new().profile("orders"))
            .unwrap_err();
        let shown = error.to_string();
        assert!(names.iter().all(|name| shown.contains(name)), "{shown}");
    }
}

#[tokio::test]
async fn one_broken_profile_does_not_affect_another() {
    let server = server().await;
    let profiles = orders(&server).load().unwrap();
    let error = profiles.source("broken").unwrap_err().to_string();
    assert!(error.contains("line 7: `client_id`"), "{error}");
    assert!(profiles.source("orders").is_ok());
    let error = profiles.source("order").unwrap_err();
    let says = "the profile `order` does not exist in";
    assert!(error.to_string().starts_with(says), "{error}");
    assert_eq!(error.hint(), Some("a similar name exists: `orders`"));
}

#[tokio::test]
async fn a_program_overrides_a_profile() {
    let server = server().await;
    let profiles = orders(&server).load().unwrap();
    let selection = Selection::new().profile("orders").scope("orders.write");
    let settings = profiles.settings(&selection).unwrap();
    assert_eq!(settings.request.scopes().as_str(), "orders.write");
    // A program's own server does not get the profile's secret.
    let elsewhere = selection.token_endpoint("https://login.example/token");
    let error = profiles.settings(&elsewhere).unwrap_err().to_string();
    assert!(error.contains("`--token-endpoint`"), "{error}");
}

#[tokio::test]
async fn a_provider_sets_the_method_and_the_required_settings() {
    let server = server().await;
    let file = orders(&server);
    let text = fs::read_to_string(file.path()).unwrap();
    let source = |provider: &str| {
        let settings = format!("[profile.orders]\nprovider = {provider}");
        fs::write(file.path(), text.replace("[profile.orders]", &settings)).unwrap();
        file.load().unwrap().source("orders")
    };
    let request = TokenRequest::default();
    for (provider, in_form) in [
        ("'auth0'\naudience = 'https://api.example'", true),
        ("'keycloak'", false),
        ("'camall'", true),
    ] {
        let tokens = source(provider).unwrap();
        tokens.token(&request).await.unwrap();
        let sent = server.token_requests().pop().unwrap();
        let secret = sent.parameter("client_secret");
        assert_eq!(secret.is_some(), in_form, "{provider}");
    }
    let error = source("'auth0'").unwrap_err().to_string();
    assert!(error.contains("Auth0 requires an audience"), "{error}");
    assert_eq!(server.token_request_count(), 3);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_a_configuration_error() {
    let server = server().await;
    let file = orders(&server);
    let tokens = file.load().unwrap().source("orders").unwrap();
    fs::remove_file(file.directory.path().join("secret")).unwrap();
    let error = tokens.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("secret"), "{error}");
    assert_eq!(server.token_request_count(), 0);
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_redis_table_without_the_feature_is_an_error() {
    let file = ConfigFile::new(
        "[profile.p]\ntoken_endpoint = 'https://login.example/token'\nclient_id = 'x'\nclient_secret = 'env:X'\n\
         [profile.p.redis]\nurl = 'rediss://redis.example'\nkeys = 'env:KEYS'\n",
    );
    let error = file.load().unwrap().source("p").unwrap_err();
    let says = "line 5: `redis`: this program was built without the feature `redis`";
    assert!(error.message().ends_with(says), "{error}");
    assert!(error.hint().unwrap().contains("`hallpass`"), "{error}");
}

#[cfg(not(any(feature = "jwt", feature = "jwt-ring")))]
#[tokio::test]
async fn a_missing_feature_is_named() {
    let file = ConfigFile::new(
        "[profile.p]\nissuer = 'https://login.example'\ntoken_endpoint = 'https://login.example/token'\n\
         client_id = 'x'\nprivate_key = 'env:KEY'\n",
    );
    let tokens = file.load().unwrap().source("p").unwrap();
    let error = tokens.token(&TokenRequest::default()).await.unwrap_err();
    assert!(error.to_string().contains("feature `jwt`"), "{error}");
}

#[tokio::test]
async fn profiles_of_one_server_share_a_connection() {
    let answer = r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#;
    let server = RawServer::always(raw::json(200, answer)).await;
    let profile = |name: &str, more: &str| {
        format!(
            "[profile.{name}]\ntoken_endpoint = '{}'\nclient_id = '{name}'\nclient_secret = 'env:PATH'\n\
             danger_allow_http_on_loopback = true\n{more}\n",
            server.url("/token"),
        )
    };
    let text = ["a", "b", "c"].map(|name| profile(name, "")).concat();
    let file = ConfigFile::new(&(text + &profile("d", "timeout = '3s'")));
    let profiles = file.load().unwrap();
    let mut sources = Vec::new();
    for (name, connections) in [("a", 1), ("b", 1), ("c", 1), ("d", 2)] {
        let tokens = profiles.source(name).unwrap();
        tokens.token(&TokenRequest::default()).await.unwrap();
        assert_eq!(server.connection_count(), connections, "{name}");
        sources.push(tokens);
    }
    assert_eq!(server.request_count(), 4);
}
