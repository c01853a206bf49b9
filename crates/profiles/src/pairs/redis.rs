//! The settings of the table `redis`: each beside every other one has an effect, or the error names both. Beside the other
//! settings of a profile, they are three values of `redis`, which together have all of them.

use super::{
    answer,
    base::{Address, Client, combination},
    rows,
    run::{Run, World},
};
use crate::{Selection, environment::Variables, redis::REDIS_KEYS};

/// A Redis behind sentinels, without encryption.
pub(super) const SENTINELS: &str = "{ url = 'redis://{redis}/3', danger_store_in_clear = true, danger_allow_plain_text = true, sentinel = 'main', other_urls = ['redis://{node}'], sentinel_username = 'watcher', sentinel_password = 'file:{dir}/sentinel', prefix = 'own:' }";
pub(super) const SENTINELS_SEEN: fn(&Run) -> bool = |run| {
    run.redis_received(&[
        "SENTINEL",
        "main",
        "watcher",
        "CANARY-sentinel",
        "SELECT",
        "own:",
    ])
};
/// A cluster with TLS.
pub(super) const CLUSTER: &str = "{ url = 'rediss://{redis}', keys = 'file:{dir}/keys', ca_file = '{dir}/authority.pem', client_certificate = 'file:{dir}/identity.pem', cluster = true, other_urls = ['rediss://{node}'], functions = true }";
pub(super) const CLUSTER_SEEN: fn(&Run) -> bool =
    |run| run.redis_received(&["(certificate)", "FCALL", "(node)"]);

/// A value of a setting, those that it needs, and how its effect is seen.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    fn(&Run) -> bool,
);

const KEYS: (&str, &str) = ("keys", "'file:{dir}/keys'");
const TLS: (&str, &str) = ("url", "'rediss://{redis}'");
const CA: (&str, &str) = ("ca_file", "'{dir}/authority.pem'");
const PASSWORD: (&str, &str) = ("password", "'file:{dir}/password'");
const CLUSTERED: (&str, &str) = ("cluster", "true");
const SENTINEL: (&str, &str) = ("sentinel", "'main'");
const SENTINEL_PASSWORD: (&str, &str) = ("sentinel_password", "'file:{dir}/sentinel'");
const IN_CLEAR: &str = "danger_store_in_clear";
const OTHERS: &str = "['redis://{node}']";

fn is_at_node(run: &Run) -> bool {
    run.redis_received(&["(node)"])
}

fn is_asked(run: &Run) -> bool {
    run.redis_received(&["hallpass:"]) || run.redis_received(&["own:"])
}

const ROWS: [Row; 17] = [
    (CA.0, CA.1, &[TLS], |run| run.redis_received(&["("])),
    (
        "client_certificate",
        "'file:{dir}/identity.pem'",
        &[TLS, CA],
        |run| run.redis_received(&["(certificate)"]),
    ),
    (CLUSTERED.0, CLUSTERED.1, &[], is_at_node),
    ("danger_allow_plain_text", "true", &[], is_asked),
    (IN_CLEAR, "true", &[], is_asked),
    ("functions", "true", &[], |run| {
        run.redis_received(&["FCALL"])
    }),
    (KEYS.0, KEYS.1, &[], is_asked),
    ("other_urls", OTHERS, &[CLUSTERED], is_at_node),
    ("other_urls", OTHERS, &[SENTINEL], is_asked),
    (PASSWORD.0, PASSWORD.1, &[], |run| {
        run.redis_received(&["CANARY-password"])
    }),
    ("prefix", "'own:'", &[], |run| run.redis_received(&["own:"])),
    (SENTINEL.0, SENTINEL.1, &[], |run| {
        run.redis_received(&["SENTINEL", "main"])
    }),
    (
        SENTINEL_PASSWORD.0,
        SENTINEL_PASSWORD.1,
        &[SENTINEL],
        |run| run.redis_received(&["CANARY-sentinel"]),
    ),
    (
        "sentinel_username",
        "'watcher'",
        &[SENTINEL, SENTINEL_PASSWORD],
        |run| run.redis_received(&["watcher"]),
    ),
    ("timeout", "'50ms'", &[], is_asked),
    ("url", "'redis://{redis}/3'", &[], |run| {
        run.redis_received(&["SELECT"])
    }),
    ("username", "'user'", &[PASSWORD], |run| {
        run.redis_received(&["user"])
    }),
];

