//! The service: a process that calls an API with the tokens of several clients. It obeys its parent's commands, one a
//! line, and reports on its output in JSON, one object a line; traces, errors and metrics go to standard error.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use hallpass::{
    Clock, SystemClock, Timestamp, TokenRequest, TokenSource as _,
    authorize::Authorizer,
    cache::MemoryTokenStore,
    profiles::{Profiles, Tenants},
    reqwest_ext::RequestBuilderExt as _,
    tower_ext::{GrpcTokenService, TokenLayer},
};
use hallpass_testkit::leak;
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};
use serde_json::json;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::JoinSet,
    time::{self, MissedTickBehavior},
};
use tonic::{Code, transport::Channel};
use tonic_prost::ProstCodec;
use tower::Layer as _;

use crate::{
    ALLOCATOR, AUDIENCES, CLIENTS, PLANTED,
    broken::{assertion, broken},
    ledger::{Micros, now},
    server::{GRPC_METHOD, locked},
};

/// The variables of the process.
pub(crate) const CONFIG: &str = "HALLPASS_SOAK_CONFIG";
pub(crate) const API: &str = "HALLPASS_SOAK_API";
pub(crate) const GRPC: &str = "HALLPASS_SOAK_GRPC";
pub(crate) const RATE: &str = "HALLPASS_SOAK_RATE";
/// Set if there is no Redis.
pub(crate) const IN_MEMORY: &str = "HALLPASS_SOAK_IN_MEMORY";
/// The fault that the service has on purpose, so that a check fails.
pub(crate) const BREAK: &str = "HALLPASS_SOAK_FAULT";

/// The bytes that each call leaks with the fault `memory`.
const LEAK: usize = 64;
/// The time after which an idle connection to the API closes.
const IDLE: Duration = Duration::from_secs(5);
/// The longest time that tasks of a service need to end after its shutdown.
const END: Duration = Duration::from_secs(5);

/// The life of the process; returns false if the environment is not that of one.
pub(crate) fn run() -> bool {
    let Ok(config) = env::var(CONFIG) else {
        return false;
    };
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    recorder.install().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(Process::new(config, metrics).live());
    true
}

struct Process {
    config: String,
    rate: u32,
    broken: String,
    /// Shared by all services of this process, if there is no Redis.
    store: Option<MemoryTokenStore>,
    clock: ShiftedClock,
    metrics: Snapshotter,
    second: Arc<Second>,
}

/// The end of a service's life.
enum End {
    Restart,
    Exit,
}

impl Process {
    fn new(config: String, metrics: Snapshotter) -> Self {
        let number = |name| env::var(name).unwrap().parse().unwrap();
        Self {
            config,
            rate: number(RATE),
            broken: env::var(BREAK).unwrap_or_default(),
            store: env::var_os(IN_MEMORY).map(|_| MemoryTokenStore::default()),
            clock: ShiftedClock::default(),
            metrics,
            second: Arc::default(),
        }
    }

    async fn live(self) {
        let (sender, mut commands) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let lines = io::stdin().lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        loop {
            println!("{}", json!({ "started": now() }));
            let end = self.serve(&mut commands).await;
            let tasks = || Handle::current().metrics().num_alive_tasks();
            let until = Instant::now() + END;
            while tasks() > 0 && Instant::now() < until {
                time::sleep(Duration::from_millis(20)).await;
            }
            let calls = self.second.serial.load(Ordering::Relaxed);
            println!(
                "{}",
                json!({ "ended": now(), "tasks": tasks(), "calls": calls, "allocated": allocated() })
            );
            if matches!(end, End::Exit) {
                return;
            }
        }
    }

