//! A store on a Redis server, and an administrator's connection to that server.

use std::time::Duration;

use hallpass_cache::{CachedTokenSource, StoreKey};
use hallpass_core::{AccessToken, Clock as _, Secret, SystemClock, TokenRequest, TokenSource as _};
use hallpass_redis::{RedisTokenStore, RedisTokenStoreBuilder};
use hallpass_testkit::{Gate, ScriptedSource, leak::Capture};
use redis::{AsyncConnectionConfig, FromRedisValue, aio::MultiplexedConnection};

use crate::redis_server::RedisServer;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

/// Returns a builder for a store at the server's plain port, as its ACL user.
pub(crate) fn builder(server: &RedisServer) -> RedisTokenStoreBuilder {
    RedisTokenStore::builder(server.text("url")).keys(secret(KEY))
}

pub(crate) fn store(server: &RedisServer) -> RedisTokenStore {
    builder(server).build().unwrap()
}

pub(crate) fn key(name: &str) -> StoreKey {
    StoreKey::new(name, &TokenRequest::new())
}

/// Returns a source of `tokens` hourly tokens: `t1`, `t2` and so on.
pub(crate) fn source(tokens: usize) -> ScriptedSource {
    ScriptedSource::new((1..=tokens).map(|number| Ok(token(number))))
}

/// Returns the same source, which yields nothing before the gate is open.
pub(crate) fn gated_source(tokens: usize, gate: Gate) -> ScriptedSource {
    ScriptedSource::gated((1..=tokens).map(|number| Ok(token(number))), gate)
}

/// Returns an hourly token, `t1` for 1.
pub(crate) fn token(number: usize) -> AccessToken {
    AccessToken::bearer(&format!("t{number}"), SystemClock.moment(), HOUR).unwrap()
}

/// Returns the documented ACL rule with this permission.
pub(crate) fn documented_rule(permission: &str) -> &'static str {
    let page = include_str!("../../../../docs/redis.md");
    let mut rules = page
        .lines()
        .filter(|line| line.starts_with("ACL SETUSER hallpass "));
    let rule = rules.find(|rule| rule.split(' ').any(|word| word == permission));
    rule.expect("a documented rule")
}

/// Waits until this is true; fails after ten seconds.
pub(crate) async fn eventually(is_true: impl AsyncFn() -> bool) {
    for _ in 0..200 {
        if is_true().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not become true");
}

/// Returns a cache with this store.
pub(crate) fn cache(
    source: &ScriptedSource,
    store: &RedisTokenStore,
) -> CachedTokenSource<ScriptedSource> {
    CachedTokenSource::builder(source.clone())
        .store(store.clone(), "issuer client")
        // The machine may be busy.
        .store_timeout(Duration::from_secs(2))
        .build()
}

/// Checks that a caller gets its token by a request of its own, and that the trace names the reason.
pub(crate) async fn assert_own_request(store: &RedisTokenStore, reason: &str) {
    let (capture, source) = (Capture::start(), source(1));
    let cache = cache(&source, store);
    let token = cache.token(&TokenRequest::new()).await.unwrap();
    assert_eq!(token.expose(), "t1");
    cache.shutdown().await;
    let text = capture.text();
    let mut faults = text
        .lines()
        .filter(|line| line.contains("token store fault"));
    assert!(faults.any(|line| line.contains(reason)), "{text}");
}

/// An administrator's connection.
pub(crate) struct Admin(MultiplexedConnection);

impl Admin {
    pub(crate) async fn new(server: &RedisServer) -> Self {
        Self::connect(server).await.unwrap()
    }

    pub(crate) async fn connect(server: &RedisServer) -> redis::RedisResult<Self> {
        let url = format!(
            "redis://:{}@127.0.0.1:{}",
            server.text("default_password"),
            server.number("port")
        );
        let client = redis::Client::open(url)?;
        // The machine may be busy.
        let timeout = Some(Duration::from_secs(10));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(timeout)
            .set_response_timeout(timeout);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Self(connection.await?))
    }

    /// Returns the reply to a command, whose words are separated by spaces.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &str) -> T {
        self.try_run(command).await.unwrap()
    }

    /// Returns the reply to a command, or its error.
    pub(crate) async fn try_run<T: FromRedisValue>(
        &mut self,
        command: &str,
    ) -> redis::RedisResult<T> {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        command.query_async(&mut self.0).await
    }

    /// Returns the reply to a script, or its error.
    pub(crate) async fn eval(&mut self, script: &str) -> redis::RedisResult<redis::Value> {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(0);
        command.query_async(&mut self.0).await
    }

    pub(crate) async fn load_functions(&mut self, library: &str) {
        let mut command = redis::cmd("FUNCTION");
        command.arg("LOAD").arg(library);
        let _: String = command.query_async(&mut self.0).await.unwrap();
    }

    /// Returns the number of calls of a command since the server started.
    pub(crate) async fn calls(&mut self, command: &str) -> u64 {
        let statistics: String = self.run("INFO commandstats").await;
        let start = format!("cmdstat_{command}:calls=");
        let line = statistics
            .lines()
            .find_map(|line| line.strip_prefix(&start));
        let number = line.and_then(|line| line.split(',').next());
        number.map_or(0, |number| number.parse().unwrap())
    }

    /// Returns the full name of the only key with this part.
    pub(crate) async fn name(&mut self, part: &str) -> String {
        let names: Vec<String> = self.run(&format!("KEYS *:{part}")).await;
        let [name] = names.try_into().unwrap();
        name
    }
}
