//! Services of OpenDAL, and signers of reqsign, against a storage server that checks tokens.

#![allow(clippy::format_push_string, clippy::unwrap_used)]

mod rules;
mod storage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, Clock, ErrorKind, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::Authorizer,
};
use hallpass_reqsign::{TokenCredentials, TokenFetch};
use hallpass_testkit::{FakeTokens, Gate, ManualClock, ScriptedSource, leak};
use opendal::{
    Operator,
    layers::{CapabilityOverrideLayer, HttpClientLayer},
    raw::HttpClient,
    services::{Azblob, Gcs},
};
use storage::Storage;

const DEFAULT: TokenRequest = TokenRequest::new();
const INVOICE: &str = "2026/1";

fn azblob(url: &str) -> Azblob {
    Azblob::default().endpoint(url).container("invoices")
}

fn gcs(url: &str) -> Gcs {
    let service = Gcs::default().endpoint(url).bucket("invoices");
    service.disable_config_load().disable_vm_metadata()
}

fn with_credentials(url: &str, tokens: impl TokenSource + 'static) -> Operator {
    let service = gcs(url).credential_provider(TokenCredentials::new(tokens));
    Operator::new(service).unwrap().finish()
}

fn fetch(url: &str, tokens: &Arc<dyn TokenSource>) -> TokenFetch {
    let authorizer = Authorizer::builder(tokens.clone())
        .allow_origin(url)
        .danger_allow_http_on_loopback();
    TokenFetch::new(authorizer.build().unwrap(), HttpClient::new().unwrap())
}

fn with_fetch(url: &str, fetch: TokenFetch) -> [Operator; 2] {
    let layer = HttpClientLayer::new(HttpClient::with(fetch));
    let azblob = Operator::new(azblob(url).skip_signature()).unwrap();
    let gcs = Operator::new(gcs(url).skip_signature()).unwrap();
    [
        azblob.layer(layer.clone()).finish(),
        gcs.layer(layer).finish(),
    ]
}

/// Returns Azure's and Google's services with a client that adds tokens, and Google's with credentials.
fn services(url: &str, tokens: &Arc<dyn TokenSource>) -> [Operator; 3] {
    let [azblob, gcs] = with_fetch(url, fetch(url, tokens));
    [azblob, gcs, with_credentials(url, tokens.clone())]
}

fn cached(source: impl TokenSource + 'static) -> Arc<dyn TokenSource> {
    let cache = CachedTokenSource::builder(source).min_interval(Duration::ZERO);
    Arc::new(cache.build())
}

