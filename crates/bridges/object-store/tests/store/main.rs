//! Clients of object_store against a store that checks tokens.

#![allow(clippy::unwrap_used)]

#[path = "../../../renewal.rs"]
mod renewal;
mod rules;
mod support;

use std::sync::Arc;

use hallpass_core::{ErrorKind, TokenError, TokenSource};
use hallpass_object_store::TokenCredentials;
use hallpass_testkit::{FakeTokens, Gate, ScriptedSource};
use object_store::{CredentialProvider as _, ObjectStore, ObjectStoreExt as _, gcp::GcpCredential};

use support::{
    DEFAULT, Store, connector, invoice, statuses, store_with_connector, stores_with_credentials,
    tokens,
};

#[tokio::test]
async fn stores_read_with_tokens_of_a_source() {
    let (server, tokens) = tokens().await;
    let store = Store::default();
    let url = store.start().await;
    for client in stores_with_credentials(&url, &tokens) {
        for _ in 0..2 {
            let read = client.get(&invoice()).await.unwrap();
            assert_eq!(read.bytes().await.unwrap(), "an invoice");
        }
    }
    assert_eq!(server.token_request_count(), 1);
    assert_eq!(statuses(&store), [200; 4]);
}

#[tokio::test]
async fn a_refreshed_token_is_used_by_the_next_request() {
    for kind in 0..2 {
        let (server, tokens) = tokens().await;
        let store = Store::default();
        let url = store.start().await;
        let client = &stores_with_credentials(&url, &tokens)[kind];
        client.get(&invoice()).await.unwrap();
        let old = tokens.ready_token(&DEFAULT).unwrap();
        store.revoke(&old);
        // The store does not report it, so that its next request fails too.
        for _ in 0..2 {
            let error = client.get(&invoice()).await.unwrap_err();
            assert!(matches!(error, object_store::Error::Unauthenticated { .. }));
        }
        tokens.invalidate(&old);
        client.get(&invoice()).await.unwrap();
        assert_eq!(statuses(&store), [200, 401, 401, 200]);
        assert_eq!(server.token_request_count(), 2);
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_read_sent_again() {
    let (server, tokens) = tokens().await;
    let store = Store::default();
    let url = store.start().await;
    let client = store_with_connector(&url, connector(&url, &tokens));
    client.get(&invoice()).await.unwrap();
    store.revoke(&tokens.ready_token(&DEFAULT).unwrap());
    client.get(&invoice()).await.unwrap();
    assert_eq!(statuses(&store), [200, 401, 200]);
    assert_eq!(server.token_request_count(), 2);
}

#[tokio::test]
async fn an_upload_is_sent_again_only_if_allowed() {
    for (retries, expected) in [
        (false, vec![200, 401, 200]),
        (true, vec![200, 401, 200, 200]),
    ] {
        let (server, tokens) = tokens().await;
        let store = Store::default();
        let url = store.start().await;
        let mut connector = connector(&url, &tokens);
        if retries {
            connector = connector.retry_uploads();
        }
        let client = store_with_connector(&url, connector);
        client.put(&invoice(), "an invoice".into()).await.unwrap();
        store.revoke(&tokens.ready_token(&DEFAULT).unwrap());
        let refused = client.put(&invoice(), "an invoice".into()).await;
        assert_eq!(refused.is_ok(), retries);
        client.put(&invoice(), "an invoice".into()).await.unwrap();
        assert_eq!(statuses(&store), expected);
        assert_eq!(server.token_request_count(), 2);
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let refused: Arc<dyn TokenSource> =
        Arc::new(FakeTokens::failing(ErrorKind::CredentialsRefused));
    let store = Store::default();
    let url = store.start().await;
    let mut clients: Vec<Arc<dyn ObjectStore>> = stores_with_credentials(&url, &refused).to_vec();
    clients.push(Arc::new(store_with_connector(
        &url,
        connector(&url, &refused),
    )));
    for client in clients {
        let error = client.get(&invoice()).await.unwrap_err();
        assert_eq!(
            TokenError::find_in(&error).unwrap().kind(),
            ErrorKind::CredentialsRefused
        );
    }
    assert_eq!(statuses(&store), Vec::<u16>::new());
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_gets_no_request() {
    let (server, tokens) = tokens().await;
    let store = Store::default();
    let url = store.start().await;
    let client = store_with_connector(&url, connector("http://127.0.0.1:1", &tokens));
    let error = client.get(&invoice()).await.unwrap_err();
    assert_eq!(
        TokenError::find_in(&error).unwrap().kind(),
        ErrorKind::Configuration
    );
    assert_eq!(
        (server.token_request_count(), statuses(&store)),
        (0, vec![])
    );
}

#[tokio::test]
async fn debug_output_shows_no_token() {
    let (_server, tokens) = tokens().await;
    let credentials = Arc::new(TokenCredentials::<GcpCredential>::new(tokens.clone()));
    let token = tokens.token(&DEFAULT).await.unwrap();
    let credential = credentials.get_credential().await.unwrap();
    // The neighbour's own type shows it.
    assert!(format!("{credential:?}").contains(token.expose()));
    assert!(!format!("{credentials:?}").contains(token.expose()));
    let url = "http://127.0.0.1:1";
    let store = store_with_connector(url, connector(url, &tokens));
    assert!(!format!("{store:?}").contains(token.expose()));
}

#[tokio::test]
async fn a_dropped_read_cancels_the_wait_for_a_token() {
    let gate = Gate::new();
    let token = FakeTokens::valid().token(&DEFAULT).await;
    let source = ScriptedSource::gated([token], gate.clone());
    let tokens: Arc<dyn TokenSource> = Arc::new(source);
    let store = Store::default();
    let url = store.start().await;
    for (number, client) in (1..).zip(stores_with_credentials(&url, &tokens)) {
        let read = tokio::spawn(async move { client.get(&invoice()).await.map(drop) });
        gate.arrived(number).await;
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
    }
    assert_eq!(statuses(&store), Vec::<u16>::new());
}
