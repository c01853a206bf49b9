//! Entries of a shared token store, of tokens and of refusals: a token is the one of the entry and lives no longer, a
//! refusal shows no secret, and an entry that the cache writes is read back the same.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use arbitrary::Unstructured;
use hallpass_cache::{
    CachedTokenSource, Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore,
};
use hallpass_core::{
    AccessToken, Clock as _, TokenError, TokenRequest, TokenSource, TokenType, async_trait,
};
use hallpass_testkit::ManualClock;
use serde_json::{Value, json};

use crate::{
    seeds,
    support::{block_on, check_token_error, settings},
};

pub(crate) const WORDS: &[&str] = &[
    "\"version\":1",
    "\"kind\":\"token\"",
    "\"kind\":\"answers\"",
    "\"token\":\"t0k3n-CANARY\"",
    "\"token_type\":\"Bearer\"",
    "\"token_type\":\"DPoP\"",
    "\"scopes\":\"a b\"",
    "\"requested_at_ms\":1767225600000",
    "\"lifetime_ms\":",
    "\"refresh_in_ms\":null",
    "\"jkt\"",
    "\"extra\":[[\"a\",1]]",
    "\"answers\":[{",
    "\"credentials\":",
    "\"failure\":null",
    "\"kind\":\"credentials_refused\"",
    "\"kind\":\"unavailable\"",
    "\"answered_at_ms\":1767225600000",
    "\"rest_ms\":60000",
    "18446744073709551615",
];

const WRITE: u8 = 1;

/// The digest of the source's credentials.
const DIGEST: [u8; 32] = [1; 32];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let now = 1_767_225_600_000_u64;
    let token = json!({
        "version": 1, "kind": "token", "token": "t0k3n-CANARY", "token_type": "Bearer", "scopes": "a b",
        "requested_at_ms": now - 1_000, "lifetime_ms": 60_000, "refresh_in_ms": 30_000, "extra": [["a", {"b": 1}]],
    });
    let failure = |kind: &str| {
        json!({
            "kind": kind, "message": "the server refused", "host": "login.example", "status": 401,
            "oauth_error": { "code": "invalid_client", "description": "d", "uri": "https://a.example" },
            "server_message": "m",
        })
    };
    let answers = |failure: Value| {
        json!({
            "version": 1, "kind": "answers", "answers": [
                { "credentials": DIGEST.map(|_| 0), "failure": null, "answered_at_ms": now, "rest_ms": 1 },
                { "credentials": DIGEST, "failure": failure, "answered_at_ms": now, "rest_ms": 60_000 },
            ],
        })
    };
    let entries = [
        token,
        answers(Value::Null),
        answers(failure("credentials_refused")),
        answers(failure("request_refused")),
        answers(failure("unavailable")),
    ];
    let mut seeds: Vec<_> = entries
        .iter()
        .map(|entry| [&[0, 60], entry.to_string().as_bytes()].concat())
        .collect();
    // From a host whose clock is behind or ahead; the store's own clock agrees with neither.
    for requested_at in [now - 30_000, now + 30_000, now + 301_000] {
        let mut entry = entries[0].clone();
        entry["requested_at_ms"] = requested_at.into();
        seeds.extend([0, 5, 255].map(|ttl| [&[0, ttl], entry.to_string().as_bytes()].concat()));
    }
    seeds.extend(seeds::of_literals(
        &["crates/cache/src/entry/tests.rs"],
        &[0, 0],
    ));
    seeds.push(b"\x01\x00some text for a token".to_vec());
    seeds
}

/// A store with one entry.
#[derive(Clone, Default)]
struct OneEntry(Arc<Mutex<Option<StoreEntry>>>);

impl std::fmt::Debug for OneEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OneEntry")
    }
}

impl OneEntry {
    fn entry(&self) -> Option<StoreEntry> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl TokenStore for OneEntry {
    async fn look_up(&self, _: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        Ok(self.entry())
    }

    async fn put(
        &self,
        _: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        _: Option<&Lease>,
    ) -> Result<(), StoreError> {
        *self.0.lock().unwrap() = Some(StoreEntry::new(entry.to_vec(), 2, Some(ttl)));
        Ok(())
    }

    async fn remove(&self, _: &StoreKey, _: u64) -> Result<(), StoreError> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }

    async fn lease(&self, _: &StoreKey, _: Duration) -> Result<LeaseOutcome, StoreError> {
        Ok(LeaseOutcome::Granted(Lease::new(2)))
    }

    async fn extend(&self, _: &StoreKey, _: &Lease, _: Duration) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn release(&self, _: &StoreKey, _: &Lease) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A source of one result.
#[derive(Debug)]
struct Source(Result<AccessToken, TokenError>);

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.clone()
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        Some(DIGEST)
    }
}

/// Reads a token through a cache with this store.
fn read(
    store: &OneEntry,
    source: Result<AccessToken, TokenError>,
    clock: &ManualClock,
) -> Result<AccessToken, TokenError> {
    let cache = CachedTokenSource::builder(Source(source))
        .store(store.clone(), "fuzz")
        .without_metrics()
        .clock(clock.clone());
    block_on(async {
        let cache = cache.build();
        let result = cache.token(&TokenRequest::default()).await;
        // The cache writes in a task of its own.
        tokio::time::sleep(Duration::from_secs(1)).await;
        result
    })
}

fn refused() -> TokenError {
    TokenError::credentials_refused("the source refused")
}

