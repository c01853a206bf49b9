//! The promises of a token store, tested on this one, and damage that others may do to its files.

use std::{
    fs,
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker},
    time::SystemTime,
};

use hallpass::{
    AccessToken, Timestamp, TokenRequest, TokenSource as _,
    cache::{CachedTokenSource, conformance::Subject},
};
use hallpass_testkit::{ManualClock, ScriptedSource};
use tempfile::TempDir;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const TTL: Duration = Duration::from_secs(15);

/// A directory that each process opens separately; here each process is a store of its own.
struct Machine {
    directory: TempDir,
    clock: ManualClock,
}

impl Machine {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            clock: ManualClock::new(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().join("hallpass")
    }

    fn process(&self) -> FileTokenStore {
        let label = Label {
            profile: "p".into(),
            host: "login.example".into(),
            scope: "a".into(),
        };
        FileTokenStore::with_clock(self.directory(), label, self.clock.clone())
    }
}

#[allow(clippy::unused_async)]
async fn subject() -> Subject {
    let machine = Machine::new();
    let clock = machine.clock.clone();
    Subject::new(machine.process(), machine.process())
        .wait_with(move |time| clock.advance(time))
        .keep_alive(machine)
}

hallpass::cache::store_conformance!(file_store, subject());

fn key(namespace: &str) -> StoreKey {
    StoreKey::new(namespace, &TokenRequest::new())
}

async fn look(store: &FileTokenStore, key: &StoreKey) -> Option<(String, u64)> {
    let entry = store.look_up(key).await.unwrap()?;
    let text = String::from_utf8(entry.bytes().to_vec()).unwrap();
    Some((text, entry.ttl().unwrap().as_secs()))
}

async fn is_held(store: &FileTokenStore, key: &StoreKey) -> bool {
    let outcome = store.lease(key, TTL).await.unwrap();
    outcome.into_lease().is_none()
}

async fn put(store: &FileTokenStore, key: &StoreKey, entry: &str) {
    let lease = store.lease(key, TTL).await.unwrap().into_lease().unwrap();
    let put = store.put(key, entry.as_bytes(), HOUR, Some(&lease));
    put.await.unwrap();
    store.release(key, &lease).await.unwrap();
}

// covers: F-95, F-96
#[tokio::test]
async fn an_entry_is_found_until_it_expires_under_its_key() {
    let machine = Machine::new();
    let (one, other) = (machine.process(), machine.process());
    let (a, b) = (key("a"), key("b"));
    assert_eq!(look(&one, &a).await, None);
    put(&one, &a, "first").await;
    assert_eq!(look(&other, &a).await, Some(("first".into(), 3_600)));
    assert_eq!(look(&other, &b).await, None);
    put(&other, &a, "second").await;
    machine.clock.advance(Duration::from_secs(3_599));
    assert_eq!(look(&one, &a).await, Some(("second".into(), 1)));
    machine.clock.advance(SECOND);
    assert_eq!(look(&one, &a).await, None);
    put(&one, &a, "third").await;
    let fence = one.look_up(&a).await.unwrap().unwrap().fence();
    one.remove(&a, fence - 1).await.unwrap();
    assert!(look(&other, &a).await.is_some(), "it is another entry");
    one.remove(&a, fence).await.unwrap();
    assert_eq!(look(&other, &a).await, None);
    one.remove(&b, fence).await.unwrap();
}

