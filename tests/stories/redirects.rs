//! Every redirect, with every client: the requests that it causes, and where the token goes.

mod cell;
mod clients;
mod server;

use std::{sync::Arc, thread};

use hallpass::{
    ErrorKind, TokenError, TokenRequest, TokenSource as _,
    authorize::Authorizer,
    endpoint::{
        ClientCredentials, ClientSecretPost, Endpoint, HttpTransport, Retry, ServiceClient,
        TokenManagement,
    },
    jwt::Dpop,
};
use hallpass_testkit::{StaticSource, leak};
use serde_json::Value;
use tokio::{runtime::Builder, task::JoinSet};

use self::{
    cell::{Binding, Cell, Hop, Kind, Proof, To},
    clients::{BlockingClients, Clients},
    server::{Received, Server},
};
use crate::support::{CANARY, ID, secret, static_token};

/// The number of requests at a time, which is that of reqwest's and of the server's connections too.
const TASKS: usize = 8;
const THREADS: usize = 4;
const BINDINGS: [Binding; 3] = [Binding::Bearer, Binding::Dpop, Binding::Certificate];

/// Returns the requests as the table has them.
fn hops(received: &[Received]) -> Vec<Hop> {
    let hop = |request: &Received| {
        let proof = match request.headers.get("dpop") {
            None => Proof::None,
            Some(proof) if *proof == format!("{} {}", request.method, request.url) => Proof::Own,
            Some(_) => Proof::Stale,
        };
        Hop {
            landed: request.url.matches('/').count() == 4,
            method: request.method.parse().unwrap(),
            token: request.headers.contains_key("authorization"),
            proof,
            has_body: !request.body.is_empty(),
        }
    };
    received.iter().map(hop).collect()
}

/// Compares a cell with the rule; returns the deviation.
fn deviation(server: &Server, number: usize, cell: &Cell, status: u16) -> Option<String> {
    let received = server.take(number);
    let origin = |url: &str| url.split('/').take(3).collect::<Vec<_>>().join("/");
    for request in &received {
        let is_own = origin(&request.url) == origin(&received[0].url);
        let has_token = request
            .headers
            .values()
            .any(|value| value.contains("token-"));
        if has_token != is_own {
            return Some(format!("{cell:?}: the token at {}", request.url));
        }
        if !request.body.is_empty() && request.body != clients::BODY.as_bytes() {
            return Some(format!("{cell:?}: another body"));
        }
    }
    let found = (hops(&received), status);
    let expected = cell.expected();
    (found != expected).then(|| format!("{cell:?}\n  found    {found:?}\n  expected {expected:?}"))
}

fn assert_none(deviations: &[String], cells: usize, expected: usize) {
    assert_eq!(cells, expected);
    let shown = deviations.iter().take(12).cloned().collect::<Vec<_>>();
    let all = deviations.len();
    assert!(
        all == 0,
        "{all} of {cells} cells deviate:\n{}",
        shown.join("\n")
    );
}

// covers: C-35, C-37, C-68, C-70, I-03, I-04, I-05
#[test]
fn each_async_client_follows_redirects_by_the_rule() {
    let server = Arc::new(Server::start());
    let clients = Arc::new(BINDINGS.map(|binding| Clients::new(&server, binding)));
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let cells: Vec<_> = Cell::all().into_iter().enumerate().collect();
    let is_async = |cell: &Cell| !matches!(cell.kind, Kind::Blocking | Kind::Ureq);
    let cells: Arc<Vec<_>> = Arc::new(
        cells
            .into_iter()
            .filter(|(_, cell)| is_async(cell))
            .collect(),
    );
    let tasks = (0..TASKS).map(|task| {
        let (server, clients, cells) = (server.clone(), clients.clone(), cells.clone());
        async move {
            let mut deviations = Vec::new();
            for (number, cell) in cells.iter().skip(task).step_by(TASKS) {
                let url = start_url(&server, *number, cell);
                let status = clients[cell.binding as usize].send(cell, &url).await;
                deviations.extend(deviation(&server, *number, cell, status));
            }
            deviations
        }
    });
    let deviations = runtime.block_on(async { tasks.collect::<JoinSet<_>>().join_all().await });
    assert_none(&deviations.concat(), cells.len(), 9_736);
}

// covers: C-35, C-37, I-03, I-04, I-05
#[test]
fn each_blocking_client_follows_redirects_by_the_rule() {
    let server = Server::start();
    let clients = BINDINGS.map(|binding| BlockingClients::new(&server, binding));
    let mut cells: Vec<_> = Cell::all().into_iter().enumerate().collect();
    cells.retain(|(_, cell)| matches!(cell.kind, Kind::Blocking | Kind::Ureq));
    let deviations = thread::scope(|scope| {
        let (server, clients, cells) = (&server, &clients, &cells);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut deviations = Vec::new();
                    for (number, cell) in cells.iter().skip(thread).step_by(THREADS) {
                        let url = start_url(server, *number, cell);
                        let status = clients[cell.binding as usize].send(cell, &url);
                        deviations.extend(deviation(server, *number, cell, status));
                    }
                    deviations
                })
            })
            .collect();
        let threads = threads.into_iter().map(|thread| thread.join().unwrap());
        threads.collect::<Vec<_>>().concat()
    });
    assert_none(&deviations, cells.len(), 3_117);
}