pub(crate) fn run(bytes: &[u8]) {
    let (flags, bytes) = settings(bytes);
    let (ttl, bytes) = settings(bytes);
    if flags & WRITE != 0 {
        return write(bytes);
    }
    let clock = ManualClock::new();
    let ttl = (ttl > 0).then(|| Duration::from_secs(ttl.into()));
    let store = OneEntry::default();
    *store.0.lock().unwrap() = Some(StoreEntry::new(bytes.to_vec(), 1, ttl));
    let value = serde_json::from_slice::<Value>(bytes).ok();
    match read(&store, Err(refused()), &clock) {
        Ok(token) => {
            let left = token.deadline().saturating_since(clock.now());
            assert!(!left.is_zero() && left <= ttl.unwrap_or(Duration::MAX));
            assert_eq!(token.token_type(), TokenType::Bearer);
            // A number beyond a double in a member that is not read.
            let Some(value) = value else { return };
            assert_eq!(value["version"], 1);
            assert_eq!(value["kind"], "token");
            assert_eq!(value["token"].as_str(), Some(token.expose()));
            assert_eq!(
                value["scopes"].as_str().unwrap().parse(),
                Ok(token.scopes().clone())
            );
            let requested_at = value["requested_at_ms"].as_u64().unwrap();
            let now = clock.wall().duration_since(UNIX_EPOCH).unwrap();
            let skew = Duration::from_millis(requested_at).saturating_sub(now);
            assert!(skew <= Duration::from_secs(300));
            let advice = value["refresh_in_ms"].as_u64().map(Duration::from_millis);
            assert_eq!(token.refresh_in(), advice);
            let lifetime = Duration::from_millis(value["lifetime_ms"].as_u64().unwrap());
            assert!(left <= lifetime);
            assert_eq!(
                value["extra"].as_array().unwrap().len(),
                token.extra_members().count()
            );
        }
        Err(error) => {
            check_token_error(&error);
            // A text of another process is marked, unless the failure is our own.
            let own = error.message().contains("the source refused");
            assert!(
                own || error.message().contains("another process"),
                "{error}"
            );
            let wait = error.retry_after();
            assert!(
                wait.is_none_or(|wait| wait <= Duration::from_secs(3_600)),
                "{wait:?}"
            );
            let entry = store.entry().unwrap();
            assert!(entry.bytes().len() <= bytes.len() + 1_024 || entry.bytes().len() < 1 << 16);
            // What the cache wrote is an entry.
            if entry.fence() == 2 {
                let written: Value = serde_json::from_slice(entry.bytes()).unwrap();
                assert_eq!(written["kind"], "answers");
                let answers = written["answers"].as_array().unwrap();
                assert!((1..=4).contains(&answers.len()));
                let again = read(&store, Err(TokenError::unavailable("not called")), &clock);
                let again = again.unwrap_err();
                assert!(again.message().contains("the source refused"), "{again}");
            }
        }
    }
}

/// Writes a token, and reads it in another process.
fn write(bytes: &[u8]) {
    let clock = ManualClock::new();
    let Some(token) = token(Unstructured::new(bytes), &clock) else {
        return;
    };
    let store = OneEntry::default();
    read(&store, Ok(token.clone()), &clock).unwrap();
    let left = token.deadline().saturating_since(clock.now());
    let Some(entry) = store.entry() else {
        // A token that lives for so short a time is not shared.
        return assert!(left < Duration::from_secs(1), "{left:?}");
    };
    assert!(entry.ttl().is_some_and(|ttl| ttl <= left));
    let again = read(&store, Err(refused()), &clock).unwrap();
    assert_eq!(again.expose(), token.expose());
    assert_eq!(again.scopes(), token.scopes());
    assert_eq!(again.refresh_in(), token.refresh_in());
    assert_eq!(again.token_type(), token.token_type());
    assert!(again.extra_members().eq(token.extra_members()));
    // Times are in milliseconds, and a year at most.
    let year = Duration::from_secs(365 * 86_400);
    let again_left = again.deadline().saturating_since(clock.now());
    let difference = left.min(year).abs_diff(again_left);
    assert!(
        difference <= Duration::from_millis(2),
        "{left:?} {again_left:?}"
    );
    // A scope, a type or a member may have the same text.
    let members: Vec<_> = again.extra_members().collect();
    let parts = format!("{:?} {:?} {members:?}", again.scopes(), again.token_type());
    let shown = format!("{again:?}");
    let count = |text: &str| text.matches(token.expose()).count();
    assert!(
        token.expose().len() < 12 || count(&shown) <= count(&parts),
        "{shown}"
    );
}

fn token(mut input: Unstructured<'_>, clock: &ManualClock) -> Option<AccessToken> {
    let lifetime = Duration::from_millis(input.int_in_range(1..=40_000_000_000).ok()?);
    let advice = input.arbitrary::<Option<u32>>().ok()?;
    let scopes: String = input.arbitrary().ok()?;
    let extra: Vec<(Box<str>, String)> = input.arbitrary().ok()?;
    let extra = extra.into_iter().filter_map(|(name, text)| {
        let json = Value::String(text).to_string();
        (!name.is_empty()).then_some((name, json))
    });
    let text = str::from_utf8(input.take_rest()).ok()?;
    let token = AccessToken::bearer(text, clock.moment(), lifetime).ok()?;
    let token = token.with_scopes(scopes.parse().ok()?).with_extra(extra);
    Some(match advice {
        Some(advice) => token.with_refresh_in(Duration::from_millis(advice.into())),
        None => token,
    })
}