#[tokio::test]
async fn services_read_and_write_with_tokens_of_a_source() {
    let tokens = FakeTokens::valid();
    let storage = Storage::start().await;
    for service in services(storage.url(), &cached(tokens.clone())) {
        service.write(INVOICE, "an invoice").await.unwrap();
        let read = service.read(INVOICE).await.unwrap();
        assert_eq!(read.to_vec(), b"an invoice");
    }
    assert_eq!(tokens.calls(), 1);
    assert_eq!(storage.statuses(), [200; 6]);
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_read_sent_again() {
    for kind in 0..2 {
        let source = FakeTokens::valid();
        let tokens = cached(source.clone());
        let storage = Storage::start().await;
        let service = &services(storage.url(), &tokens)[kind];
        service.read(INVOICE).await.unwrap();
        storage.revoke(&tokens.ready_token(&DEFAULT).unwrap());
        service.read(INVOICE).await.unwrap();
        assert_eq!(storage.statuses(), [200, 401, 200]);
        assert_eq!(source.calls(), 2);
    }
}

#[tokio::test]
async fn a_second_refusal_is_an_error() {
    let source = FakeTokens::valid();
    let storage = Storage::start().await;
    storage.revoke_text("fake-1");
    storage.revoke_text("fake-2");
    let tokens = cached(source.clone());
    let [azblob, _] = with_fetch(storage.url(), fetch(storage.url(), &tokens));
    let error = azblob.read(INVOICE).await.unwrap_err();
    assert_eq!(error.kind(), opendal::ErrorKind::Unexpected);
    assert_eq!(storage.statuses(), [401, 401]);
    assert_eq!(source.calls(), 2);
}

#[tokio::test]
async fn an_upload_is_sent_again_only_if_allowed() {
    for (retries, expected) in [
        (false, vec![200, 401, 200]),
        (true, vec![200, 401, 200, 200]),
    ] {
        for kind in 0..2 {
            let source = FakeTokens::valid();
            let tokens = cached(source.clone());
            let storage = Storage::start().await;
            let mut fetch = fetch(storage.url(), &tokens);
            if retries {
                fetch = fetch.retry_uploads();
            }
            let service = &with_fetch(storage.url(), fetch)[kind];
            service.write(INVOICE, "an invoice").await.unwrap();
            storage.revoke(&tokens.ready_token(&DEFAULT).unwrap());
            let refused = service.write(INVOICE, "an invoice").await;
            assert_eq!(refused.is_ok(), retries);
            service.write(INVOICE, "an invoice").await.unwrap();
            assert_eq!(storage.statuses(), expected);
            assert_eq!(source.calls(), 2);
        }
    }
}

#[tokio::test]
async fn without_batches_each_deletion_has_a_token() {
    let tokens: Arc<dyn TokenSource> = Arc::new(FakeTokens::valid());
    let storage = Storage::start().await;
    let [azblob, _] = with_fetch(storage.url(), fetch(storage.url(), &tokens));
    let single = CapabilityOverrideLayer::from_overrides("delete_max_size=1").unwrap();
    azblob.layer(single).delete_iter(["1", "2"]).await.unwrap();
    assert_eq!(storage.statuses(), [200; 2]);
}

#[tokio::test]
async fn a_signer_keeps_a_refused_token_until_it_expires() {
    let source = FakeTokens::expired_after(Duration::from_secs(3_600));
    let tokens = cached(source.clone());
    let storage = Storage::start().await;
    let service = with_credentials(storage.url(), tokens.clone());
    service.read(INVOICE).await.unwrap();
    let token = tokens.ready_token(&DEFAULT).unwrap();
    storage.revoke(&token);
    tokens.invalidate(&token);
    for _ in 0..2 {
        service.read(INVOICE).await.unwrap_err();
    }
    assert_eq!(storage.statuses(), [200, 401, 401]);
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn a_signer_uses_a_new_token_shortly_before_the_expiry() {
    // Google's signer asks for another credential 120 seconds before the expiry.
    let source = FakeTokens::expired_after(Duration::from_secs(100));
    let tokens = cached(source.clone());
    let storage = Storage::start().await;
    let service = with_credentials(storage.url(), tokens.clone());
    service.read(INVOICE).await.unwrap();
    let token = tokens.ready_token(&DEFAULT).unwrap();
    storage.revoke(&token);
    tokens.invalidate(&token);
    service.read(INVOICE).await.unwrap();
    assert_eq!(storage.statuses(), [200, 200]);
    assert_eq!(source.calls(), 2);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let storage = Storage::start().await;
    for (kind, temporary) in [
        (ErrorKind::Unavailable, true),
        (ErrorKind::CredentialsRefused, false),
        (ErrorKind::Configuration, false),
    ] {
        let tokens: Arc<dyn TokenSource> = Arc::new(FakeTokens::failing(kind));
        for service in with_fetch(storage.url(), fetch(storage.url(), &tokens)) {
            let error = service.read(INVOICE).await.unwrap_err();
            assert_eq!(TokenError::find_in(&error).unwrap().kind(), kind);
            assert_eq!(error.is_temporary(), temporary);
        }
        // The chain of providers, of which this is one, drops their errors.
        let service = with_credentials(storage.url(), tokens);
        let error = service.read(INVOICE).await.unwrap_err();
        assert!(!error.is_temporary());
    }
    assert_eq!(storage.statuses(), Vec::<u16>::new());
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_gets_no_request() {
    let tokens: Arc<dyn TokenSource> = Arc::new(FakeTokens::valid());
    let storage = Storage::start().await;
    let fetch = fetch("http://127.0.0.1:1", &tokens);
    for service in with_fetch(storage.url(), fetch) {
        let error = service.read(INVOICE).await.unwrap_err();
        assert_eq!(error.kind(), opendal::ErrorKind::ConfigInvalid);
        assert_eq!(
            TokenError::find_in(&error).unwrap().kind(),
            ErrorKind::Configuration
        );
    }
    assert_eq!(storage.statuses(), Vec::<u16>::new());
}

/// A source whose tokens live for 100 seconds, and whose second call waits at a gate and then has this result.
#[derive(Clone)]
struct Renewing {
    clock: ManualClock,
    gate: Gate,
    calls: Arc<AtomicUsize>,
    fails: bool,
}

impl Renewing {
    fn new(fails: bool) -> Self {
        let clock = ManualClock::new();
        // A signer compares the expiry with the system's time.
        clock.set_wall(SystemTime::now());
        Self {
            clock,
            gate: Gate::new(),
            calls: Arc::default(),
            fails,
        }
    }

    fn cached(&self) -> Arc<dyn TokenSource> {
        let cache = CachedTokenSource::builder(self.clone());
        Arc::new(cache.clock(self.clock.clone()).build())
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenSource for Renewing {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let moment = self.clock.moment();
        if call > 1 {
            self.gate.pass().await;
            if self.fails {
                return Err(TokenError::unavailable("an outage"));
            }
        }
        let lifetime = Duration::from_secs(100);
        Ok(AccessToken::bearer(
            &format!("token-{call}"),
            moment,
            lifetime,
        )?)
    }
}

async fn read_concurrently(service: &Operator) {
    let reads: Vec<_> = (0..32)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.read(INVOICE).await })
        })
        .collect();
    for read in reads {
        read.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_renewal_under_load_is_one_token_request() {
    for kind in 0..3 {
        let source = Renewing::new(false);
        let tokens = source.cached();
        let storage = Storage::start().await;
        let service = &services(storage.url(), &tokens)[kind];
        read_concurrently(service).await;
        let old = tokens.ready_token(&DEFAULT).unwrap();
        source.clock.advance(Duration::from_secs(99));
        // The token server does not answer yet, and no read waits for it.
        read_concurrently(service).await;
        source.gate.arrived(1).await;
        assert_eq!(storage.tokens_used(), ["token-1"]);
        source.gate.open();
        while tokens.ready_token(&DEFAULT).unwrap().is_same(&old) {
            tokio::task::yield_now().await;
        }
        source.clock.advance(Duration::from_secs(1));
        storage.revoke(&old);
        read_concurrently(service).await;
        assert_eq!(storage.tokens_used(), ["token-1", "token-2"]);
        assert_eq!(storage.statuses(), [200; 96]);
        assert_eq!(source.calls(), 2);
    }
}

#[tokio::test]
async fn reads_fail_in_an_outage_only_after_the_token_expired() {
    for kind in 0..3 {
        let source = Renewing::new(true);
        source.gate.open();
        let tokens = source.cached();
        let storage = Storage::start().await;
        let service = &services(storage.url(), &tokens)[kind];
        read_concurrently(service).await;
        source.clock.advance(Duration::from_secs(99));
        read_concurrently(service).await;
        source.clock.advance(Duration::from_secs(1));
        service.read(INVOICE).await.unwrap_err();
        assert_eq!(storage.statuses(), [200; 64]);
    }
}

#[tokio::test]
async fn a_dropped_read_cancels_the_wait_for_a_token() {
    for kind in 0..3 {
        let token = FakeTokens::valid().token(&DEFAULT).await;
        let gate = Gate::new();
        let tokens: Arc<dyn TokenSource> = Arc::new(ScriptedSource::gated([token], gate.clone()));
        let storage = Storage::start().await;
        let service = services(storage.url(), &tokens)[kind].clone();
        let read = {
            let service = service.clone();
            tokio::spawn(async move { service.read(INVOICE).await })
        };
        gate.arrived(1).await;
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
        gate.open();
        service.read(INVOICE).await.unwrap();
        assert_eq!(storage.statuses(), [200]);
    }
}

#[tokio::test]
async fn debug_output_and_errors_show_no_token() {
    const CANARY: &str = "c4n4ry-0f-the-t0ken";
    let source = hallpass_testkit::StaticSource::new(CANARY);
    let tokens: Arc<dyn TokenSource> = Arc::new(source);
    let storage = Storage::start().await;
    storage.revoke(&tokens.token(&DEFAULT).await.unwrap());
    let credentials = TokenCredentials::<reqsign::google::Credential>::new(tokens.clone());
    let fetch = fetch(storage.url(), &tokens);
    let mut shown = format!("{credentials:?} {fetch:?}");
    for service in services(storage.url(), &tokens) {
        let error = service.read(INVOICE).await.unwrap_err();
        shown += &format!("{service:?}");
        shown += &leak::error_chain(&error);
    }
    leak::assert_clean(&shown, CANARY);
    // The server had the token.
    assert_eq!(storage.tokens_used(), [CANARY]);
    assert!(leak::find(&format!("{shown} {:?}", storage.tokens_used()), CANARY).is_some());
}
