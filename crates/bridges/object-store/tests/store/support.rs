use std::{
    fmt,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Secret, TokenRequest, TokenSource, authorize::Authorizer};
use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
use hallpass_object_store::{TokenConnector, TokenCredentials};
use hallpass_testkit::{AuthorizationServer, Client};
use object_store::{
    ObjectStore,
    azure::{AzureCredential, MicrosoftAzureBuilder},
    client::ReqwestConnector,
    gcp::{GcpCredential, GoogleCloudStorageBuilder},
    path::Path,
};
use tokio::net::TcpListener;

/// A store that accepts bearer tokens, but for those that were revoked, and records its requests.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<Inner>>);

#[derive(Default)]
pub(crate) struct Inner {
    revoked: Vec<String>,
    /// The status of each response so far.
    statuses: Vec<u16>,
    /// The token of each request so far.
    tokens: Vec<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store(..)")
    }
}

impl Store {
    pub(crate) async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    pub(crate) fn revoke(&self, token: &AccessToken) {
        self.revoke_text(token.expose());
    }

    pub(crate) fn revoke_text(&self, token: &str) {
        self.0.lock().unwrap().revoked.push(token.to_owned());
    }

    /// Returns the token of each request so far.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.0.lock().unwrap().tokens.clone()
    }

    /// Forgets all requests and revocations.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap() = Inner::default();
    }
}

/// Returns the status of each response so far.
pub(crate) fn statuses(store: &Store) -> Vec<u16> {
    store.0.lock().unwrap().statuses.clone()
}

pub(crate) async fn answer(State(store): State<Store>, headers: HeaderMap, _: Bytes) -> Response {
    let mut inner = store.0.lock().unwrap();
    let sent = headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    inner.tokens.extend(sent.map(str::to_owned));
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
pub(crate) async fn tokens() -> (AuthorizationServer, Arc<dyn TokenSource>) {
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

pub(crate) fn azure(url: &str) -> MicrosoftAzureBuilder {
    MicrosoftAzureBuilder::new()
        .with_account("orders")
        .with_container_name("invoices")
        .with_endpoint(url.to_owned())
        .with_allow_http(true)
}

pub(crate) fn gcp(url: &str) -> GoogleCloudStorageBuilder {
    let options = object_store::ClientOptions::new().with_allow_http(true);
    GoogleCloudStorageBuilder::new()
        .with_bucket_name("invoices")
        .with_base_url(url)
        .with_client_options(options)
}

/// Builds each kind of store with credentials of this source.
pub(crate) fn stores_with_credentials(
    url: &str,
    tokens: &Arc<dyn TokenSource>,
) -> [Arc<dyn ObjectStore>; 2] {
    let credentials = TokenCredentials::<AzureCredential>::new(tokens.clone());
    let azure = azure(url).with_credentials(Arc::new(credentials));
    let credentials = TokenCredentials::<GcpCredential>::new(tokens.clone());
    let gcp = gcp(url).with_credentials(Arc::new(credentials));
    [
        Arc::new(azure.build().unwrap()),
        Arc::new(gcp.build().unwrap()),
    ]
}

pub(crate) fn connector(
    url: &str,
    tokens: &Arc<dyn TokenSource>,
) -> TokenConnector<ReqwestConnector> {
    let authorizer = Authorizer::builder(tokens.clone())
        .allow_origin(url)
        .danger_allow_http_on_loopback();
    TokenConnector::new(authorizer.build().unwrap(), ReqwestConnector::default())
}

pub(crate) fn store_with_connector(
    url: &str,
    connector: TokenConnector<ReqwestConnector>,
) -> impl ObjectStore {
    let store = azure(url).with_skip_signature(true);
    store.with_http_connector(connector).build().unwrap()
}

pub(crate) const DEFAULT: TokenRequest = TokenRequest::new();

pub(crate) fn invoice() -> Path {
    Path::from("2026/1")
}
