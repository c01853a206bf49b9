//! The settings of a Redis store, as fake servers see them.

use std::time::Duration;

use hallpass::{
    TokenRequest,
    cache::{StoreKey, TokenStore as _},
    redis_store::{RedisTokenStore, RedisTokenStoreBuilder},
};
use hallpass_testkit::RotatingSecret;
use tokio::time::Instant;

use super::{
    pairs::{Exclusions, PairCounts, Setting, SettingSelection, check, is_named},
    run::World,
    server::Server,
};
use crate::support::secret;

/// The servers of a run.
struct Place {
    server: Server,
    is_over_tls: bool,
    /// True if they accept connections, and say nothing.
    is_silent: bool,
    authority: String,
    identity: String,
    keys: RotatingSecret,
}

impl Place {
    fn new(world: &World, is_over_tls: bool, is_silent: bool) -> Self {
        Self {
            server: world.server.clone(),
            is_over_tls,
            is_silent,
            authority: world.authority.clone(),
            identity: world.identity.clone(),
            keys: RotatingSecret::new(KEY),
        }
    }

    fn url(&self, is_node: bool) -> String {
        let scheme = if self.is_over_tls { "rediss" } else { "redis" };
        let address = match (self.is_silent, is_node) {
            (true, _) => self.server.silent,
            (false, true) => self.server.node,
            (false, false) => self.server.redis,
        };
        format!("{scheme}://{address}")
    }
}

/// The observations of a store.
struct Observations {
    /// The commands, and the kinds of the connections.
    commands: String,
    /// The time that a call took with servers that say nothing, and with those that know no answer to a script.
    silence: Duration,
    late_reply: Duration,
    /// The error of `build` for another machine without TLS; an empty text if there is none.
    plain_text: String,
    are_keys_read: bool,
}

impl Observations {
    fn has(&self, text: &str) -> bool {
        self.commands.contains(text)
    }
}

/// 32 bytes.
const KEY: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBE=";
const ENTRY: &str = "CANARY-entry";
const TLS: [&str; 3] = ["client_certificate", "tls_roots", "tls_roots_from"];

const EXCLUDED: Exclusions = &[
    ("cluster", &["sentinel", "sentinel_credentials"]),
    ("danger_store_in_clear", &["keys"]),
    ("tls_roots", &["tls_roots_from"]),
];

fn rows() -> Vec<Setting<RedisTokenStoreBuilder, Place, Observations>> {
    let row = Setting::<RedisTokenStoreBuilder, Place, Observations>::new;
    vec![
        row(
            "client_certificate",
            |one, place| one.client_certificate(secret(&place.identity)),
            |seen| seen.has("(certificate)"),
        ),
        row(
            "cluster",
            |one, place| one.cluster([place.url(true)]),
            |seen| seen.has("(node)"),
        ),
        row(
            "connect_timeout",
            |one, _| one.connect_timeout(Duration::from_millis(600)),
            |seen| seen.silence < Duration::from_millis(1_500),
        ),
        row(
            "danger_allow_plain_text",
            |one, _| one.danger_allow_plain_text(),
            |seen| !seen.plain_text.contains("`danger_allow_plain_text`"),
        )
        .unseen_beside(&TLS),
        row(
            "danger_store_in_clear",
            |one, _| one.danger_store_in_clear(),
            |seen| seen.has(ENTRY),
        ),
        row(
            "functions",
            |one, _| one.functions(),
            |seen| seen.has("FCALL"),
        ),
        row(
            "keys",
            |one, place| one.keys(place.keys.clone()),
            |seen| seen.are_keys_read,
        ),
        row(
            "password",
            |one, _| one.password(secret("CANARY-password")),
            |seen| seen.has("CANARY-password"),
        ),
        row(
            "prefix",
            |one, _| one.prefix("own:"),
            |seen| seen.has("own:{") && seen.has("own:changed"),
        ),
        row(
            "response_timeout",
            |one, _| one.response_timeout(Duration::from_millis(1_500)),
            |seen| seen.late_reply < Duration::from_millis(1_900),
        ),
        row(
            "sentinel",
            |one, place| one.sentinel("main", [place.url(true)]),
            |seen| seen.has("SENTINEL") && seen.has("main"),
        ),
        row(
            "sentinel_credentials",
            |one, _| one.sentinel_credentials(Some("watcher"), secret("CANARY-sentinel")),
            |seen| seen.has("watcher") && seen.has("CANARY-sentinel"),
        ),
        row(
            "tls_roots",
            |one, place| one.tls_roots(&place.authority),
            |seen| seen.has("(certificate)") || seen.has("(tls)"),
        ),
        row(
            "tls_roots_from",
            |one, place| one.tls_roots_from(secret(&place.authority)),
            |seen| seen.has("(certificate)") || seen.has("(tls)"),
        ),
        row(
            "username",
            |one, _| one.username("orders"),
            |seen| seen.has("orders"),
        ),
    ]
}

