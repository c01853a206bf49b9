use hallpass_core::{Binding, Clock as _, Proof, ProofRequest, TokenError};
use hallpass_testkit::ManualClock;
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// Returns a token with everything that a token of this kind can have.
fn token(clock: &ManualClock) -> AccessToken {
    let token = AccessToken::bearer("CANARY", clock.moment(), HOUR).unwrap();
    let extra = [
        ("instance_url", r#""https://eu1.example""#),
        ("limits", r#"{"per \"day\"": [1, 2.50]}"#),
    ];
    token
        .with_scopes("a b".parse().unwrap())
        .with_refresh_in(MINUTE)
        .with_extra(extra.map(|(name, json)| (name.into(), json.to_owned())))
}

fn encoded(token: &AccessToken) -> Zeroizing<Vec<u8>> {
    encode(token, None)
        .unwrap()
        .expect("a token that can be shared")
}

fn read(bytes: &[u8], ttl: Option<Duration>, clock: &ManualClock) -> Option<AccessToken> {
    match decode(bytes, ttl, clock.moment(), None) {
        DecodeResult::Token(token) => Some(token),
        DecodeResult::Nothing | DecodeResult::Corrupt => None,
    }
}

fn is_corrupt(bytes: &[u8], clock: &ManualClock) -> bool {
    matches!(
        decode(bytes, None, clock.moment(), None),
        DecodeResult::Corrupt
    )
}

fn left(token: &AccessToken, clock: &ManualClock) -> u64 {
    token.deadline().saturating_since(clock.now()).as_secs()
}

#[test]
fn a_token_survives_the_store_unchanged() {
    let clock = ManualClock::new();
    let written = token(&clock);
    let bytes = encoded(&written);
    clock.advance(10 * MINUTE);
    let read = read(&bytes, Some(50 * MINUTE), &clock).unwrap();
    assert_eq!((read.expose(), read.scopes().as_str()), ("CANARY", "a b"));
    assert_eq!((left(&read, &clock), read.lifetime()), (3_000, HOUR));
    assert_eq!(read.requested_at(), written.requested_at());
    assert_eq!(read.deadline(), written.deadline());
    assert_eq!(read.refresh_in(), Some(MINUTE));
    assert_eq!(read.token_type(), written.token_type());
    let members = |token: &AccessToken| {
        let members = token.extra_members();
        members
            .map(|(name, json)| format!("{name}={json}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(members(&read), members(&written));
    assert_eq!(members(&read).len(), 2);
}

#[test]
fn an_extra_member_that_is_not_json_is_an_error() {
    let clock = ManualClock::new();
    let token = token(&clock).with_extra([("note".into(), "not JSON".to_owned())]);
    assert!(encode(&token, None).is_err());
}

// covers: C-40
#[test]
fn a_bound_token_is_not_encoded() {
    let clock = ManualClock::new();
    let token = |kind| AccessToken::new(kind, "CANARY", clock.moment(), HOUR).unwrap();
    assert!(encode(&token(TokenType::Bearer), None).unwrap().is_some());
    assert!(encode(&token(TokenType::Dpop), None).unwrap().is_none());
    let bound = token(TokenType::Bearer).with_binding(Binding::new());
    assert!(encode(&bound, None).unwrap().is_none());
}

/// A key by its thumbprint.
#[derive(Debug)]
struct Key(Option<&'static str>);

#[hallpass_core::async_trait]
impl Prover for Key {
    async fn prove(&self, _: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        Err(TokenError::configuration("nothing is proven here"))
    }

    fn shared_key(&self) -> Option<&str> {
        self.0
    }
}

#[test]
fn a_bound_token_is_read_with_its_own_key_only() {
    let clock = ManualClock::new();
    let key = |name| -> Arc<dyn Prover> { Arc::new(Key(name)) };
    let token = AccessToken::new(TokenType::Dpop, "CANARY", clock.moment(), HOUR).unwrap();
    let token = token.with_prover(key(Some("one")));
    for other in [None, Some("two")] {
        assert!(encode(&token, other).unwrap().is_none());
    }
    let bytes = encode(&token, Some("one")).unwrap().unwrap();
    let read = |prover: Option<&Arc<dyn Prover>>| match decode(&bytes, None, clock.moment(), prover)
    {
        DecodeResult::Token(token) => Some(token),
        DecodeResult::Nothing | DecodeResult::Corrupt => None,
    };
    let own = read(Some(&key(Some("one")))).unwrap();
    assert_eq!(
        (own.token_type(), own.expose()),
        (TokenType::Dpop, "CANARY")
    );
    assert_eq!(own.prover().unwrap().shared_key(), Some("one"));
    assert!(read(None).is_none() && read(Some(&key(None))).is_none());
    assert!(read(Some(&key(Some("two")))).is_none());
}

#[test]
fn a_bearer_token_is_not_read_where_tokens_are_bound() {
    let clock = ManualClock::new();
    let bytes = encoded(&token(&clock));
    let prover: Arc<dyn Prover> = Arc::new(Key(Some("one")));
    let read = |prover| {
        let result = decode(&bytes, None, clock.moment(), prover);
        matches!(result, DecodeResult::Token(_))
    };
    assert!(read(None) && !read(Some(&prover)));
}

// covers: F-95, F-96
#[test]
fn clock_skew_does_not_extend_a_tokens_life() {
    let clock = ManualClock::new();
    let bytes = encoded(&token(&clock));
    let read = |skew_seconds: i32, ttl: Duration| {
        let clock = ManualClock::new();
        let skew = Duration::from_secs(skew_seconds.unsigned_abs().into());
        let wall = if skew_seconds < 0 {
            clock.wall() - skew
        } else {
            clock.wall() + skew
        };
        clock.set_wall(wall);
        read(&bytes, Some(ttl), &clock).map(|token| left(&token, &clock))
    };
    assert_eq!(read(-300, HOUR), Some(3_600));
    assert_eq!(read(-300, 20 * MINUTE), Some(1_200));
    assert_eq!(read(300, HOUR), Some(3_300));
    assert_eq!(read(3_600, HOUR), None);
    assert_eq!(read(0, Duration::ZERO), None);
    // Written in the future: this clock was set back since, and an expired token would live again.
    assert_eq!(read(-301, HOUR), None);
    assert_eq!(read(-2 * 3_600, HOUR), None);
}

#[test]
fn an_endless_lifetime_is_capped() {
    let clock = ManualClock::new();
    for lifetime in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        MAX_LIFETIME + HOUR,
    ] {
        let token = AccessToken::bearer("t", clock.moment(), lifetime).unwrap();
        let token = token.with_refresh_in(lifetime);
        let read = read(&encoded(&token), None, &clock).unwrap();
        assert_eq!(read.lifetime(), MAX_LIFETIME);
        assert_eq!(left(&read, &clock), MAX_LIFETIME.as_secs());
    }
}

// covers: F-92
#[test]
fn an_unknown_version_or_kind_is_not_corrupt() {
    let clock = ManualClock::new();
    for other in [
        r#"{"version":2,"kind":"token","sealed":"…"}"#,
        r#"{"version":1,"kind":"failure","until_ms":1}"#,
        r#"{"kind":"failure","version":7}"#,
    ] {
        let decoded = decode(other.as_bytes(), None, clock.moment(), None);
        assert!(matches!(decoded, DecodeResult::Nothing), "{other}");
    }
}

// covers: F-92
#[test]
fn damaged_bytes_are_corrupt() {
    let clock = ManualClock::new();
    let good = encoded(&token(&clock));
    for end in 0..good.len() {
        assert!(is_corrupt(&good[..end], &clock), "{end}");
    }
    let text = String::from_utf8(good.to_vec()).unwrap();
    for (from, to) in [
        ("\"version\":1", "\"version\":\"1\""),
        ("Bearer", "mac"),
        ("Bearer", "DPoP"),
        ("CANARY", "a b"),
        ("\"a b\"", "\"a\\n\""),
        ("3600000", "-1"),
        ("3600000", "1e300"),
        ("3600000", "\"3600000\""),
        ("\"extra\"", "\"more\""),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text);
        assert!(is_corrupt(bad.as_bytes(), &clock), "{to}");
    }
}

proptest! {
    // covers: F-92
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&bytes, None, ManualClock::new().moment(), None);
    }
}
