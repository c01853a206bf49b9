use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hallpass_testkit::{Gate, ManualClock};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A source that returns what a test sets, and counts the reads.
#[derive(Clone, Debug, Default)]
struct Backend(Arc<State>);

#[derive(Debug, Default)]
struct State {
    content: Mutex<Option<Result<&'static str, SecretError>>>,
    reads: AtomicUsize,
    gate: Mutex<Option<Gate>>,
}

impl Backend {
    fn holding(content: &'static str) -> Self {
        let backend = Self::default();
        backend.set(Ok(content));
        backend
    }

    fn set(&self, content: Result<&'static str, SecretError>) {
        *self.0.content.lock().unwrap() = Some(content);
    }

    fn reads(&self) -> usize {
        self.0.reads.load(Ordering::SeqCst)
    }

    fn gate(&self) -> Gate {
        let gate = Gate::new();
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }
}

#[async_trait]
impl SecretSource for Backend {
    async fn secret(&self) -> Result<Secret, SecretError> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let content = self.0.content.lock().unwrap().clone().unwrap();
        let gate = self.0.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.pass().await;
        }
        Secret::new(content?)
    }
}

fn cached(backend: &Backend) -> (Arc<CachedSecret<Backend>>, ManualClock) {
    let clock = ManualClock::new();
    let source = CachedSecret::new(backend.clone(), MINUTE).clock(clock.clone());
    (Arc::new(source), clock)
}

async fn text(source: &CachedSecret<Backend>) -> String {
    source.secret().await.unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_secret_is_read_once_per_lifetime() {
    let backend = Backend::holding("first");
    let (source, clock) = cached(&backend);
    for _ in 0..100 {
        assert_eq!(text(&source).await, "first");
    }
    backend.set(Ok("second"));
    clock.advance(Duration::from_secs(59));
    assert_eq!(text(&source).await, "first");
    assert_eq!((backend.reads(), source.epoch()), (1, 0));
    clock.advance(Duration::from_secs(1));
    assert_eq!(text(&source).await, "second");
    assert_eq!((backend.reads(), source.epoch()), (2, 1));
}

// covers: F-110
#[tokio::test]
async fn many_reports_of_a_refusal_cause_one_read() {
    let backend = Backend::holding("first");
    let (source, _) = cached(&backend);
    let refused = source.secret().await.unwrap();
    backend.set(Ok("second"));
    for _ in 0..1_000 {
        source.refused(&refused);
    }
    assert_eq!(text(&source).await, "second");
    // Late reports concern a secret that is no longer in use.
    source.refused(&refused);
    assert_eq!(text(&source).await, "second");
    assert_eq!((backend.reads(), source.epoch()), (2, 1));
}

// covers: F-110
#[tokio::test]
async fn an_unchanged_secret_raises_no_epoch() {
    let backend = Backend::holding("same");
    let (source, _) = cached(&backend);
    for reads in 1..=3 {
        let refused = source.secret().await.unwrap();
        assert_eq!((backend.reads(), source.epoch()), (reads, 0));
        source.refused(&refused);
    }
}

// covers: F-110
#[tokio::test]
async fn a_refusal_during_a_read_causes_another_read() {
    let backend = Backend::holding("first");
    let (source, clock) = cached(&backend);
    let refused = source.secret().await.unwrap();
    clock.advance(MINUTE);
    let gate = backend.gate();
    let reading = tokio::spawn({
        let source = source.clone();
        async move { text(&source).await }
    });
    gate.arrived(1).await;
    backend.set(Ok("second"));
    source.refused(&refused);
    gate.open();
    // It was read before the secret rotated.
    assert_eq!(reading.await.unwrap(), "first");
    assert_eq!(text(&source).await, "second");
    assert_eq!(backend.reads(), 3);
}

#[tokio::test]
async fn concurrent_calls_share_one_read_and_its_error() {
    for content in [Ok("s3cr3t"), Err(SecretError::new("no such secret"))] {
        let backend = Backend::default();
        let fine = content.is_ok();
        backend.set(content);
        let (source, _) = cached(&backend);
        let gate = backend.gate();
        let arrived = Gate::new();
        arrived.open();
        let calls: Vec<_> = (0..64)
            .map(|_| {
                let (source, arrived) = (source.clone(), arrived.clone());
                tokio::spawn(async move {
                    arrived.pass().await;
                    source.secret().await.is_ok()
                })
            })
            .collect();
        arrived.arrived(64).await;
        gate.arrived(1).await;
        gate.open();
        for call in calls {
            assert_eq!(call.await.unwrap(), fine);
        }
        assert_eq!(backend.reads(), 1);
        // A failure is not cached: the next call reads again.
        backend.set(Ok("s3cr3t"));
        assert_eq!(text(&source).await, "s3cr3t");
        assert_eq!(backend.reads(), if fine { 1 } else { 2 });
    }
}

#[tokio::test]
async fn an_unavailable_source_leaves_the_cached_secret() {
    let backend = Backend::holding("first");
    let (source, clock) = cached(&backend);
    let secret = source.secret().await.unwrap();
    clock.advance(MINUTE);
    for error in [
        SecretError::unavailable("the vault is sealed"),
        SecretError::local("the command did not end"),
        SecretError::inaccessible("the vault's token expired"),
    ] {
        backend.set(Err(error));
        assert_eq!(text(&source).await, "first");
    }
    backend.set(Err(SecretError::unavailable("the vault is sealed")));
    // A refused secret is not used, and a permanent error is not covered up.
    source.refused(&secret);
    assert!(source.secret().await.unwrap_err().is_transient());
    backend.set(Ok("first"));
    assert_eq!(text(&source).await, "first");
    clock.advance(MINUTE);
    backend.set(Err(SecretError::new("no such secret")));
    source.secret().await.unwrap_err();
}

#[tokio::test]
async fn a_cancelled_call_does_not_block_the_next() {
    let backend = Backend::holding("s3cr3t");
    let (source, _) = cached(&backend);
    let gate = backend.gate();
    let call = tokio::spawn({
        let source = source.clone();
        async move { source.secret().await.is_ok() }
    });
    gate.arrived(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(text(&source).await, "s3cr3t");
    assert_eq!(backend.reads(), 2);
}

// covers: F-99
#[tokio::test]
async fn debug_shows_no_secret() {
    use hallpass_testkit::leak;

    #[derive(Debug)]
    struct CustomSource;

    #[async_trait]
    impl SecretSource for CustomSource {
        async fn secret(&self) -> Result<Secret, SecretError> {
            Secret::new("CANARY")
        }
    }
    let source = CachedSecret::new(CustomSource, MINUTE);
    let secret = source.secret().await.unwrap();
    assert!(leak::find(secret.expose(), "CANARY").is_some());
    let shown = format!("{source:?} {source:#?}");
    assert!(shown.contains("CustomSource"), "{shown}");
    leak::assert_clean(&shown, "CANARY");
}