    /// Runs one service until a command ends it.
    async fn serve(&self, commands: &mut mpsc::UnboundedReceiver<String>) -> End {
        let service = Arc::new(Service::start(self));
        let mut ticks = time::interval(Duration::from_secs(1) / self.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut seconds = time::interval(Duration::from_secs(1));
        let mut calls = JoinSet::new();
        let end = loop {
            tokio::select! {
                _ = ticks.tick() => {
                    calls.spawn(service.clone().call());
                    while calls.try_join_next().is_some() {}
                }
                _ = seconds.tick() => {
                    println!("{}", self.second.take(Handle::current().metrics().num_alive_tasks()));
                    eprintln!("metrics: {:?}", self.metrics.snapshot().into_vec());
                    self.break_something(&service).await;
                }
                command = commands.recv() => match command.as_deref() {
                    Some("restart") => break End::Restart,
                    Some("plant") => {
                        println!("{}", json!({ "planted": PLANTED }));
                        tracing::info!("planted: {PLANTED}");
                    }
                    Some(shift) => self.clock.shift(shift.parse().unwrap()),
                    None => break End::Exit,
                }
            }
        };
        calls.join_all().await;
        service.tenants.shutdown().await;
        end
    }

    /// Has the fault that `--fault` names.
    async fn break_something(&self, service: &Service) {
        match self.broken.as_str() {
            "task" => drop(tokio::spawn(std::future::pending::<()>())),
            "file" => std::mem::forget(File::open("/dev/null")),
            "file-until-shutdown" => locked(&service.files).extend(File::open("/dev/null")),
            "thread" => drop(thread::spawn(thread::park)),
            "exit" if self.second.serial.load(Ordering::Relaxed) > 100 => std::process::exit(1),
            "log" => {
                let token = service.clients[0]
                    .1
                    .source()
                    .ready_token(&TokenRequest::new());
                tracing::info!(
                    "the token is {:?}",
                    token.map(|token| token.expose().to_owned())
                );
            }
            "assertion" => {
                let assertion = assertion(&self.config).await;
                tracing::info!("the assertion is {}", assertion.expose());
            }
            "requests" => {
                let source = service.clients[0].1.source().clone();
                if let Some(token) = source.ready_token(&TokenRequest::new()) {
                    source.invalidate(&token);
                }
            }
            _ => {}
        }
    }
}

/// The system's clock, with a wall clock that a parent sets.
#[derive(Clone, Debug, Default)]
struct ShiftedClock(Arc<AtomicI64>);

impl ShiftedClock {
    /// Sets the seconds by which the wall clock is ahead.
    fn shift(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn wall(&self) -> SystemTime {
        let seconds = self.0.load(Ordering::Relaxed);
        let shift = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            SystemClock.wall() - shift
        } else {
            SystemClock.wall() + shift
        }
    }
}

/// The calls of the last second.
#[derive(Default)]
struct Second {
    serial: AtomicU64,
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    /// Microseconds.
    latencies: Mutex<Vec<Micros>>,
}

impl Second {
    fn take(&self, tasks: usize) -> serde_json::Value {
        let outcomes = std::mem::take(&mut *locked(&self.outcomes));
        let mut latencies = std::mem::take(&mut *locked(&self.latencies));
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let at = latencies.len() * percent / 100;
            latencies.get(at).copied()
        };
        let latencies = [50, 95, 99].map(percentile);
        json!({
            "second": now(),
            "outcomes": outcomes,
            "latencies": latencies,
            "tasks": tasks,
            "allocated": allocated(),
        })
    }
}

/// Returns the bytes that are allocated in this process. Memory of libraries in C is not counted.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

type Grpc = GrpcTokenService<Channel>;

struct Service {
    tenants: Tenants,
    clients: Vec<(&'static str, Authorizer, Grpc)>,
    http: reqwest::Client,
    api: String,
    second: Arc<Second>,
    /// Each call leaks a little, on purpose.
    leaks: bool,
    /// Files that remain open until its shutdown, on purpose.
    files: Mutex<Vec<File>>,
}

enum CallError {
    /// An injected fault of the API.
    Api,
    Failed(String),
}

impl Service {
    fn start(process: &Process) -> Self {
        let (clock, store) = (process.clock.clone(), process.store.clone());
        let (first, longest) = (Duration::from_millis(250), Duration::from_secs(2));
        let tenants = Tenants::builder()
            .watch(Duration::from_millis(200))
            .cache(move |name, cache| {
                let cache = cache
                    .clock(clock.clone())
                    .backoff(first, longest)
                    .refusal_ttl(longest);
                match &store {
                    Some(store) => cache.store(store.clone(), name),
                    None => cache,
                }
            })
            .load(Profiles::builder().file(&process.config))
            .unwrap();
        let [api, grpc] = [API, GRPC].map(|name| env::var(name).unwrap());
        let channel = Channel::from_shared(grpc.clone()).unwrap().connect_lazy();
        let client = |name: &&'static str| {
            let source = tenants.source(name).unwrap();
            let authorizer = Authorizer::builder(broken(source, &process.broken))
                .allow_origin(&api)
                .allow_origin(&grpc)
                .danger_allow_http_on_loopback()
                .name(name)
                .build()
                .unwrap();
            let layer = TokenLayer::new(authorizer.clone()).connected_to(grpc.parse().unwrap());
            (*name, authorizer, layer.grpc().layer(channel.clone()))
        };
        // Connections of a burst of calls close before the end of a life.
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_idle_timeout(IDLE);
        Self {
            clients: CLIENTS.iter().map(client).collect(),
            http: http.build().unwrap(),
            tenants,
            api,
            second: process.second.clone(),
            leaks: process.broken == "memory",
            files: Mutex::default(),
        }
    }

