mod clocks;

use std::thread;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    endpoint::{AuthenticationContext, ClientAuthentication as _},
    jwt::{AssertionSettings, PrivateKeyJwt, PublicKey},
    secrets::FileSecret,
};
use hallpass_testkit::ManualClock;
use serde_json::json;
use tempfile::TempDir;

use super::*;

const HOUR: u64 = 3_600;
const START: u64 = 1_767_225_600;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START + seconds)
}

/// A directory with the files of a rotation every 10 days, with an overlap of a day.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn try_rotate(&self, seconds: u64, change: fn(&mut Rotation<'_>)) -> Result<Value, Failure> {
        self.try_rotate_at(at(seconds), change)
    }

    fn try_rotate_at(
        &self,
        now: SystemTime,
        change: fn(&mut Rotation<'_>),
    ) -> Result<Value, Failure> {
        let (key, published) = (self.path("client.pem"), self.path("client.jwks"));
        let mut rotation = Rotation {
            key: &key,
            next: self.path("client.pem.next"),
            published: &published,
            overlap: DAY,
            every: 10 * DAY,
            algorithm: None,
            bits: None,
        };
        change(&mut rotation);
        rotation.run(now)
    }

    fn rotate(&self, seconds: u64) -> Vec<Value> {
        let set = self.try_rotate(seconds, |_| ()).unwrap();
        assert_eq!(set, self.published());
        set["keys"].as_array().unwrap().clone()
    }

    fn published(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("client.jwks")).unwrap()).unwrap()
    }

    fn key(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap();
        let key = SigningKey::from_pem(&text)
            .unwrap()
            .with_thumbprint_as_key_id();
        key.key_id().unwrap().to_owned()
    }

    /// Returns an assertion of a client that reads the key's file.
    async fn assertion(&self, seconds: u64) -> String {
        let settings = AssertionSettings::new("https://login.example").unwrap();
        let clock = ManualClock::new();
        clock.set_wall(at(seconds));
        let settings = settings.clock(clock);
        let file = FileSecret::new(self.path("client.pem"));
        let client = PrivateKeyJwt::from_source(settings, file, |pem| {
            Ok(SigningKey::from_pem(pem)?.with_thumbprint_as_key_id())
        });
        let context = AuthenticationContext::new("orders", "https://login.example/token");
        let credentials = client.credentials(&context).await.unwrap();
        let (_, assertion) = credentials.expose_parameters().last().unwrap();
        assertion.to_owned()
    }
}

/// Returns true if a server that knows only these keys accepts the assertion's signature.
fn accepts(set: &Value, assertion: &str) -> bool {
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let (message, signature) = assertion.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    let mut keys = set["keys"].as_array().unwrap().iter();
    keys.find(|key| key["kid"] == header["kid"])
        .is_some_and(|key| {
            let key = PublicKey::from_jwk(&key.to_string()).unwrap();
            key.verify(Algorithm::Es256, message.as_bytes(), &decode(signature))
        })
}

#[tokio::test]
async fn each_assertion_is_accepted_through_three_rotations() {
    let files = Files::new();
    let mut signers = Vec::new();
    // A server that reads the set only each 23 hours, and assertions that arrive just before they expire.
    let mut cached = Value::Null;
    let mut earlier: Option<String> = None;
    for hour in 0..(24 * 40) {
        let set = files.try_rotate(hour * HOUR, |_| ()).unwrap();
        if hour % 23 == 0 {
            cached = set.clone();
        }
        if let Some(earlier) = earlier {
            assert!(
                accepts(&set, &earlier),
                "in hour {hour}, of the hour before"
            );
        }
        let assertion = files.assertion(hour * HOUR).await;
        assert!(accepts(&set, &assertion), "in hour {hour}");
        assert!(
            accepts(&cached, &assertion),
            "in hour {hour}, by the older set"
        );
        earlier = Some(assertion);
        let key = files.key("client.pem");
        if signers.last() != Some(&key) {
            signers.push(key);
        }
    }
    // Replaced on days 11, 22 and 33.
    assert_eq!(signers.len(), 4);
    assert_eq!(files.published()["keys"].as_array().unwrap().len(), 1);
    // The positive control: the first key is no longer accepted.
    assert!(!accepts(
        &files.published(),
        &Files::new().first_assertion().await
    ));
}

