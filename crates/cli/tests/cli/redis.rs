//! Tokens that hosts share through Redis.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use hallpass_testkit::{AuthorizationServer, leak};
use serde_json::Value;

use crate::{
    redis_server::RedisServer,
    redis_topology::{SENTINEL_PASSWORD, SENTINEL_USER, SERVICE, Sentinel, cluster},
    support::{ID, SECRET, User, default_profile, server, shown, stderr, stdout},
};

const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";
const OTHER_KEY: &str = "b3RoZXIga2V5IG90aGVyIGtleSBvdGhlciBrZXkgb3Q=";

/// A host: a home directory of its own, with the profile of the others.
struct Host {
    user: User,
    password: String,
    key: &'static str,
}

impl Host {
    /// Creates a host whose Redis is on this port, with these further settings.
    fn new(server: &AuthorizationServer, url: &str, more: &str) -> Self {
        let user = User::new();
        user.profile(&format!(
            "{}[profile.default.redis]\nurl = \"{url}\"\nkeys = \"env:STORE_KEYS\"\n{more}",
            default_profile(server)
        ));
        Self {
            user,
            password: "CANARY-redis-password".to_owned(),
            key: KEY,
        }
    }

    /// Creates a host that uses the ACL user of this Redis.
    fn of(server: &AuthorizationServer, redis: &RedisServer) -> Self {
        let url = format!("redis://127.0.0.1:{}", redis.number("port"));
        Self {
            password: redis.text("password").to_owned(),
            ..Self::new(server, &url, &credentials(redis))
        }
    }

    fn hallpass(&self, words: &str) -> assert_cmd::Command {
        let mut command = self.user.hallpass(words);
        command
            .env("REDIS_PASSWORD", &self.password)
            .env("STORE_KEYS", self.key);
        command
    }

    fn prints(&self, words: &str) -> String {
        stdout(&self.hallpass(words).assert().success())
    }

