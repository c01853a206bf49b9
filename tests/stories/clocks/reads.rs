//! Wall clocks that jump while a secret, a server's metadata or its keys are cached.

use std::{fs, time::Duration};

use hallpass::{
    SecretSource as _, SecretStore as _,
    secrets::{CachedSecret, FileSecret},
};
use hallpass_testkit::{ManualClock, RotatingSecret};
use tempfile::NamedTempFile;
use wiremock::{Mock, ResponseTemplate, matchers::method};

use super::times;
use crate::{
    discovery::{OAUTH, ask, count, discover, document, ok, server, source},
    signed_introspection::{Signing, introspect, key, set},
    support::secret,
};

const STEP: Duration = Duration::from_millis(1);

/// Checks that no jump of the wall clock causes a read before this age, and that none prevents the one at this age.
/// `read` uses what is cached, and returns the number of reads.
async fn check(clock: &ManualClock, age: Duration, mut read: impl AsyncFnMut() -> usize) {
    let mut reads = read().await;
    for (wall, _) in times() {
        for (passed, is_due) in [(age.saturating_sub(STEP), false), (STEP, true)] {
            clock.advance(passed);
            clock.set_wall(wall);
            reads += usize::from(is_due);
            assert_eq!(read().await, reads, "{age:?} {wall:?} {is_due}");
        }
    }
}

// covers: F-63
#[tokio::test]
async fn a_jump_neither_causes_nor_prevents_a_read_of_a_secret() {
    let lifetime = Duration::from_secs(60);
    let (clock, backend) = (ManualClock::new(), RotatingSecret::new("s3cr3t"));
    let source = CachedSecret::new(backend.clone(), lifetime).clock(clock.clone());
    let read = async || {
        source.secret().await.unwrap();
        backend.reads()
    };
    check(&clock, lifetime, read).await;
}

/// The epoch of a file that always changes counts its reads.
// covers: F-63
#[test]
fn a_jump_neither_causes_nor_prevents_a_read_of_a_file() {
    // With one blocking thread, a read that was triggered ends before the work that is spawned after it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    for saves in [false, true] {
        let clock = ManualClock::new();
        let path = NamedTempFile::new().unwrap().into_temp_path();
        fs::write(&path, "first").unwrap();
        let source = FileSecret::new(&*path).clock(clock.clone());
        let mut changes = 0;
        let read = async || {
            changes += 1;
            fs::write(&path, changes.to_string()).unwrap();
            let before = source.epoch();
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            let epoch = source.epoch();
            if saves && epoch > before {
                source.save(&secret("saved")).await.unwrap();
            }
            usize::try_from(epoch).unwrap()
        };
        runtime.block_on(async {
            source.secret().await.unwrap();
            check(&clock, Duration::from_secs(1), read).await;
        });
    }
}

// covers: F-63
#[tokio::test]
async fn a_jump_neither_causes_nor_prevents_a_read_of_metadata() {
    const LIFETIME: Duration = Duration::from_secs(600);
    const RETRY_DELAY: Duration = Duration::from_secs(60);
    for (age, is_down) in [(LIFETIME, false), (RETRY_DELAY, true)] {
        let server = server(|issuer| ok(document(issuer))).await;
        let clock = ManualClock::new();
        let endpoint = discover(&server.uri()).lifetime(LIFETIME);
        let source = source(endpoint.clock(clock.clone()).build().unwrap());
        let read = async || {
            ask(&source).await.unwrap();
            count(&server, OAUTH).await
        };
        if is_down {
            read().await;
            let mock = Mock::given(method("GET")).respond_with(ResponseTemplate::new(503));
            mock.with_priority(1).mount(&server).await;
            clock.advance(LIFETIME);
        }
        check(&clock, age, read).await;
    }
}

// covers: F-63
#[tokio::test]
async fn a_jump_neither_causes_nor_prevents_a_read_of_keys() {
    let (one, other) = (key("one"), key("other"));
    let published = set(&[&one]);
    for (published, signer, age) in [
        (published.as_str(), &one, 3_600),
        // An unknown key, and a set that cannot be read.
        (&published, &other, 60),
        ("503", &one, 5),
    ] {
        let signing = Signing::start().await;
        signing.publish(published);
        let tokens = signing.client();
        let read = async || {
            signing.sign(signer).await;
            // Before 1970 and with an unknown key, it is an error.
            let _ = introspect(&tokens).await;
            signing.key_reads().await
        };
        check(&signing.clock, Duration::from_secs(age), read).await;
    }
}

// covers: F-63
#[tokio::test]
async fn a_jump_does_not_change_how_long_old_keys_are_used() {
    const MAX_STALE: Duration = Duration::from_secs(86_400);
    let (signing, key) = (Signing::start().await, key("one"));
    for (wall, _) in times().filter(|(_, seconds)| seconds.is_some()) {
        let tokens = signing.client();
        signing.publish(&set(&[&key]));
        signing.sign(&key).await;
        introspect(&tokens).await.unwrap();
        signing.publish("503");
        for (passed, works) in [(MAX_STALE.saturating_sub(STEP), true), (STEP, false)] {
            signing.clock.advance(passed);
            signing.clock.set_wall(wall);
            signing.sign(&key).await;
            let result = introspect(&tokens).await;
            assert_eq!(result.is_ok(), works, "{wall:?} {result:?}");
        }
    }
}