impl Files {
    async fn first_assertion(&self) -> String {
        self.rotate(0);
        self.assertion(0).await
    }
}

#[test]
fn a_key_is_published_then_used_and_the_old_one_removed() {
    let files = Files::new();
    let first = files.rotate(0);
    assert_eq!(first.len(), 1);
    assert_eq!(files.rotate(10 * 24 * HOUR - 1), first);
    let both = files.rotate(10 * 24 * HOUR);
    assert_eq!(both[0], first[0]);
    assert_eq!(both[1]["nbf"], START + 11 * 24 * HOUR);
    assert_eq!(files.key("client.pem"), both[0]["kid"]);
    assert_eq!(files.rotate(11 * 24 * HOUR - 1), both);
    let after = files.rotate(11 * 24 * HOUR + 5);
    assert_eq!(files.key("client.pem"), both[1]["kid"]);
    assert!(!files.path("client.pem.next").exists());
    assert_eq!(after[0]["exp"], START + 12 * 24 * HOUR + 5);
    assert_eq!(after[1].get("nbf"), None);
    assert_eq!(files.rotate(12 * 24 * HOUR + 4).len(), 2);
    assert_eq!(files.rotate(12 * 24 * HOUR + 5), after[1..]);
}

#[test]
fn an_interrupted_run_is_completed_by_the_next_one() {
    let day = 24 * HOUR;
    let copy =
        |files: &Files, from: &str, to: &str| fs::copy(files.path(from), files.path(to)).unwrap();

    // After the new key was written, before it was published: the overlap counts from its publication.
    let files = Files::new();
    files.rotate(0);
    copy(&files, "client.jwks", "before");
    files.rotate(10 * day);
    copy(&files, "before", "client.jwks");
    let next = files.key("client.pem.next");
    let keys = files.rotate(15 * day);
    assert_eq!(
        (&keys[1]["kid"], &keys[1]["nbf"]),
        (&json!(next), &json!(START + 16 * day))
    );
    assert_ne!(files.key("client.pem"), next);

    // After the old key was retired, before it was replaced; the next run is later than its removal.
    copy(&files, "client.pem", "old");
    copy(&files, "client.pem.next", "new");
    files.rotate(16 * day);
    copy(&files, "old", "client.pem");
    copy(&files, "new", "client.pem.next");
    let old = files.key("client.pem");
    let keys = files.rotate(30 * day);
    assert_eq!(files.key("client.pem"), next);
    assert_eq!(
        (&keys[0]["kid"], &keys[0]["exp"]),
        (&json!(old), &json!(START + 31 * day))
    );

    // The unfinished file of a killed process with the same number.
    let stale = format!("client.jwks.{}.new", std::process::id());
    fs::write(files.path(&stale), "{").unwrap();
    assert_eq!(files.rotate(31 * day)[0]["kid"], next);
    assert!(!files.path(&stale).exists());
}

#[test]
fn concurrent_runs_create_one_key() {
    let files = Files::new();
    let first = files.rotate(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| files.rotate(10 * 24 * HOUR));
        }
    });
    let keys = files.rotate(10 * 24 * HOUR);
    assert_eq!((keys.len(), &keys[0]), (2, &first[0]));
    assert_eq!(files.key("client.pem.next"), keys[1]["kid"]);
}

#[test]
fn keys_of_others_and_odd_members_are_left_alone() {
    let files = Files::new();
    let others = json!([
        {"kty": "oct", "kid": "theirs", "exp": "CANARY"},
        "not a key",
        {"kid": ["CANARY"], "nbf": {}, "exp": -1},
        {"kty": "EC", "exp": START + 1},
    ]);
    let set = json!({"keys": others, "spiffe_sequence": 7});
    fs::write(files.path("client.jwks"), set.to_string()).unwrap();
    let keys = files.rotate(0);
    assert_eq!(keys[..4], others.as_array().unwrap()[..]);
    assert_eq!(files.published()["spiffe_sequence"], 7);
    // A key whose own time has come is removed.
    assert_eq!(files.rotate(1).len(), 4);
}