    /// Returns the last step of `doctor`, and its exit code.
    fn store_step(&self) -> (Value, i32) {
        let run = self.hallpass("doctor --json").assert();
        leak::assert_clean(&shown(&run), &self.password);
        leak::assert_clean(&shown(&run), self.key);
        let report: Value = serde_json::from_str(&stdout(&run)).unwrap();
        let step = report["steps"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(step["name"], "store");
        (step, run.get_output().status.code().unwrap())
    }
}

fn credentials(redis: &RedisServer) -> String {
    // A machine that is busy needs more than the default.
    format!(
        "username = \"{}\"\npassword = \"env:REDIS_PASSWORD\"\ntimeout = \"5s\"\n",
        redis.text("user")
    )
}

/// Returns a port that nobody listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_with_one_redis_send_one_request() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let [one, other] = [(); 2].map(|()| Host::of(&server, &redis));
    let token = one.prints("token");
    assert_eq!(other.prints("token"), token);
    assert_eq!(server.token_request_count(), 1);
    assert!(!one.user.cache().exists() && !other.user.cache().exists());
    // A new token replaces the shared one.
    let refreshed = other.prints("token --refresh");
    assert_ne!(refreshed, token);
    assert_eq!(one.prints("token"), refreshed);
    assert_ne!(one.prints("token --no-cache"), refreshed);
    assert_eq!(server.token_request_count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_is_sent_once_by_all_hosts() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    server.rotate_secret(ID, "CANARY-rotated");
    let hosts = [(); 3].map(|()| Host::of(&server, &redis));
    for host in &hosts {
        let run = host.hallpass("token").assert().code(4).stdout("");
        leak::assert_clean(&shown(&run), SECRET);
    }
    assert_eq!(server.token_request_count(), 1);
    // A host with the new secret does not wait.
    let mut rotated = hosts[0].hallpass("token");
    rotated.env("CLIENT_SECRET", "CANARY-rotated");
    rotated.assert().success();
    assert_eq!(server.token_request_count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_tls_is_used_with_its_own_authority() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let url = format!("rediss://localhost:{}", redis.number("tls_port"));
    let more = format!("{}ca_file = '{}'\n", credentials(&redis), redis.text("ca"));
    let [one, other] = [(); 2].map(|()| Host {
        password: redis.text("password").to_owned(),
        ..Host::new(&server, &url, &more)
    });
    assert_eq!(one.prints("token"), other.prints("token"));
    assert_eq!(server.token_request_count(), 1);
    // Without the authority the store is not used.
    let stranger = Host {
        password: redis.text("password").to_owned(),
        ..Host::new(&server, &url, &credentials(&redis))
    };
    stranger.prints("token");
    assert_eq!(server.token_request_count(), 2);
    let (step, code) = stranger.store_step();
    let remedy = step["remedy"].as_str().unwrap();
    assert!(code == 5 && remedy.contains("`redis.ca_file`"), "{step}");
    let missing = (url.as_str(), "ca_file = '/no/such/file'\n");
    assert_remedy(&server, &redis, missing, (3, "`redis.ca_file`"));
}

/// Checks that two hosts with these settings share a token, and that `doctor` can use the store.
fn assert_shared(server: &AuthorizationServer, redis: &RedisServer, url: &str, more: &str) {
    let hosts = [(); 2].map(|()| Host {
        password: redis.text("password").to_owned(),
        ..Host::new(server, url, &(credentials(redis) + more))
    });
    let before = server.token_request_count();
    assert_eq!(hosts[0].prints("token"), hosts[1].prints("token"));
    assert_eq!(server.token_request_count() - before, 1);
    let (step, code) = hosts[0].store_step();
    let detail = step["detail"].as_str().unwrap_or_default();
    assert!(code == 0 && detail.contains("has a token"), "{step}");
}

/// Checks that `doctor` refuses these settings with this exit code, and names this setting in the remedy.
fn assert_remedy(
    server: &AuthorizationServer,
    redis: &RedisServer,
    (url, more): (&str, &str),
    (code, setting): (i32, &str),
) {
    let host = Host {
        password: redis.text("password").to_owned(),
        ..Host::new(server, url, &(credentials(redis) + more))
    };
    let (step, exit) = host.store_step();
    let remedy = step["remedy"].as_str().unwrap_or_default();
    assert!(exit == code && remedy.contains(setting), "{exit} {step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_gets_a_client_certificate() {
    let Some(redis) = RedisServer::start(&["--mtls"]) else {
        return;
    };
    let server = server().await;
    let url = format!("rediss://localhost:{}", redis.number("tls_port"));
    let folder = tempfile::TempDir::new().unwrap();
    let pem = folder.path().join("client.pem");
    let read = |name| std::fs::read_to_string(redis.text(name)).unwrap();
    std::fs::write(&pem, read("client_cert") + &read("client_key")).unwrap();
    let authority = format!("ca_file = '{}'\n", redis.text("ca"));
    let certificate = |path: &str| format!("{authority}client_certificate = 'file:{path}'\n");
    let with = certificate(pem.to_str().unwrap());
    assert_shared(&server, &redis, &url, &with);
    let wrong = certificate(redis.text("ca"));
    let remedy = (3, "`redis.client_certificate`");
    assert_remedy(&server, &redis, (&url, &wrong), remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_name_the_redis_of_the_command() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let sentinel = Sentinel::start(&redis);
    let url = sentinel.url();
    let folder = tempfile::TempDir::new().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, SENTINEL_PASSWORD).unwrap();
    let user = format!(
        "sentinel_username = \"{SENTINEL_USER}\"\nsentinel_password = 'file:{}'\n",
        password.display()
    );
    let named = format!("sentinel = \"{SERVICE}\"\n");
    assert_shared(&server, &redis, &url, &format!("{named}{user}"));
    let remedy = (3, "`redis.sentinel_password`");
    assert_remedy(&server, &redis, (&url, &named), remedy);
    let other = format!("sentinel = \"other\"\n{user}");
    let remedy = (5, "`redis.sentinel`");
    assert_remedy(&server, &redis, (&url, &other), remedy);
    // Its primary is on another machine.
    let monitored = std::process::Command::new("redis-cli")
        .args(["-p", &sentinel.port.to_string()])
        .args(["SENTINEL", "MONITOR", "elsewhere", "192.0.2.1", "6379", "1"])
        .env("REDISCLI_AUTH", SENTINEL_PASSWORD)
        .status();
    assert!(monitored.unwrap().success());
    let elsewhere = format!("sentinel = \"elsewhere\"\n{user}");
    let remedy = (3, "`redis.danger_allow_plain_text`");
    assert_remedy(&server, &redis, (&url, &elsewhere), remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_share_tokens_in_a_cluster() {
    let Some(nodes) = cluster() else {
        return;
    };
    let server = server().await;
    let url = |node: &RedisServer| format!("redis://127.0.0.1:{}", node.number("port"));
    let first = url(&nodes[0]);
    let others = format!(
        "cluster = true\nother_urls = [\"{}\", \"{}\"]\n",
        url(&nodes[1]),
        url(&nodes[2])
    );
    assert_shared(&server, &nodes[0], &first, &others);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_for_the_functions_that_are_not_loaded() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let url = format!("redis://127.0.0.1:{}", redis.number("port"));
    let allowed = std::process::Command::new("redis-cli")
        .args(["-p", &redis.number("port").to_string()])
        .args(["ACL", "SETUSER", redis.text("user"), "+fcall"])
        .env("REDISCLI_AUTH", redis.text("default_password"))
        .status();
    assert!(allowed.unwrap().success());
    let remedy = (3, "`functions.lua`");
    assert_remedy(&server, &redis, (&url, "functions = true\n"), remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_down_fails_no_run() {
    let server = server().await;
    let host = Host::new(
        &server,
        &format!("redis://127.0.0.1:{}", closed_port()),
        "password = \"env:REDIS_PASSWORD\"\n",
    );
    let run = host.hallpass("token -v").assert().success();
    assert!(
        stderr(&run).contains("Redis cannot be reached"),
        "{}",
        stderr(&run)
    );
    leak::assert_clean(&shown(&run), &host.password);
    let quiet = host.hallpass("token").assert().success();
    assert_eq!(stderr(&quiet), "");
    assert_eq!(server.token_request_count(), 2);
    let (step, code) = host.store_step();
    assert_eq!((step["status"].as_str(), code), (Some("failed"), 5));
    assert!(
        step["remedy"].as_str().unwrap().contains("`redis.url`"),
        "{step}"
    );
}

/// The listener accepts connections, and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn redis_that_hangs_delays_a_run_by_its_timeout() {
    let server = server().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let [short, long] = ["300ms", "1s 800ms"].map(|timeout| {
        let host = Host::new(&server, &url, &format!("timeout = \"{timeout}\"\n"));
        let start = Instant::now();
        let run = host.hallpass("token -v").assert().success();
        let reason = format!("no answer within {}", timeout.replace("1s 800ms", "1.8s"));
        assert!(stderr(&run).contains(&reason), "{}", stderr(&run));
        start.elapsed()
    });
    // One timeout each, not one for each call.
    assert!(long >= Duration::from_millis(1_800), "{long:?}");
    assert!(long < short + Duration::from_secs(3), "{short:?} {long:?}");
    assert_eq!(server.token_request_count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_checks_the_store() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    let mut host = Host::of(&server, &redis);
    let (step, code) = host.store_step();
    assert_eq!((step["status"].as_str(), code), (Some("ok"), 0), "{step}");
    assert!(
        step["detail"].as_str().unwrap().contains("no token"),
        "{step}"
    );
    host.prints("token");
    let (step, _) = host.store_step();
    assert!(
        step["detail"].as_str().unwrap().contains("has a token"),
        "{step}"
    );

    host.key = OTHER_KEY;
    let (step, code) = host.store_step();
    let remedy = step["remedy"].as_str().unwrap();
    assert!(code == 3 && remedy.contains("`redis.keys`"), "{step}");
    host.key = "no key";
    let (step, code) = host.store_step();
    let remedy = step["remedy"].as_str().unwrap();
    assert!(code == 3 && remedy.contains("`redis.keys`"), "{step}");
    host.key = KEY;

    host.password = "CANARY-wrong-password".to_owned();
    let (step, code) = host.store_step();
    let remedy = step["remedy"].as_str().unwrap();
    assert!(code == 3 && remedy.contains("`redis.password`"), "{step}");
    // A run without the store works nevertheless.
    let before = server.token_request_count();
    host.prints("token");
    assert_eq!(server.token_request_count(), before + 1);

    // The ACL limits the user to its prefix.
    let url = format!("redis://127.0.0.1:{}", redis.number("port"));
    let more = credentials(&redis) + "prefix = \"elsewhere:\"\n";
    let outside = Host {
        password: redis.text("password").to_owned(),
        ..Host::new(&server, &url, &more)
    };
    let (step, code) = outside.store_step();
    let remedy = step["remedy"].as_str().unwrap();
    assert!(code == 3 && remedy.contains("`redis.prefix`"), "{step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_of_the_store_is_an_error() {
    let server = server().await;
    for (url, more, says) in [
        (
            "redis://redis.example",
            "",
            "`redis.url`: `redis://` has no TLS; use `rediss://`, or `danger_allow_plain_text`",
        ),
        (
            "redis://127.0.0.1",
            "prefix = \"a b\"\n",
            "`redis.prefix`: ",
        ),
        ("http://127.0.0.1", "", "`redis.url`: "),
        (
            "redis://127.0.0.1",
            "passwort = 1\n",
            "line 11: unknown setting",
        ),
    ] {
        let host = Host::new(&server, url, more);
        let run = host.hallpass("token").assert().code(3).stdout("");
        assert!(stderr(&run).contains(says), "{}", stderr(&run));
    }
    assert_eq!(server.token_request_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_list_says_that_tokens_are_in_redis() {
    let server = server().await;
    let host = Host::new(&server, "redis://127.0.0.1:9", "");
    for words in ["cache list -p default", "cache clear -p default"] {
        let run = host.hallpass(words).assert().code(3).stdout("");
        assert!(
            stderr(&run).contains("hallpass token --refresh"),
            "{}",
            stderr(&run)
        );
    }
    let run = host.hallpass("cache clear").assert().success();
    assert_eq!(stdout(&run), "removed 0\n");
    assert!(stderr(&run).contains("are in Redis"), "{}", stderr(&run));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn exec_does_not_inherit_the_secrets_of_the_store() {
    let server = server().await;
    let host = Host::new(
        &server,
        &format!("redis://127.0.0.1:{}", closed_port()),
        "password = \"env:REDIS_PASSWORD\"\n",
    );
    for words in ["exec -- env", "exec --no-cache -- env"] {
        let printed = host.prints(words);
        assert!(printed.contains("ACCESS_TOKEN="), "{printed}");
        for name in ["REDIS_PASSWORD", "STORE_KEYS"] {
            assert!(!printed.contains(name), "{printed}");
        }
    }
}
