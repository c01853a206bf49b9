//! Calls that end at each of their polls and at each part of a response: the caller gives up, its runtime ends, or a
//! poll panics. The next call succeeds, on another runtime, and sends the requests that it needs by then, and no other.

mod more;
mod processes;
mod rotations;
mod server;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallpass::{
    Secret, SecretError, SecretSource, SecretStore, TokenRequest, TokenSource, async_trait,
    endpoint::{
        ClientCredentials, ClientSecretPost, Endpoint, HttpTransport, Retry, TokenManagement,
    },
    jwt::Dpop,
};
use hallpass_testkit::Breakpoint;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use self::server::{Received, Response, Server};
use crate::support::{ID, secret, static_token};

/// A call that can be repeated; true if it succeeded.
type Call = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>>>;

fn call<F: Future<Output = bool> + Send + 'static>(call: impl Fn() -> F + 'static) -> Call {
    Box::new(move || Box::pin(call()))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The caller gives up.
    Caller,
    /// The runtime ends, with all of its tasks.
    Runtime,
    Panic,
}

/// Returns a call of this source.
fn fetch(source: impl TokenSource + 'static) -> Call {
    let source = Arc::new(source);
    call(move || {
        let source = source.clone();
        async move { source.token(&TokenRequest::default()).await.is_ok() }
    })
}

/// A story: its server, and its call.
struct Story {
    answer: fn(&str, &Received, usize) -> Response,
    call: fn(&Server, &Breakpoint) -> Call,
    /// The requests of the next call, as first letters of paths, for each number of requests of the interrupted one: if
    /// its last response was lost, and then, if that differs, if the response was used. The first one is that of a
    /// complete call.
    next: &'static [&'static [&'static str]],
}

impl Story {
    /// Returns the requests of two complete calls.
    fn usual(&self) -> String {
        let last = self.next.last().and_then(|next| next.last()).unwrap();
        format!("{}{last}", self.next[0][0])
    }

    /// Returns all requests if this many of the interrupted call arrived.
    fn after(&self, arrived: usize) -> impl Iterator<Item = String> {
        let first = &self.next[0][0][..arrived];
        let next = self.next[arrived].iter();
        next.map(move |next| format!("{first}{next}"))
    }

    /// Returns all requests if the last one of the interrupted call was in a buffer of the system, and arrives among
    /// those of the next call: before the one that it changes, or after it.
    fn late(&self) -> impl Iterator<Item = String> {
        let first = self.next[0][0];
        (1..=first.len()).flat_map(move |sent| {
            let (before, last) = first[..sent].split_at(sent - 1);
            let next = [*self.next[sent - 1].last().unwrap(), self.next[sent][0]];
            next.into_iter().flat_map(move |next| {
                let places = (1..=next.len()).map(move |at| next.split_at(at));
                places.map(move |(earlier, later)| format!("{before}{earlier}{last}{later}"))
            })
        })
    }

    /// Returns all requests if the connection was lost after one of them: by a panic of the server, after which the call
    /// itself repeats the request.
    fn repeated(&self) -> impl Iterator<Item = String> {
        let first = self.next[0][0];
        let last = self.next.last().and_then(|next| next.last()).unwrap();
        (1..=first.len()).flat_map(move |arrived| {
            let rest = [&first[arrived - 1..], self.next[arrived][0]];
            rest.map(|rest| format!("{}{rest}{last}", &first[..arrived]))
        })
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a story with each end at each point. Returns the number of points.
fn run(story: &Story) -> usize {
    let complete = Breakpoint::never();
    let server = Server::start(&complete, story.answer);
    let twice = (story.call)(&server, &complete);
    let both = runtime();
    assert!(both.block_on(twice()) && both.block_on(twice()));
    assert_eq!(server.log().letters, story.usual());
    let ends = [End::Caller, End::Runtime, End::Panic];
    let points = ends.map(|end| {
        Breakpoint::each(|breakpoint| {
            let breakpoint = match end {
                End::Panic => breakpoint.clone().panic(),
                _ => breakpoint.clone(),
            };
            let (known, requests) = interrupted(story, end, &breakpoint);
            let all = 0..story.next.len();
            let mut expected: Vec<_> = match known {
                _ if !breakpoint.is_reached() => vec![story.usual()],
                Some(arrived) => story.after(arrived).take(1).collect(),
                None => {
                    let after = all.flat_map(|arrived| story.after(arrived));
                    after.chain(story.late()).collect()
                }
            };
            if end == End::Panic {
                expected.extend(story.repeated());
            }
            assert!(
                expected.contains(&requests),
                "{end:?} {breakpoint:?}: {requests}, {expected:?}"
            );
        })
    });
    points.iter().sum()
}

/// Interrupts a call, and makes the next one on another runtime. Returns all requests, and how many of them arrived before
/// the end, if that is known and the last response was lost: with a runtime all of the client ends, and no response
/// is completed before [`Breakpoint::resume`]. At the other points a request or a response may be on its way, in a buffer of
/// the system or in a task that the caller has left behind.
fn interrupted(story: &Story, end: End, breakpoint: &Breakpoint) -> (Option<usize>, String) {
    let server = Server::start(breakpoint, story.answer);
    let call = (story.call)(&server, breakpoint);
    let first = runtime();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        first.block_on(breakpoint.run(breakpoint.wrap(call())))
    }));
    let mut known = None;
    let next = if end == End::Caller {
        // What the caller left behind continues on its runtime.
        first
    } else {
        drop(first);
        let log = server.log();
        known = (end == End::Runtime && log.is_answering).then_some(log.letters.len());
        runtime()
    };
    breakpoint.resume();
    let limit = Duration::from_secs(20);
    let ok = next.block_on(async { tokio::time::timeout(limit, call()).await });
    assert_eq!(ok, Ok(true), "{end:?} {breakpoint:?}");
    (known, server.log().letters)
}