/// The settings that exclude each other.
const EXCLUDED: [(&str, &[&str]); 4] = [
    ("ca_file", &["danger_allow_plain_text", "other_urls", "url"]),
    (
        "client_certificate",
        &["danger_allow_plain_text", "other_urls", "url"],
    ),
    (
        "cluster",
        &["sentinel", "sentinel_password", "sentinel_username", "url"],
    ),
    (IN_CLEAR, &["keys"]),
];

fn is_excluded(one: &Row, other: &Row) -> bool {
    let lists = |one: &Row, other: &Row| {
        let mut rows = EXCLUDED.iter();
        rows.any(|(name, others)| *name == one.0 && others.contains(&other.0))
    };
    let needs = |one: &Row, other: &Row| {
        one.2.iter().any(|needed| {
            // The URL that is needed is another one than that of the row.
            let mut rows = ROWS.iter();
            let needed = rows.find(|row| row.0 == needed.0 && !["url", other.0].contains(&row.0));
            needed.is_some_and(|needed| lists(needed, other) || lists(other, needed))
        })
    };
    lists(one, other) || lists(other, one) || needs(one, other) || needs(other, one)
}

#[tokio::test(start_paused = true)]
async fn each_pair_of_settings_of_redis_works_or_is_refused() {
    assert!(
        REDIS_KEYS
            .iter()
            .all(|key| ROWS.iter().any(|row| row.0 == *key))
    );
    let world = World::new().await;
    let samples = rows::samples();
    let mut faults = Vec::new();
    let (mut run, mut refused) = (0, 0);
    for (at, one) in ROWS.iter().enumerate() {
        for other in ROWS[at + 1..].iter().filter(|other| other.0 != one.0) {
            run += 1;
            let mut members = vec![(one.0, one.1), (other.0, other.1)];
            let defaults = [("url", "'redis://{redis}'"), KEYS];
            for member in [one.2, other.2, &defaults].concat() {
                let is_known = members.iter().any(|known| known.0 == member.0);
                let is_clear = member == KEYS && [one.0, other.0].contains(&IN_CLEAR);
                if !is_known && !is_clear {
                    members.push(member);
                }
            }
            let members = members
                .iter()
                .map(|(key, value)| format!("{key} = {value}"));
            let value = format!("{{ {} }}", members.collect::<Vec<_>>().join(", "));
            let mut table = combination(Address::Endpoint, Client::Secret, []);
            table.insert("redis", value.clone());
            let selection = Selection::new().profile(format!("run{run}"));
            let profiles = world.load([(run, &table)], Variables::new(|_| None));
            let expected = answer(&samples, &table);
            let outcome = world
                .run(&profiles, &selection, run, &table, expected)
                .await;
            match outcome {
                Err(error) => {
                    refused += 1;
                    let shown = error.to_string();
                    let is_named = |row: &Row| {
                        let names =
                            std::iter::once(row.0).chain(row.2.iter().map(|needed| needed.0));
                        names.into_iter().any(|name| {
                            shown.contains(&format!("`{name}`"))
                                || shown.contains(&format!("redis.{name}`"))
                        })
                    };
                    if !is_excluded(one, other) || !is_named(one) || !is_named(other) {
                        faults.push(format!("{value}: {shown}"));
                    }
                }
                Ok(outcome) => {
                    let seen = [(one.3)(&outcome), (other.3)(&outcome), outcome.is_issued()];
                    if seen != [true; 3] || is_excluded(one, other) {
                        faults.push(format!("{value}: {seen:?} {}", outcome.error()));
                    }
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!((run, refused), (135, 18));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_silent_redis_for_its_timeout() {
    let world = World::new().await;
    let samples = rows::samples();
    for (run, timeout) in [(1, 50), (2, 700), (3, 5_000)] {
        let mut table = combination(Address::Endpoint, Client::Secret, []);
        let value = format!(
            "{{ url = 'redis://127.0.0.1:{{silent_port}}', keys = 'file:{{dir}}/keys', \
             danger_allow_plain_text = true, timeout = '{timeout}ms' }}"
        );
        table.insert("redis", value);
        let selection = Selection::new().profile(format!("run{run}"));
        let profiles = world.load([(run, &table)], Variables::new(|_| None));
        let expected = answer(&samples, &table);
        let outcome = world.run(&profiles, &selection, run, &table, expected);
        let outcome = outcome.await.unwrap();
        assert!(outcome.is_issued());
        let waited = outcome.elapsed().as_millis();
        assert!((timeout..timeout + 50).contains(&waited), "{waited} ms");
    }
}