/// Returns a builder with these settings, and with those without which they have no effect.
fn builder(
    selection: &SettingSelection<'_, RedisTokenStoreBuilder, Place, Observations>,
    place: &Place,
    url: String,
) -> RedisTokenStoreBuilder {
    let mut builder = RedisTokenStore::builder(url);
    if !selection.has("danger_store_in_clear") {
        builder = builder.keys(secret(KEY));
    }
    let has_roots = ["tls_roots", "tls_roots_from"].map(|name| selection.has(name));
    if selection.has("client_certificate") && has_roots == [false; 2] {
        builder = builder.tls_roots(&place.authority);
    }
    if selection.has("username") {
        builder = builder.password(secret("CANARY-default"));
    }
    if selection.has("sentinel_credentials") && !selection.has("cluster") {
        builder = builder.sentinel("other", [""; 0]);
    }
    selection.set(builder, place)
}

#[tokio::test(start_paused = true)]
async fn every_two_settings_of_a_redis_store_work_or_are_refused() {
    let rows = rows();
    let world = World::new().await;
    let key = StoreKey::new("client", &TokenRequest::new());
    let hour = Duration::from_secs(3_600);
    let run =
        async |selection: &SettingSelection<'_, RedisTokenStoreBuilder, Place, Observations>| {
            let is_over_tls = TLS.iter().any(|name| selection.has(name));
            let [place, silent] =
                [false, true].map(|is_silent| Place::new(&world, is_over_tls, is_silent));
            let build = |place: &Place| builder(selection, place, place.url(false)).build();
            let store = build(&place).map_err(|error| {
                let shown = error.to_string();
                // The error names the setting that is missing.
                if selection.has("cluster") && is_named("sentinel", &shown) {
                    return shown + ", not `cluster`";
                }
                shown
            })?;
            let put = async |store: &RedisTokenStore| {
                // The fake servers know no script.
                let put = store.put(&key, ENTRY.as_bytes(), hour, None);
                put.await.unwrap_err();
            };
            world.server.take_redis();
            put(&store).await;
            let subscribed = async {
                for _ in 0..2_000 {
                    if world.server.redis_has(":changed") {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                () = store.changed(&key) => {}
                () = subscribed => {}
            }
            let commands = world.server.take_redis();
            let duration = async |store: &RedisTokenStore| {
                let started = Instant::now();
                put(store).await;
                started.elapsed()
            };
            let silence = duration(&build(&silent).unwrap()).await;
            world.server.answer_scripts(false);
            let late_reply = duration(&store).await;
            world.server.answer_scripts(true);
            // For what connects in the background.
            drop(store);
            tokio::time::sleep(Duration::from_secs(10)).await;
            let plain = Place::new(&world, false, false);
            let plain = builder(selection, &plain, "redis://redis.example".to_owned()).build();
            Ok(Observations {
                are_keys_read: place.keys.reads() > 0,
                commands,
                silence,
                late_reply,
                plain_text: plain
                    .err()
                    .map(|error| error.to_string())
                    .unwrap_or_default(),
            })
        };
    assert_eq!(
        check(("redis", "RedisTokenStoreBuilder"), &rows, EXCLUDED, run).await,
        PairCounts {
            built: 225,
            refused: 8
        }
    );
}