fn granted(token: &str, kind: &str) -> Response {
    let body = json!({ "access_token": token, "token_type": kind, "expires_in": 3600 });
    (200, String::new(), body.to_string())
}

/// Returns the transport of all sources: its connections outlive runtimes, as those of a program do.
fn transport() -> HttpTransport {
    static TRANSPORT: OnceLock<HttpTransport> = OnceLock::new();
    let build = || HttpTransport::builder().build().unwrap();
    TRANSPORT.get_or_init(build).clone()
}

fn retry() -> Retry {
    Retry::new().min_delay(Duration::from_millis(1))
}

fn credentials(
    endpoint: impl Into<Endpoint>,
) -> hallpass::endpoint::SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(endpoint, ID, ClientSecretPost::new(secret("s3cr3t")))
        .danger_allow_http_on_loopback()
        .transport(transport())
        .retry(retry())
}

/// A secret whose reading and saving takes several polls.
#[derive(Debug)]
struct SlowSecret {
    value: Mutex<Secret>,
    breakpoint: Breakpoint,
}

impl SlowSecret {
    fn new(text: &str, breakpoint: &Breakpoint) -> Arc<Self> {
        let (value, breakpoint) = (Mutex::new(secret(text)), breakpoint.clone());
        Arc::new(Self { value, breakpoint })
    }
}

#[async_trait]
impl SecretSource for SlowSecret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        self.breakpoint.wrap(tokio::task::yield_now()).await;
        Ok(self.value.lock().unwrap().clone())
    }
}

#[async_trait]
impl SecretStore for SlowSecret {
    async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        self.breakpoint.wrap(tokio::task::yield_now()).await;
        *self.value.lock().unwrap() = secret.clone();
        self.breakpoint.wrap(tokio::task::yield_now()).await;
        Ok(())
    }
}

// covers: F-72
#[test]
fn a_fetch_that_ends_at_any_point_leaves_its_source_usable() {
    let points = run(&Story {
        answer: |_, _, _| granted("t", "Bearer"),
        next: &[&["t"], &["t"]],
        call: |server, breakpoint| {
            let authentication = ClientSecretPost::new(SlowSecret::new("s3cr3t", breakpoint));
            let url = format!("{}/token", server.url);
            let source = ClientCredentials::builder(url, ID, authentication)
                .danger_allow_http_on_loopback()
                .transport(transport())
                .retry(retry());
            fetch(source.build().unwrap())
        },
    });
    assert!(points >= 15, "{points}");
}

fn discover(url: &str, received: &Received, _: usize) -> Response {
    if received.path == "/token" {
        return granted("t", "Bearer");
    }
    let metadata = json!({ "issuer": url, "token_endpoint": format!("{url}/token") });
    (200, String::new(), metadata.to_string())
}

/// Calls a source whose metadata is cached for `lifetime`.
fn discovered(server: &Server, lifetime: Duration) -> Call {
    let login = Endpoint::discover(&server.url)
        .lifetime(lifetime)
        .transport(transport())
        .danger_allow_http_on_loopback();
    fetch(credentials(login.build().unwrap()).build().unwrap())
}

#[test]
fn a_discovery_that_ends_at_any_point_is_repeated_once() {
    let points = run(&Story {
        answer: discover,
        call: |server, _| discovered(server, Duration::from_secs(3_600)),
        next: &[&[".t"], &[".t", "t"], &["t"]],
    });
    assert!(points >= 20, "{points}");
    // Each call refreshes the document.
    let points = run(&Story {
        answer: discover,
        call: |server, _| discovered(server, Duration::ZERO),
        next: &[&[".t"], &[".t"], &[".t"]],
    });
    assert!(points >= 20, "{points}");
}