fn start_url(server: &Server, number: usize, cell: &Cell) -> String {
    let over_tls = cell.starts_over_tls();
    server.start_url(number, over_tls, cell.status, cell.to, cell.refused)
}

/// A request to an authorization server, and how its client authenticates.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Token(Binding),
    Introspection,
    Revocation,
    Metadata,
    /// Of a service that a credential depends on, such as a KMS, with a token.
    Service(&'static str),
}

const CALLS: [Call; 8] = [
    Call::Token(Binding::Bearer),
    Call::Token(Binding::Dpop),
    Call::Token(Binding::Certificate),
    Call::Introspection,
    Call::Revocation,
    Call::Metadata,
    Call::Service("GET"),
    Call::Service("POST"),
];

impl Call {
    async fn send(
        self,
        server: &Server,
        transport: &HttpTransport,
        dpop: &Dpop,
        url: &str,
    ) -> Result<(), TokenError> {
        let authentication = || ClientSecretPost::new(secret(CANARY));
        let source = match self {
            Self::Introspection | Self::Revocation => {
                let endpoint = Endpoint::new("https://login.example/token")
                    .with_introspection_endpoint(url)
                    .with_revocation_endpoint(url);
                let tokens = TokenManagement::builder(endpoint, ID, authentication())
                    .allow_utf8_credentials()
                    .transport(transport.clone())
                    .danger_allow_http_on_loopback()
                    .build()
                    .unwrap();
                let token = static_token("CANARY-token");
                return match self {
                    Self::Introspection => tokens.introspect(&token).await.map(drop),
                    _ => tokens.revoke(&token).await,
                };
            }
            Self::Token(Binding::Certificate) => {
                ClientCredentials::builder(url, ID, server.mutual_tls.clone())
            }
            Self::Token(Binding::Dpop) => {
                ClientCredentials::builder(url, ID, authentication()).dpop(dpop.clone())
            }
            Self::Token(Binding::Bearer) => ClientCredentials::builder(url, ID, authentication()),
            Self::Service(method) => {
                let source = Arc::new(StaticSource::new("CANARY-token"));
                let authorizer = Authorizer::builder(source)
                    .allow_origin(&server.origin(false))
                    .allow_origin(&server.origin(true))
                    .danger_allow_http_on_loopback()
                    .build();
                let service = ServiceClient::new("the service", authorizer.unwrap());
                let service = service.unwrap().transport(transport.clone());
                let reply: Result<Value, _> = match method {
                    "GET" => service.get(url).await,
                    _ => service.post(url, &Value::Null).await,
                };
                return reply.map(drop);
            }
            Self::Metadata => {
                let login = Endpoint::discover(url)
                    .openid_location()
                    .transport(transport.clone())
                    .danger_allow_http_on_loopback();
                ClientCredentials::builder(login.build().unwrap(), ID, authentication())
            }
        };
        let source = source
            .allow_utf8_credentials()
            .transport(transport.clone())
            .danger_allow_http_on_loopback()
            .retry(Retry::new())
            .build()
            .unwrap();
        source.token(&TokenRequest::default()).await.map(drop)
    }
}

// covers: C-37, C-43, F-49, F-50, F-51, F-119, I-03, I-05
#[test]
fn no_request_to_an_authorization_server_is_redirected() {
    let server = Server::start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let transport = HttpTransport::builder()
        .add_root_certificates_pem(server.root())
        .only_added_root_certificates()
        .build()
        .unwrap();
    let dpop = Dpop::generate().unwrap();
    let mut number = 0;
    for call in CALLS {
        for status in 300..=308 {
            for to in To::ALL {
                let over_tls = to == To::Http || call == Call::Token(Binding::Certificate);
                let url = server.start_url(number, over_tls, status, to, false);
                let case = format!("{call:?} {status} {to:?}");
                let sent = call.send(&server, &transport, &dpop, &url);
                let error = runtime.block_on(sent).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Configuration, "{case}: {error}");
                assert!(!error.is_transient(), "{case}");
                assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
                assert!(error.to_string().contains(" redirects "), "{case}: {error}");
                leak::assert_clean(&leak::error_chain(&error), CANARY);
                leak::assert_clean(&leak::error_chain(&error), "CANARY-token");
                let received = server.take(number);
                let urls: Vec<_> = received.iter().map(|request| &*request.url).collect();
                match call {
                    Call::Metadata => assert!(urls.len() == 1 && urls[0].starts_with(&url)),
                    _ => assert_eq!(urls, [&url], "{case}"),
                }
                number += 1;
            }
        }
    }
    assert_eq!(number, 576);
}