// covers: F-89
#[tokio::test]
async fn one_lease_at_a_time_and_it_expires() {
    let machine = Machine::new();
    let (one, other) = (machine.process(), machine.process());
    let (a, b) = (key("a"), key("b"));
    let first = one.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    assert!(is_held(&other, &a).await);
    assert!(is_held(&one, &a).await);
    assert!(!is_held(&other, &b).await);
    machine.clock.advance(Duration::from_secs(14));
    assert!(is_held(&other, &a).await);
    // Its holder hangs but is alive.
    machine.clock.advance(SECOND);
    let second = other.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    assert!(second.fence() > first.fence());
    // When it resumes, its writes change nothing.
    one.put(&a, b"late", HOUR, Some(&first)).await.unwrap();
    one.release(&a, &first).await.unwrap();
    assert_eq!(look(&one, &a).await, None);
    assert!(is_held(&one, &a).await);
    let put = other.put(&a, b"in time", HOUR, Some(&second));
    put.await.unwrap();
    other.release(&a, &second).await.unwrap();
    assert_eq!(look(&one, &a).await.unwrap().0, "in time");
    let third = one.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    assert!(third.fence() > second.fence());
}

/// A clock with which something happens right after it is read for the first time.
struct Eventful<F> {
    clock: ManualClock,
    event: Mutex<Option<F>>,
}

impl<F: FnOnce() + Send> fmt::Debug for Eventful<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eventful").finish_non_exhaustive()
    }
}

impl<F: FnOnce() + Send> Clock for Eventful<F> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn wall(&self) -> SystemTime {
        let now = self.clock.wall();
        if let Some(event) = self.event.lock().unwrap().take() {
            event();
        }
        now
    }
}

// covers: F-89
#[tokio::test]
async fn a_lease_that_begins_between_two_steps_is_respected() {
    let machine = Machine::new();
    let (holder, a) = (machine.process(), key("a"));
    let clock = machine.clock.clone();
    let event = {
        let (holder, a, clock) = (holder.clone(), a.clone(), clock.clone());
        move || {
            clock.advance(Duration::from_millis(1));
            let mut lease = pin!(holder.lease(&a, TTL));
            let mut context = Context::from_waker(Waker::noop());
            let Poll::Ready(Ok(outcome)) = lease.as_mut().poll(&mut context) else {
                panic!("the lease is granted at once");
            };
            assert!(outcome.into_lease().is_some());
        }
    };
    let event = Mutex::new(Some(event));
    let clock = Eventful { clock, event };
    let other = FileTokenStore::with_clock(machine.directory(), Label::default(), clock);
    assert!(is_held(&other, &a).await);
}

// covers: F-89
#[tokio::test]
async fn an_extended_lease_stays_in_force() {
    let machine = Machine::new();
    let (one, other) = (machine.process(), machine.process());
    let a = key("a");
    let first = one.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    for _ in 0..4 {
        machine.clock.advance(Duration::from_secs(14));
        assert!(one.extend(&a, &first, TTL).await.unwrap());
        assert!(is_held(&other, &a).await);
    }
    machine.clock.advance(TTL);
    assert!(!one.extend(&a, &first, TTL).await.unwrap(), "too late");
    let second = other.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    assert!(!one.extend(&a, &first, TTL).await.unwrap(), "another's");
    assert!(other.extend(&a, &second, TTL).await.unwrap());
}

// covers: F-89
#[tokio::test]
async fn without_a_lease_only_longer_lived_entries_are_stored() {
    let machine = Machine::new();
    let (one, other) = (machine.process(), machine.process());
    let a = key("a");
    one.put(&a, b"first", HOUR / 2, None).await.unwrap();
    let lease = other.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    one.put(&a, b"shorter", HOUR / 4, None).await.unwrap();
    assert_eq!(look(&one, &a).await.unwrap().0, "first");
    one.put(&a, b"longer", HOUR, None).await.unwrap();
    let entry = one.look_up(&a).await.unwrap().unwrap();
    assert_eq!(entry.bytes(), b"longer");
    assert!(entry.fence() > lease.fence());
    // Newer than an entry put under the lease; the lease itself is not touched.
    other.put(&a, b"late", HOUR, Some(&lease)).await.unwrap();
    assert_eq!(look(&one, &a).await.unwrap().0, "longer");
    assert!(is_held(&one, &a).await);
    other.release(&a, &lease).await.unwrap();
    assert!(!is_held(&one, &a).await);
}