    /// Calls the API once: each client, each audience, each protocol in turn.
    async fn call(self: Arc<Self>) {
        let serial = self.second.serial.fetch_add(1, Ordering::Relaxed);
        let nth = usize::try_from(serial).unwrap();
        let (name, authorizer, grpc) = &self.clients[nth % CLIENTS.len()];
        let nth = nth / CLIENTS.len();
        let audience = AUDIENCES[nth % AUDIENCES.len()];
        let request = match audience {
            "default" => TokenRequest::new(),
            _ => TokenRequest::new()
                .with_audience(&format!("https://{audience}.example"))
                .unwrap(),
        };
        if self.leaks {
            std::mem::forget(vec![1_u8; LEAK]);
        }
        let start = now();
        let result = if (nth / AUDIENCES.len()).is_multiple_of(2) {
            self.http(authorizer, &request, audience, serial).await
        } else {
            let result = call_grpc(grpc.clone(), &request, audience, serial).await;
            match result {
                // The body of a gRPC request is a stream, which the layer does not send again.
                Err(status) if status.code() == Code::Unauthenticated => {
                    call_grpc(grpc.clone(), &request, audience, serial).await
                }
                result => result,
            }
            .map_err(|status| match status.code() {
                Code::Internal => CallError::Api,
                _ => CallError::Failed(shown(&status)),
            })
        };
        let end = now();
        locked(&self.second.latencies).push(end - start);
        let outcome = match result {
            Ok(()) => "ok",
            Err(CallError::Api) => "fault of the API",
            Err(CallError::Failed(why)) => {
                println!(
                    "{}",
                    json!({ "failed": why, "client": name, "audience": audience, "start": start, "end": end })
                );
                "failed"
            }
        };
        *locked(&self.second.outcomes).entry(outcome).or_default() += 1;
    }

    async fn http(
        &self,
        authorizer: &Authorizer,
        request: &TokenRequest,
        audience: &str,
        serial: u64,
    ) -> Result<(), CallError> {
        let get = self.http.get(format!("{}/api/{audience}", self.api));
        let get = get.header("x-call", serial).header("x-start", now());
        match get.send_with_request(authorizer, request).await {
            Ok(response) => match response.status().as_u16() {
                200 => Ok(()),
                500 => Err(CallError::Api),
                status => Err(CallError::Failed(format!("status {status}"))),
            },
            Err(error) => Err(CallError::Failed(shown(&error))),
        }
    }
}

async fn call_grpc(
    channel: Grpc,
    request: &TokenRequest,
    audience: &str,
    serial: u64,
) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    let ready = grpc.ready().await;
    ready.map_err(tonic::Status::from_error)?;
    let mut message = tonic::Request::new(audience.to_owned());
    message.metadata_mut().insert("x-call", serial.into());
    message.metadata_mut().insert("x-start", now().into());
    message.extensions_mut().insert(request.clone());
    let path = http::uri::PathAndQuery::from_static(GRPC_METHOD);
    let codec = ProstCodec::<String, String>::default();
    grpc.unary(message, path, codec).await.map(drop)
}

/// Writes all that an error shows to standard error, and returns its last cause.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    eprintln!("error: {}", leak::error_chain(error));
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