#[test]
fn a_hostile_set_is_refused_and_nothing_is_written() {
    let files = Files::new();
    files.rotate(0);
    let key = files.key("client.pem");
    for text in [
        "CANARY".to_owned(),
        "[]".to_owned(),
        r#"{"keys":{"CANARY":1}}"#.to_owned(),
        r#"{"CANARY":[]}"#.to_owned(),
        format!(r#"{{"keys":{}"#, "[".repeat(100_000)),
        format!(r#"{{"keys":["{}"]}}"#, "A".repeat(2 << 20)),
    ] {
        fs::write(files.path("client.jwks"), &text).unwrap();
        let failure = files.try_rotate(10 * 24 * HOUR, |_| ()).unwrap_err();
        assert!(
            failure.message().contains("client.jwks"),
            "{}",
            failure.message()
        );
        assert!(!failure.message().contains("CANARY"));
        assert_eq!(fs::read_to_string(files.path("client.jwks")).unwrap(), text);
        assert!(!files.path("client.pem.next").exists());
    }
    assert_eq!(files.key("client.pem"), key);
}

#[test]
fn the_new_key_has_the_algorithm_of_the_old_one() {
    let files = Files::new();
    let es384 = |rotation: &mut Rotation<'_>| rotation.algorithm = Some(Algorithm::Es384);
    files.try_rotate(0, es384).unwrap();
    let keys = files.rotate(10 * 24 * HOUR);
    assert_eq!(
        (&keys[0]["alg"], &keys[1]["alg"]),
        (&json!("ES384"), &json!("ES384"))
    );
    // PEM does not have the algorithm of an RSA key.
    let files = Files::new();
    let ps256 = |rotation: &mut Rotation<'_>| {
        rotation.algorithm = Some(Algorithm::Ps256);
        rotation.bits = Some(2048);
    };
    files.try_rotate(0, ps256).unwrap();
    assert_eq!(files.rotate(1)[0]["alg"], "PS256");
}

#[cfg(unix)]
#[test]
fn private_keys_are_private_and_links_are_refused() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let files = Files::new();
    files.rotate(0);
    files.rotate(10 * 24 * HOUR);
    let mode = |name: &str| fs::metadata(files.path(name)).unwrap().permissions().mode() & 0o777;
    let private = ["client.pem", "client.pem.next", "client.pem.lock"];
    assert_eq!(private.map(mode), [0o600; 3]);
    fs::set_permissions(files.path("client.jwks"), fs::Permissions::from_mode(0o664)).unwrap();
    files.rotate(11 * 24 * HOUR);
    assert_eq!((mode("client.pem"), mode("client.jwks")), (0o600, 0o664));

    fs::rename(files.path("client.pem"), files.path("target")).unwrap();
    symlink(files.path("target"), files.path("client.pem")).unwrap();
    let failure = files.try_rotate(12 * 24 * HOUR, |_| ()).unwrap_err();
    assert!(failure.message().contains("not a regular file"));
}

#[test]
fn rotations_of_several_keys_share_a_set() {
    let files = Files::new();
    let published = files.path("client.jwks");
    thread::scope(|scope| {
        for number in 0..8 {
            let key = files.path(&format!("{number}.pem"));
            let published = &published;
            scope.spawn(move || {
                let rotation = Rotation {
                    key: &key,
                    next: with_suffix(&key, ".next"),
                    published,
                    overlap: DAY,
                    every: DAY,
                    algorithm: None,
                    bits: None,
                };
                rotation.run(at(0)).unwrap();
            });
        }
    });
    assert_eq!(files.published()["keys"].as_array().unwrap().len(), 8);
}

#[test]
fn an_existing_key_is_replaced_by_one_of_another_algorithm() {
    let es384 = |rotation: &mut Rotation<'_>| {
        rotation.algorithm = Some(Algorithm::Es384);
        rotation.every = Duration::ZERO;
    };
    for entry in [
        json!(null),
        json!({"alg": "RS256"}),
        json!({"alg": "HS256"}),
    ] {
        let files = Files::new();
        let (_, pem) = SigningKey::generate(Algorithm::Es256).unwrap();
        fs::write(files.path("client.pem"), pem.expose()).unwrap();
        if let Value::Object(mut entry) = entry {
            entry.insert("kid".to_owned(), json!(files.key("client.pem")));
            let set = json!({ "keys": [entry] });
            fs::write(files.path("client.jwks"), set.to_string()).unwrap();
        }
        let set = files.try_rotate(0, es384).unwrap();
        assert_eq!(
            (&set["keys"][0]["alg"], &set["keys"][1]["alg"]),
            (&json!("ES256"), &json!("ES384"))
        );
    }
}

