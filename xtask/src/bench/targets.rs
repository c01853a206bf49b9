//! The measured rows and their targets.

/// The benchmark programs: name and package.
pub(super) const PROGRAMS: &[(&str, &str)] = &[
    ("fetch", "hallpass-endpoint"),
    ("parse", "hallpass-endpoint"),
    ("hit", "hallpass-cache"),
    ("load", "hallpass-cache"),
    ("proof", "hallpass-jwt"),
    ("integrations", "hallpass"),
    ("store", "hallpass-redis"),
    ("start", "hallpass-cli"),
    ("tenants", "hallpass-profiles"),
];

/// An upper bound for a row, alone or relative to another row of the same run.
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) row: &'static str,
    pub(super) baseline: Option<&'static str>,
    /// `None` if the row is only reported.
    pub(super) most: Option<f64>,
}

const fn ratio(what: &'static str, row: &'static str, baseline: &'static str, most: f64) -> Target {
    Target {
        what,
        row,
        baseline: Some(baseline),
        most: Some(most),
    }
}

const fn figure(what: &'static str, row: &'static str, most: f64) -> Target {
    Target {
        what,
        row,
        baseline: None,
        most: Some(most),
    }
}

/// Creates a row that is only reported, relative to another row if there is one.
const fn reported(what: &'static str, row: &'static str, baseline: Option<&'static str>) -> Target {
    Target {
        what,
        row,
        baseline,
        most: None,
    }
}

