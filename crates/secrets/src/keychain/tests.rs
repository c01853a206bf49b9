use hallpass_testkit::{ManualClock, leak};
use keyring_core::mock::{Cred, Store};

use super::*;

/// Creates a keychain in memory, with one entry.
fn keychain() -> (Arc<CredentialStore>, keyring_core::Entry) {
    let store: Arc<CredentialStore> = Store::new().unwrap();
    let entry = store.build("orders", "me", None).unwrap();
    (store, entry)
}

fn source(store: &Arc<CredentialStore>) -> KeychainSecret {
    let store = store.clone();
    let open = move || Ok(store.clone());
    KeychainSecret::within(Arc::new(open), "orders".into(), "me".into())
}

// covers: F-106, F-110
#[tokio::test]
async fn a_secret_is_read_once_and_again_after_a_refusal() {
    let (store, entry) = keychain();
    let clock = ManualClock::new();
    let source = source(&store)
        .lifetime(Duration::from_secs(60))
        .clock(clock.clone());
    entry.set_password("first\n").unwrap();
    let first = source.secret().await.unwrap();
    assert_eq!(first.expose(), "first");
    entry.set_password("second").unwrap();
    assert_eq!(source.secret().await.unwrap().expose(), "first");
    source.refused(&first);
    assert_eq!(source.secret().await.unwrap().expose(), "second");
    entry.set_password("third").unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(source.secret().await.unwrap().expose(), "third");
    assert_eq!(source.epoch(), 2);
}

/// A keychain that waits for a person is read once, however many calls time out.
#[tokio::test(start_paused = true)]
async fn a_blocked_keychain_is_called_once_and_times_out() {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    let (store, entry) = keychain();
    entry.set_password("s3cr3t").unwrap();
    let (unlock, locked) = mpsc::channel::<()>();
    let (locked, asked) = (Mutex::new(locked), Arc::new(AtomicUsize::new(0)));
    let asks = asked.clone();
    let open = move || {
        asks.fetch_add(1, Ordering::SeqCst);
        let _ = locked.lock().unwrap().recv();
        Ok(store.clone())
    };
    let source = KeychainSecret::within(Arc::new(open), "orders".into(), "me".into());
    let source = Arc::new(source.timeout(Duration::from_secs(60)));
    let ask = || {
        let source = source.clone();
        tokio::spawn(async move { source.secret().await })
    };
    for _ in 0..10 {
        let call = ask();
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    let late = ask();
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let error = late.await.unwrap().unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("`me` for `orders` did not respond within 60s"),
        "{shown}"
    );
    assert!(error.is_local());
    drop(unlock);
    assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_locked_keychain_leaves_the_cached_secret() {
    let (store, entry) = keychain();
    let source = source(&store).lifetime(Duration::ZERO);
    entry.set_password("s3cr3t").unwrap();
    let secret = source.secret().await.unwrap();
    let lock = || {
        let cred: &Cred = entry.as_any().downcast_ref().unwrap();
        cred.set_error(Error::NoStorageAccess(Box::new(std::io::Error::other("x"))));
    };
    lock();
    assert_eq!(source.secret().await.unwrap().expose(), "s3cr3t");
    source.refused(&secret);
    lock();
    assert!(source.secret().await.unwrap_err().is_inaccessible());
}

// covers: F-99, F-100, F-102
#[tokio::test]
async fn each_failure_has_a_remedy_and_shows_no_secret() {
    let (store, entry) = keychain();
    let source = source(&store);
    let failure = async || {
        let error = source.secret().await.unwrap_err();
        let shown = leak::error_chain(&error);
        assert!(shown.contains("`me` for `orders`"), "{shown}");
        leak::assert_clean(&shown, "CANARY");
        shown
    };
    assert!(failure().await.contains("does not exist"));
    entry.set_password("CANARY").unwrap();
    let platform = || Box::new(std::io::Error::other("CANARY"));
    for (error, expect) in [
        (Error::NoStorageAccess(platform()), "is locked"),
        (Error::PlatformFailure(platform()), "does not respond"),
        (Error::BadEncoding(b"CANARY".to_vec()), "is not UTF-8"),
        (
            Error::BadDataFormat(b"CANARY".to_vec(), platform()),
            "the keychain failed",
        ),
        (Error::Invalid("user".into(), "CANARY".into()), "a name"),
        (Error::Ambiguous(Vec::new()), "more than once"),
    ] {
        let cred: &Cred = entry.as_any().downcast_ref().unwrap();
        cred.set_error(error);
        let shown = failure().await;
        assert!(shown.contains(expect), "{shown}");
    }
    entry.set_secret(b"CANARY\xff").unwrap();
    assert!(failure().await.contains("is not UTF-8"));
    entry.set_secret(b"\n").unwrap();
    assert!(failure().await.contains("is empty"));
}

// covers: F-99
#[tokio::test]
async fn debug_shows_names_and_no_secret() {
    let (store, entry) = keychain();
    entry.set_password("CANARY").unwrap();
    let source = source(&store);
    let secret = source.secret().await.unwrap();
    assert!(leak::find(secret.expose(), "CANARY").is_some());
    let shown = format!("{source:?} {source:#?} {secret:?}");
    assert!(shown.contains("orders") && shown.contains("me"), "{shown}");
    leak::assert_clean(&shown, "CANARY");
}

/// Reads the keychain of the machine that runs the tests, which may be locked or missing. It neither panics nor hangs.
#[cfg(any(target_os = "linux", windows))]
#[tokio::test]
async fn the_system_keychain_is_read() {
    let source = KeychainSecret::new("hallpass-test-of-no-such-service", "nobody");
    let error = source.secret().await.unwrap_err();
    let shown = leak::error_chain(&error);
    assert!(
        shown.contains("`nobody` for `hallpass-test-of-no-such-service`"),
        "{shown}"
    );
}

/// Uses the Credential Manager of the account that runs the tests, under a unique name.
#[cfg(windows)]
#[tokio::test]
async fn a_secret_stored_by_cmdkey_is_found() {
    let service = format!("hallpass-test-{}", std::process::id());
    let store: Arc<CredentialStore> = windows_native_keyring_store::Store::new().unwrap();
    // The target from the table in the type's documentation.
    let target = format!("me.{service}");
    let modifiers = std::collections::HashMap::from([("target", &*target)]);
    let entry = store.build("any", "one", Some(&modifiers)).unwrap();
    entry.set_password("CANARY").unwrap();
    let secret = KeychainSecret::new(&service, "me").secret().await;
    entry.delete_credential().unwrap();
    assert_eq!(secret.unwrap().expose(), "CANARY");
}