#[test]
fn a_time_far_ahead_does_not_stop_the_rotation() {
    let day = 24 * HOUR;
    // The clock was 1,000 days ahead in the first run.
    let files = Files::new();
    files.rotate(1_000 * day);
    assert_eq!(files.rotate(0)[0]["iat"], START);
    assert_eq!(files.rotate(10 * day).len(), 2);
    // And once more, when the next key was published.
    let files = Files::new();
    files.rotate(0);
    files.rotate(1_000 * day);
    let keys = files.rotate(10 * day);
    assert_eq!(
        (&keys[1]["iat"], &keys[1]["nbf"]),
        (&json!(START + 10 * day), &json!(START + 11 * day))
    );
    // The overlap was longer than it is now.
    let files = Files::new();
    files.rotate(0);
    let long = |rotation: &mut Rotation<'_>| rotation.overlap = 400 * DAY;
    files.try_rotate(10 * day, long).unwrap();
    assert_eq!(files.rotate(10 * day + 5)[1]["nbf"], START + 11 * day + 5);
    let next = files.key("client.pem.next");
    files.rotate(11 * day + 5);
    assert_eq!(files.key("client.pem"), next);
}

#[test]
fn the_longest_times_do_not_overflow() {
    let files = Files::new();
    let longest = |rotation: &mut Rotation<'_>| {
        rotation.overlap = Duration::MAX;
        rotation.every = Duration::ZERO;
    };
    files.try_rotate(0, longest).unwrap();
    let set = files.try_rotate(0, longest).unwrap();
    assert_eq!(set["keys"][1]["nbf"], u64::MAX);
}

#[test]
fn a_private_key_is_never_in_the_published_set() {
    let (key, pem) = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut jwk = serde_json::from_str::<Value>(&key.public_jwk()).unwrap();
    let public = json!({ "keys": [jwk] });
    jwk["d"] = json!("CANARY");
    let secret = json!({ "kty": "oct", "kid": "theirs", "k": "CANARY" });
    for entry in [jwk, secret] {
        let files = Files::new();
        let set = json!({ "keys": [entry] }).to_string();
        fs::write(files.path("client.jwks"), &set).unwrap();
        let failure = files.try_rotate(0, |_| ()).unwrap_err();
        assert!(
            failure.message().contains("private"),
            "{}",
            failure.message()
        );
        assert!(!failure.message().contains("CANARY"));
        assert!(!files.path("client.pem").exists());
        // The positive control.
        fs::write(files.path("client.jwks"), public.to_string()).unwrap();
        assert_eq!(files.rotate(0).len(), 2);
    }
    // The same file for both.
    let files = Files::new();
    fs::write(files.path("client.pem"), pem.expose()).unwrap();
    fs::create_dir(files.path("x")).unwrap();
    for name in ["client.pem", "x/../client.pem", "new.pem"] {
        let published = files.path(name);
        let rotation = Rotation {
            key: &files.path(published.file_name().unwrap().to_str().unwrap()),
            next: files.path("client.pem.next"),
            published: &published,
            overlap: DAY,
            every: DAY,
            algorithm: None,
            bits: None,
        };
        let failure = rotation.run(at(0)).unwrap_err();
        assert!(
            failure.message().contains("same file"),
            "{}",
            failure.message()
        );
    }
    assert_eq!(
        fs::read_to_string(files.path("client.pem")).unwrap(),
        pem.expose()
    );
    assert!(!files.path("new.pem").exists());
}

#[cfg(unix)]
#[test]
fn a_link_to_the_published_set_is_refused() {
    let files = Files::new();
    fs::write(files.path("target"), r#"{"keys":[]}"#).unwrap();
    std::os::unix::fs::symlink(files.path("target"), files.path("client.jwks")).unwrap();
    let failure = files.try_rotate(0, |_| ()).unwrap_err();
    assert!(failure.message().contains("not a regular file"));
    assert!(!files.path("client.pem").exists());
    assert!(files.path("client.jwks").is_symlink());
}