pub(super) const TARGETS: &[Target] = &[
    figure(
        "building the source of one more tenant beside a thousand",
        "tenants/build",
        100.0,
    ),
    reported(
        "the first token of a tenant, its source included, vs. a later one",
        "tenants/first_token",
        Some("tenants/later_token"),
    ),
    reported(
        "building a transport, as a source without a shared one does",
        "tenants/transport",
        None,
    ),
    figure(
        "memory per tenant without a token",
        "tenants/memory",
        4_096.0,
    ),
    reported(
        "a hit of a tenant's source vs. one of its cache",
        "tenants/hit/held",
        Some("tenants/hit/cache"),
    ),
    reported(
        "a hit with a look-up of the tenant by name vs. one of its cache",
        "tenants/hit/by_name",
        Some("tenants/hit/cache"),
    ),
    ratio(
        "a hit with a store on Redis vs. one without a store",
        "store/hit",
        "store/hit_without",
        1.02,
    ),
    reported(
        "reading an entry from Redis vs. a bare GET",
        "store/look_up",
        Some("store/get"),
    ),
    reported(
        "writing an entry to Redis vs. a bare GET",
        "store/put",
        Some("store/get"),
    ),
    ratio(
        "a cold fetch vs. a bare reqwest POST with a serde_json parse",
        "fetch/hallpass",
        "fetch/reqwest",
        1.10,
    ),
    ratio(
        "reading a response of 64 KiB vs. one of 16 KiB (linear: 4)",
        "parse/64KiB",
        "parse/16KiB",
        4.4,
    ),
    ratio(
        "a hit on the default key vs. the minimum",
        "hit/default",
        "hit/floor",
        1.25,
    ),
    ratio(
        "a hit vs. a tokio RwLock",
        "hit/default",
        "hit/rwlock",
        0.65,
    ),
    reported(
        "a hit vs. a tokio Mutex with a String",
        "hit/default",
        Some("hit/mutex"),
    ),
    ratio(
        "a hit through `access_token().await` vs. `ready_token`",
        "hit/default_access_token",
        "hit/default",
        1.15,
    ),
    reported(
        "a hit through `token().await` vs. a tokio RwLock",
        "hit/default_awaited",
        Some("hit/rwlock"),
    ),
    ratio(
        "two tasks: a hit vs. a tokio RwLock",
        "hit/two_tasks/default",
        "hit/two_tasks/rwlock",
        0.5,
    ),
    reported(
        "two tasks: a hit vs. the minimum",
        "hit/two_tasks/default",
        Some("hit/two_tasks/floor"),
    ),
    reported(
        "two tasks: a hit vs. a tokio Mutex with a String",
        "hit/two_tasks/default",
        Some("hit/two_tasks/mutex"),
    ),
    ratio(
        "a hit among 10,000 keys, a hundred in use, vs. the minimum",
        "hit/keys_in_use/10k",
        "hit/floor",
        2.0,
    ),
    ratio(
        "a hit among 10,000 keys, all in turn, vs. the minimum",
        "hit/keys_in_turn/10k",
        "hit/floor",
        2.0,
    ),
    ratio(
        "a hit among 10,000 keys, at random, vs. the minimum",
        "hit/keys_at_random/10k",
        "hit/floor",
        2.0,
    ),
    ratio(
        "a hit among 1,000,000 keys vs. 100, a hundred in use",
        "hit/keys_in_use/1M",
        "hit/keys_in_use/100",
        3.0,
    ),
    ratio(
        "a hit among 1,000,000 keys vs. 100, at random",
        "hit/keys_at_random/1M",
        "hit/keys_at_random/100",
        3.0,
    ),
    ratio(
        "a hit of a handle among 1,000,000 keys, a hundred in use, over the default key",
        "hit/handles_in_use/1M",
        "hit/default_beside_keys/1M",
        1.15,
    ),
    ratio(
        "a hit of a handle among 1,000,000 keys, at random, over a look-up by key",
        "hit/handles_at_random/1M",
        "hit/keys_at_random/1M",
        0.6,
    ),
    figure(
        "10,000 callers on a cold key: requests",
        "load/cold/requests",
        1.0,
    ),
    figure(
        "10,000 callers on a cold key: until the last has its token, in server latencies",
        "load/cold/last_caller",
        1.2,
    ),
    reported(
        "memory per waiter, its task included",
        "load/memory/waiter",
        None,
    ),
    figure(
        "memory per key beyond the token, its request included",
        "load/memory/key",
        512.0,
    ),
    figure(
        "refresh under load: calls that waited for the server",
        "load/refresh/hallpass/waited",
        0.0,
    ),
    reported(
        "refresh under load: worst call, beside a tokio RwLock",
        "load/refresh/hallpass/worst",
        Some("load/refresh/rwlock/worst"),
    ),
    reported(
        "refresh under load: worst call, beside a tokio Mutex",
        "load/refresh/hallpass/worst",
        Some("load/refresh/mutex/worst"),
    ),
    reported(
        "refresh under load: requests in 20 lifetimes",
        "load/refresh/hallpass/requests",
        None,
    ),
    figure(
        "60 s tokens, 12 s: requests beyond the first",
        "load/lifetime_60s/further_requests",
        1.0,
    ),
    figure(
        "5 s tokens, 12 s: requests per lifetime",
        "load/lifetime_5s/requests_each",
        1.4,
    ),
    figure(
        "5 s tokens, 12 s: calls that waited for the server",
        "load/lifetime_5s/waited",
        0.0,
    ),
    figure(
        "1 s tokens, 12 s: failed calls",
        "load/lifetime_1s/failed",
        0.0,
    ),
    reported(
        "1 s tokens, 12 s: calls that waited for the server",
        "load/lifetime_1s/waited",
        None,
    ),
    ratio(
        "a request of reqwest with `send_with` vs. one with a constant header",
        "integrations/apart/reqwest/hallpass",
        "integrations/apart/reqwest/constant",
        1.03,
    ),
    ratio(
        "a request with `TokenMiddleware` vs. one with a middleware that sets a constant header",
        "integrations/apart/middleware/hallpass",
        "integrations/apart/middleware/constant",
        1.03,
    ),
    reported(
        "a request with `TokenMiddleware` vs. one of reqwest alone with a constant header",
        "integrations/apart/middleware/hallpass",
        Some("integrations/apart/reqwest/constant"),
    ),
    ratio(
        "a request of hyper's client below `TokenLayer` vs. one with a constant header",
        "integrations/apart/hyper/hallpass",
        "integrations/apart/hyper/constant",
        1.03,
    ),
    ratio(
        "the same, with a copy to send again",
        "integrations/apart/hyper/hallpass_retry",
        "integrations/apart/hyper/constant",
        1.03,
    ),
    ratio(
        "one thread: a request of reqwest with `send_with` vs. one with a constant header",
        "integrations/together/reqwest/hallpass",
        "integrations/together/reqwest/constant",
        1.03,
    ),
    ratio(
        "one thread: a request with `TokenMiddleware` vs. one with a middleware that sets a constant header",
        "integrations/together/middleware/hallpass",
        "integrations/together/middleware/constant",
        1.03,
    ),
    reported(
        "one thread: a request with `TokenMiddleware` vs. one of reqwest alone with a constant header",
        "integrations/together/middleware/hallpass",
        Some("integrations/together/reqwest/constant"),
    ),
    ratio(
        "one thread: a request of hyper's client below `TokenLayer` vs. one with a constant header",
        "integrations/together/hyper/hallpass",
        "integrations/together/hyper/constant",
        1.03,
    ),
    ratio(
        "one thread: the same, with a copy to send again",
        "integrations/together/hyper/hallpass_retry",
        "integrations/together/hyper/constant",
        1.03,
    ),
    ratio(
        "a DPoP proof by ES256 for a request to an API vs. the bare signature",
        "proof/es256/hallpass",
        "proof/es256/bare",
        1.2,
    ),
    ratio(
        "a DPoP proof by EdDSA for a request to an API vs. the bare signature",
        "proof/eddsa/hallpass",
        "proof/eddsa/bare",
        1.2,
    ),
    ratio(
        "`hallpass token` with a cached token vs. a Rust program that does nothing, start to end",
        "start/hallpass",
        "start/nothing",
        3.0,
    ),
];