// covers: F-90
#[tokio::test]
async fn the_lease_of_a_dead_process_is_released() {
    let machine = Machine::new();
    let a = key("a");
    let dead = machine.process();
    let first = dead.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    // The system drops a process's locks with its files.
    drop(dead);
    let second = machine
        .process()
        .lease(&a, TTL)
        .await
        .unwrap()
        .into_lease()
        .unwrap();
    assert!(second.fence() > first.fence());
}

// covers: F-63
#[tokio::test]
async fn a_clock_set_back_ends_leases_and_entries() {
    let machine = Machine::new();
    let a = key("a");
    let (one, other) = (machine.process(), machine.process());
    put(&one, &a, "entry").await;
    let first = one.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    machine.clock.set_wall(machine.clock.wall() - 10 * HOUR);
    assert_eq!(look(&other, &a).await, None);
    let second = other.lease(&a, TTL).await.unwrap().into_lease().unwrap();
    assert!(second.fence() > first.fence());
}

#[tokio::test]
async fn only_expired_entries_are_swept() {
    let machine = Machine::new();
    let store = machine.process();
    let (a, b, c) = (key("a"), key("b"), key("c"));
    put(&store, &a, "old").await;
    machine.clock.advance(HOUR / 2);
    put(&store, &b, "young").await;
    machine.clock.advance(HOUR / 2);
    put(&store, &c, "new").await;
    let listed = list(&machine.directory()).unwrap().into_iter();
    let keys: Vec<String> = listed.map(|file| file.key).collect();
    assert_eq!(keys.len(), 2);
    assert!(!keys.iter().any(|key| *key == a.request()));
}

/// Runs once through the cache, and returns the token and the number of requests.
async fn through_the_cache(machine: &Machine) -> (String, usize) {
    let number = machine.clock.now().as_nanos();
    let token = AccessToken::bearer(&format!("t{number}"), machine.clock.moment(), HOUR);
    let source = ScriptedSource::new([Ok(token.unwrap())]);
    let store = machine.process();
    let cache = CachedTokenSource::builder(source.clone())
        .clock(machine.clock.clone())
        .store(store.clone(), "n")
        .build();
    let token = cache.token(&TokenRequest::new()).await.unwrap();
    cache.shutdown().await;
    (token.expose().to_owned(), source.calls())
}

// covers: F-92, F-97, F-112
#[tokio::test]
async fn files_of_others_are_ignored_and_replaced() {
    let machine = Machine::new();
    let (first, _) = through_the_cache(&machine).await;
    machine.clock.advance(SECOND);
    assert_eq!(through_the_cache(&machine).await, (first.clone(), 0));
    let path = machine
        .directory()
        .join(format!("{}.token", key("n").request()));
    let good = fs::read(&path).unwrap();
    let outside = machine.directory.path().join("outside");
    fs::write(&outside, &good).unwrap();
    for (what, tamper) in TAMPERS {
        machine.clock.advance(SECOND);
        fs::remove_file(&path).unwrap();
        tamper(&path, &good, &outside);
        let (token, requests) = through_the_cache(&machine).await;
        assert_eq!(requests, 1, "{what}");
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{what}");
        assert_eq!(through_the_cache(&machine).await, (token, 0), "{what}");
    }
    // The link's target was not written.
    assert_eq!(fs::read(&outside).unwrap(), good);
}

/// A function that replaces an entry with something else, given the old bytes and a copy elsewhere.
type Tamper = fn(&Path, &[u8], &Path);

const TAMPERS: &[(&str, Tamper)] = &[
    ("too long", |path, _, _| {
        fs::write(path, vec![b'x'; 300 << 10]).unwrap();
        #[cfg(unix)]
        unix::set_mode(path, 0o600);
    }),
    #[cfg(unix)]
    ("a link", |path, _, outside| {
        unix::set_mode(outside, 0o600);
        std::os::unix::fs::symlink(outside, path).unwrap();
    }),
    #[cfg(unix)]
    ("a pipe", |path, _, _| unix::make_fifo(path)),
    #[cfg(unix)]
    ("readable by others", |path, good, _| {
        fs::write(path, good).unwrap();
        unix::set_mode(path, 0o644);
    }),
];

