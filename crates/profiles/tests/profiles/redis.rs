//! Services share tokens through the Redis of their profile.

use std::{fs, process::Command, sync::Arc};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_profiles::{ProfileError, ProfileSource, Profiles, Tenants};
use hallpass_testkit::{
    AuthorizationServer, Client,
    leak::{self, Capture},
};
use tempfile::TempDir;

#[path = "../../../../tests/shared/redis_server.rs"]
#[allow(dead_code)] // Shared with tests that restart the server.
mod redis_server;

use self::redis_server::RedisServer;

const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";
const PASSWORD: &str = "CANARY-redis-password";

/// A directory with the profiles `orders` and `invoices` of one client, which differ in their scope.
struct Directory(TempDir);

impl Directory {
    /// Writes the profiles; `redis` has settings of their tables `redis`.
    fn new(server: &AuthorizationServer, redis: &str) -> Self {
        let directory = Self(TempDir::new().unwrap());
        for (name, text) in [("secret", "s3cr3t"), ("keys", KEY), ("password", PASSWORD)] {
            directory.write(name, text);
        }
        let profile = |name: &str| {
            format!(
                "[profile.{name}]\ntoken_endpoint = '{}'\nclient_id = 'orders'\nclient_secret = 'file:{}'\n\
                 scope = '{name}.read'\ndanger_allow_http_on_loopback = true\n\
                 [profile.{name}.redis]\n{redis}\npassword = 'file:{}'\ntimeout = '5s'\n",
                server.token_endpoint(),
                directory.path("secret"),
                directory.path("password"),
            )
        };
        directory.write("config.toml", &(profile("orders") + &profile("invoices")));
        directory
    }

    /// Writes the profiles for the TLS port of this Redis. Its authority is to be written to the file `ca`.
    fn of(server: &AuthorizationServer, redis: &RedisServer) -> Self {
        let more = format!(
            "url = 'rediss://localhost:{}'\nusername = '{}'\n",
            redis.number("tls_port"),
            redis.text("user")
        );
        let directory = Self::new(server, &more);
        let text = fs::read_to_string(directory.path("config.toml")).unwrap();
        let files = format!(
            "keys = 'file:{}'\nca_file = '{}'\nusername",
            directory.path("keys"),
            directory.path("ca")
        );
        directory.write("config.toml", &text.replace("username", &files));
        directory.write("password", redis.text("password"));
        directory
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn source(&self, name: &str) -> Result<Arc<CachedTokenSource<ProfileSource>>, ProfileError> {
        self.load().source(name)
    }

    fn load(&self) -> Profiles {
        let profiles = Profiles::builder().file(self.path("config.toml"));
        profiles.load().unwrap()
    }

    /// Returns the text of a process's token for an empty request.
    async fn token(&self, name: &str) -> String {
        let tokens = self.source(name).unwrap();
        let token = tokens.token(&TokenRequest::default()).await.unwrap();
        tokens.shutdown().await;
        token.expose().to_owned()
    }
}

async fn server() -> AuthorizationServer {
    AuthorizationServer::builder()
        .client(Client::new("orders", "s3cr3t").scopes("orders.read invoices.read"))
        .start()
        .await
}

#[tokio::test]
async fn two_sources_of_one_profile_send_one_request() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let directory = Directory::of(&server, &redis);
    // Nothing is read or connected before the first token request.
    let tokens = directory.source("orders").unwrap();
    directory.write("ca", &fs::read_to_string(redis.text("ca")).unwrap());
    let token = tokens.token(&TokenRequest::default()).await.unwrap();
    tokens.shutdown().await;
    assert_eq!(directory.token("orders").await, token.expose());
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test]
async fn profiles_with_other_scopes_share_no_token() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let directory = Directory::of(&server, &redis);
    directory.write("ca", &fs::read_to_string(redis.text("ca")).unwrap());
    assert_ne!(
        directory.token("orders").await,
        directory.token("invoices").await
    );
    assert_eq!(server.token_request_count(), 2);
}

#[tokio::test]
async fn profiles_of_one_redis_share_its_connections() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let directory = Directory::of(&server, &redis);
    directory.write("ca", &fs::read_to_string(redis.text("ca")).unwrap());
    let connections = || {
        let run = Command::new("redis-cli")
            .args(["-p", &redis.number("port").to_string(), "CLIENT", "LIST"])
            .env("REDISCLI_AUTH", redis.text("default_password"))
            .output();
        let list = String::from_utf8(run.unwrap().stdout).unwrap();
        let user = format!("user={} ", redis.text("user"));
        list.lines().filter(|line| line.contains(&user)).count()
    };
    let profiles = directory.load();
    let mut sources = Vec::new();
    for (profiles, name, expected) in [
        (&profiles, "orders", 1),
        (&profiles, "invoices", 1),
        (&directory.load(), "invoices", 2),
    ] {
        let tokens = profiles.source(name).unwrap();
        tokens.token(&TokenRequest::default()).await.unwrap();
        tokens.shutdown().await;
        sources.push(tokens);
        assert_eq!(connections(), expected, "{name}");
    }
    let profiles = Profiles::builder().file(directory.path("config.toml"));
    let tenants = Tenants::builder().load(profiles).unwrap();
    for name in ["orders", "invoices"] {
        let tokens = tenants.source(name).unwrap();
        tokens.token(&TokenRequest::default()).await.unwrap();
    }
    tenants.shutdown().await;
    assert_eq!(connections(), 3);
    drop(sources);
}

// covers: F-99
#[tokio::test]
async fn a_store_that_cannot_be_used_fails_no_caller() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let directory = Directory::of(&server, &redis);
    let capture = Capture::start();
    directory.token("orders").await;
    let shown = capture.text();
    let reason = format!("{} is missing", directory.path("ca"));
    assert!(shown.contains(&reason), "{shown}");
    directory.write("ca", &fs::read_to_string(redis.text("ca")).unwrap());
    directory.write("password", PASSWORD);
    directory.token("orders").await;
    let shown = capture.text();
    assert!(shown.contains("WRONGPASS"), "{shown}");
    for canary in [PASSWORD, KEY] {
        leak::assert_clean(&shown, canary);
        assert!(leak::find(&format!("{shown} {canary}"), canary).is_some());
    }
    assert_eq!(server.token_request_count(), 2);
}

// covers: F-99
#[tokio::test]
async fn a_wrong_setting_of_the_store_is_an_error() {
    let server = server().await;
    for (redis, says) in [
        (
            "url = 'redis://redis.example'\nkeys = 'env:STORE_KEYS'",
            "line 7: `redis.url`: `redis://` has no TLS",
        ),
        (
            "url = 'redis://127.0.0.1'\nkeys = 'env:STORE_KEYS'\nprefix = 'a b'",
            "line 7: `redis.prefix`: ",
        ),
        (
            "url = 'redis://127.0.0.1'\nkeys = 'STORE_KEYS'",
            "line 9: `keys`: ",
        ),
    ] {
        let error = Directory::new(&server, redis).source("orders").unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(server.token_request_count(), 0);
}
