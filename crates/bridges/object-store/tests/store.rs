//! Clients of object_store against a store that checks tokens.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, ErrorKind, Secret, TokenError, TokenRequest, TokenSource, authorize::Authorizer,
};
use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
use hallpass_object_store::{TokenConnector, TokenCredentials};
use hallpass_testkit::{AuthorizationServer, Client, FakeTokens};
use object_store::{
    CredentialProvider as _, ObjectStore, ObjectStoreExt as _,
    azure::{AzureCredential, MicrosoftAzureBuilder},
    client::ReqwestConnector,
    gcp::{GcpCredential, GoogleCloudStorageBuilder},
    path::Path,
};
use tokio::net::TcpListener;

/// A store that accepts bearer tokens, but for those that were revoked, and records its requests.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    revoked: Vec<String>,
    /// The status of each response so far.
    statuses: Vec<u16>,
}

impl Store {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    fn revoke(&self, token: &AccessToken) {
        let mut inner = self.0.lock().unwrap();
        inner.revoked.push(token.expose().to_owned());
    }
}

/// Returns the status of each response so far.
fn statuses(store: &Store) -> Vec<u16> {
    store.0.lock().unwrap().statuses.clone()
}

async fn answer(State(store): State<Store>, headers: HeaderMap, _: Bytes) -> Response {
    let mut inner = store.0.lock().unwrap();
    let sent = headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let good = sent.is_some_and(|sent| !inner.revoked.iter().any(|revoked| revoked == sent));
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    };
    inner.statuses.push(status.as_u16());
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
    if status != StatusCode::OK {
        return (status, challenge).into_response();
    }
    let headers = [
        (header::ETAG, "\"1\""),
        (header::LAST_MODIFIED, "Sat, 28 Nov 2026 10:00:00 GMT"),
    ];
    (headers, "an invoice").into_response()
}

/// Starts an authorization server, and returns it with a cached source of its tokens.
async fn tokens() -> (AuthorizationServer, Arc<dyn TokenSource>) {
    let server = AuthorizationServer::builder().client(Client::new("orders", "s3cr3t"));
    let server = server.start().await;
    let secret = Secret::new("s3cr3t").unwrap();
    let source = ClientCredentials::builder(
        server.token_endpoint(),
        "orders",
        ClientSecretBasic::new(secret),
    );
    let source = source.danger_allow_http_on_loopback().build().unwrap();
    let tokens = CachedTokenSource::builder(source).build();
    (server, Arc::new(tokens))
}

fn azure(url: &str) -> MicrosoftAzureBuilder {
    MicrosoftAzureBuilder::new()
        .with_account("orders")
        .with_container_name("invoices")
        .with_endpoint(url.to_owned())
        .with_allow_http(true)
}

fn gcp(url: &str) -> GoogleCloudStorageBuilder {
    let options = object_store::ClientOptions::new().with_allow_http(true);
    GoogleCloudStorageBuilder::new()
        .with_bucket_name("invoices")
        .with_base_url(url)
        .with_client_options(options)
}

/// Builds each kind of store with credentials of this source.
fn stores_with_credentials(url: &str, tokens: &Arc<dyn TokenSource>) -> [Arc<dyn ObjectStore>; 2] {
    let credentials = TokenCredentials::<AzureCredential>::new(tokens.clone());
    let azure = azure(url).with_credentials(Arc::new(credentials));
    let credentials = TokenCredentials::<GcpCredential>::new(tokens.clone());
    let gcp = gcp(url).with_credentials(Arc::new(credentials));
    [
        Arc::new(azure.build().unwrap()),
        Arc::new(gcp.build().unwrap()),
    ]
}

fn connector(url: &str, tokens: &Arc<dyn TokenSource>) -> TokenConnector<ReqwestConnector> {
    let authorizer = Authorizer::builder(tokens.clone())
        .allow_origin(url)
        .danger_allow_http_on_loopback();
    TokenConnector::new(authorizer.build().unwrap(), ReqwestConnector::default())
}

fn store_with_connector(
    url: &str,
    connector: TokenConnector<ReqwestConnector>,
) -> impl ObjectStore {
    let store = azure(url).with_skip_signature(true);
    store.with_http_connector(connector).build().unwrap()
}

const DEFAULT: TokenRequest = TokenRequest::new();

fn invoice() -> Path {
    Path::from("2026/1")
}

/// Returns the token error among the causes of a store's error.
fn token_error(error: &object_store::Error) -> &TokenError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return found;
        }
        cause = error.source();
    }
    panic!("no token error: {error:?}");
}

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
        assert_eq!(token_error(&error).kind(), ErrorKind::CredentialsRefused);
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
    assert_eq!(token_error(&error).kind(), ErrorKind::Configuration);
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
    let (server, tokens) = tokens().await;
    server.set_latency(Duration::from_secs(3_600));
    let store = Store::default();
    let url = store.start().await;
    for client in stores_with_credentials(&url, &tokens) {
        let path = invoice();
        let read = client.get(&path);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), read)
                .await
                .is_err()
        );
    }
    assert_eq!(statuses(&store), Vec::<u16>::new());
}