#[cfg(unix)]
mod unix {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

    pub(super) fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn make_fifo(path: &Path) {
        // rustix does not have the call for Apple's systems; the command exists everywhere.
        let made = Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(path)
            .status();
        assert!(made.unwrap().success());
    }
}

// covers: F-87, F-97
#[cfg(unix)]
#[tokio::test]
async fn a_directory_writable_by_others_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;

    let machine = Machine::new();
    through_the_cache(&machine).await;
    for (mode, requests) in [(0o755, 0), (0o777, 1), (0o770, 1), (0o700, 0)] {
        fs::set_permissions(machine.directory(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(through_the_cache(&machine).await.1, requests, "{mode:o}");
        assert_eq!(
            list(&machine.directory()).is_ok(),
            requests == 0,
            "{mode:o}"
        );
        let now = fs::metadata(machine.directory())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(now & 0o777, mode);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_symbolic_link_as_directory_is_not_followed() {
    use std::os::unix::fs::PermissionsExt as _;

    let machine = Machine::new();
    let outside = machine.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(&outside, machine.directory()).unwrap();
    assert_eq!(through_the_cache(&machine).await.1, 1);
    assert_eq!(through_the_cache(&machine).await.1, 1);
    assert!(list(&machine.directory()).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let mode = fs::metadata(&outside).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[tokio::test]
async fn only_temporary_files_of_the_cache_are_removed() {
    let machine = Machine::new();
    let store = machine.process();
    let a = key("a");
    put(&store, &a, "entry").await;
    let key = a.request();
    let ours = format!("{key}.4711-0.new");
    let foreign = machine.directory().join(format!("{key}.4711-1.new"));
    fs::write(&foreign, "a report").unwrap();
    let others = [
        "report.new".to_owned(),
        format!("{key}.4711-1.new"),
        format!("{key}.new"),
        format!("{key}.a-b.new"),
        format!("{key}.1-2.new.new"),
        format!("{}.1-2.new", &key[1..]),
    ];
    let old = SystemTime::now() - HOUR;
    for name in others.iter().chain([&ours]) {
        let mut options = fs::File::options();
        let path = machine.directory().join(name);
        let file = options.create(true).append(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    put(&store, &a, "another").await;
    let removal = clear(&machine.directory(), |_| true).unwrap();
    assert_eq!(removal.removed, 1);
    let there = |name: &String| machine.directory().join(name).exists();
    assert!(!there(&ours));
    for name in &others {
        assert!(there(name), "{name}");
    }
}

// covers: F-92, F-94
#[tokio::test]
async fn an_entry_copied_to_another_key_is_ignored() {
    let machine = Machine::new();
    let store = machine.process();
    let (a, b) = (key("a"), key("b"));
    put(&store, &a, "of a").await;
    let path = |key: &StoreKey| machine.directory().join(format!("{}.token", key.request()));
    fs::copy(path(&a), path(&b)).unwrap();
    assert!(look(&store, &a).await.is_some());
    assert_eq!(look(&store, &b).await, None);
}

// covers: F-98, F-99
#[tokio::test]
async fn file_names_and_debug_show_no_secret() {
    let machine = Machine::new();
    let store = machine.process();
    let a = key("CANARY.example CANARY-client");
    put(&store, &a, "CANARY").await;
    let mut shown = format!("{store:?}");
    for file in fs::read_dir(machine.directory()).unwrap() {
        shown += &file.unwrap().path().display().to_string();
    }
    assert!(!shown.contains("CANARY"), "{shown}");
    // Positive control: the entry is in the file.
    let text = fs::read_to_string(machine.directory().join(format!("{}.token", a.request())));
    assert!(text.unwrap().contains("CANARY"));
}