#[test]
fn a_nonce_demand_that_ends_at_any_point_leaves_the_key_usable() {
    let points = run(&Story {
        answer: |_, received, before| {
            let nonce = "dpop-nonce: one\r\n".to_owned();
            // The proof's nonce is not visible here: the first request has none.
            if before == 0 || !received.head.contains("\r\ndpop: ") {
                return (400, nonce, json!({ "error": "use_dpop_nonce" }).to_string());
            }
            granted("t", "DPoP")
        },
        // The nonce is demanded once.
        next: &[&["tt"], &["t"], &["t"]],
        call: |server, _| {
            let source = credentials(format!("{}/token", server.url).as_str());
            fetch(source.dpop(Dpop::generate().unwrap()).build().unwrap())
        },
    });
    assert!(points >= 20, "{points}");
}

#[test]
fn introspection_and_revocation_end_at_any_point() {
    let points = run(&Story {
        answer: |_, _, _| (200, String::new(), json!({ "active": true }).to_string()),
        next: &[&["ir"], &["ir"], &["ir"]],
        call: |server, _| {
            let url = &server.url;
            let endpoint = Endpoint::new(format!("{url}/token"))
                .with_introspection_endpoint(format!("{url}/introspect"))
                .with_revocation_endpoint(format!("{url}/revoke"));
            let authentication = ClientSecretPost::new(secret("s3cr3t"));
            let tokens = TokenManagement::builder(endpoint, ID, authentication)
                .danger_allow_http_on_loopback()
                .transport(transport())
                .retry(retry());
            let tokens = Arc::new(tokens.build().unwrap());
            call(move || {
                let tokens = tokens.clone();
                async move {
                    let token = static_token("t");
                    let known = tokens.introspect(&token).await;
                    known.is_ok() && tokens.revoke(&token).await.is_ok()
                }
            })
        },
    });
    assert!(points >= 20, "{points}");
}

#[test]
fn a_shutdown_that_ends_anywhere_leaves_the_rest_to_the_next() {
    let points = run(&Story {
        answer: |_, received, before| {
            if received.path == "/token" {
                return granted(&format!("t{before}"), "Bearer");
            }
            (200, String::new(), "{}".to_owned())
        },
        // A token that the call got, and did not revoke, is revoked by the next one.
        next: &[&["tr"], &["tr", "trr"], &["trr", "tr"]],
        call: |server, _| {
            let url = &server.url;
            let endpoint = Endpoint::new(format!("{url}/token"))
                .with_revocation_endpoint(format!("{url}/revoke"));
            let authentication = ClientSecretPost::new(secret("s3cr3t"));
            let tokens = TokenManagement::builder(endpoint.clone(), ID, authentication)
                .danger_allow_http_on_loopback()
                .transport(transport())
                .retry(retry());
            let tokens = Arc::new(tokens.build().unwrap());
            let source =
                Arc::new(tokens.revoke_on_shutdown(credentials(endpoint).build().unwrap()));
            call(move || {
                let source = source.clone();
                async move {
                    let fetched = source.token(&TokenRequest::default()).await.is_ok();
                    let done = source.shutdown().await;
                    fetched && done.failures().is_empty()
                }
            })
        },
    });
    assert!(points >= 20, "{points}");
}

/// The server has rotated the client's secret: it refuses the first one that is read.
#[test]
fn a_rotation_of_the_secret_ends_at_any_point() {
    let points = run(&Story {
        answer: |_, received, _| {
            if received.body.contains("client_secret=first") {
                let refusal = json!({ "error": "invalid_client" });
                return (401, String::new(), refusal.to_string());
            }
            granted("t", "Bearer")
        },
        next: &[&["tt"], &["tt", "t"], &["t"]],
        call: |server, breakpoint| {
            let rotating = Arc::new(Rotating(AtomicBool::new(false), breakpoint.clone()));
            let url = format!("{}/token", server.url);
            let source = ClientCredentials::builder(url, ID, ClientSecretPost::new(rotating))
                .danger_allow_http_on_loopback()
                .transport(transport())
                .retry(retry());
            fetch(source.build().unwrap())
        },
    });
    assert!(points >= 20, "{points}");
}

/// A secret that is read again after its refusal, as one in a file or a vault.
#[derive(Debug)]
struct Rotating(AtomicBool, Breakpoint);

#[async_trait]
impl SecretSource for Rotating {
    async fn secret(&self) -> Result<Secret, SecretError> {
        self.1.wrap(tokio::task::yield_now()).await;
        let is_refused = self.0.load(Ordering::SeqCst);
        Ok(secret(if is_refused { "second" } else { "first" }))
    }

    fn epoch(&self) -> u64 {
        u64::from(self.0.load(Ordering::SeqCst))
    }

    fn refused(&self, _: &Secret) {
        self.0.store(true, Ordering::SeqCst);
    }
}
