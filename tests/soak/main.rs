//! The whole stack as a service uses it, with faults, for any length of time: `cargo xtask soak --minutes 10`.
//!
//! One process has an authorization server behind a proxy that injects faults, and an API that checks each token. It
//! starts the service, another process that calls the API with the tokens of several clients, and runs the command
//! `hallpass` beside it. The schedule of faults, rotations, revocations and restarts is drawn from a seed. It writes a
//! page with a picture of the run, and exits with an error if a statement does not hold.

#![allow(clippy::unwrap_used)]

mod assertions;
mod broken;
mod checks;
mod director;
#[path = "../shared/fault_proxy.rs"]
mod fault_proxy;
mod ledger;
mod lives;
#[allow(dead_code)]
#[path = "../shared/redis_server.rs"]
mod redis_server;
mod remains;
mod report;
mod samples;
mod scan;
mod server;
mod service;
mod setup;
#[path = "../shared/tls_server.rs"]
mod tls_server;

use std::{
    env,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{sync::mpsc, task::block_in_place, time};

use broken::FAULTS;
use director::Director;
use ledger::{Key, Micros, now};
use redis_server::RedisServer;
use remains::End;
use samples::Sample;
use scan::{LOG_OF_SERVICE, OUTPUT_OF_SERVICE, Scanner};
use server::{Ports, World, locked};
use setup::Setup;

/// Counts the memory that the service's process has allocated.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// The clients of the service: each is a profile, with another way to authenticate.
const CLIENTS: [&str; 4] = ["basic", "post", "key", "certificate"];
const AUDIENCES: [&str; 3] = ["default", "a", "b"];
/// The client of the command.
const COMMAND: &str = "command";
/// A part of every secret.
const MARKER: &str = "CANARY-5oak";
/// The longest time from the service's input closing to its exit: calls in progress end first.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// The parts of a run that need Redis.
const NEEDS_REDIS: &str =
    "tokens shared with other processes, encrypted entries, restarts of Redis";
/// The text that each search must find.
const PLANTED: &str = "PLANTED-c0ntr0l-7d1e";

struct Arguments {
    span: Duration,
    seed: u64,
    rate: u32,
    report: PathBuf,
    command: String,
    broken: String,
    /// The file for the service's traces, errors and metrics.
    log: Option<PathBuf>,
}

fn main() -> ExitCode {
    if service::run() {
        return ExitCode::SUCCESS;
    }
    let Some(arguments) = arguments() else {
        eprintln!(
            "error: an unknown flag or value\nusage: soak --minutes N --command PATH [--report PATH] [--seed N] [--rate CALLS-A-SECOND] [--log PATH] \
             [--fault {}]",
            FAULTS.join("|")
        );
        return ExitCode::FAILURE;
    };
    if let Some(minutes) = broken::minutes(&arguments.broken, arguments.span) {
        eprintln!(
            "error: `--fault {}` needs `--minutes {minutes}` or more: a shorter run does not measure the growth",
            arguments.broken
        );
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::spawn(run(arguments)).await.unwrap() })
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments {
        span: Duration::from_secs(60),
        seed: fastrand::u64(..1_000_000),
        rate: 40,
        report: "target/soak/report.html".into(),
        command: String::new(),
        broken: String::new(),
        log: None,
    };
    let mut words = env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next()?;
        match flag.as_str() {
            "--minutes" => {
                let minutes: f64 = value.parse().ok()?;
                arguments.span = Duration::try_from_secs_f64(60.0 * minutes).ok()?;
            }
            "--seed" => arguments.seed = value.parse().ok()?,
            "--rate" => arguments.rate = value.parse().ok()?,
            "--report" => arguments.report = value.into(),
            "--command" => arguments.command = value,
            "--fault" if FAULTS.contains(&value.as_str()) => arguments.broken = value,
            "--log" => arguments.log = Some(value.into()),
            _ => return None,
        }
    }
    (!arguments.command.is_empty() && arguments.rate > 0).then_some(arguments)
}

async fn run(arguments: Arguments) -> ExitCode {
    println!("seed: {}", arguments.seed);
    let redis = block_in_place(|| RedisServer::start(&[]));
    if redis.is_none() {
        println!("NOT TESTED without Redis: {NEEDS_REDIS}");
    }
    let with_redis = redis.is_some();
    let scanner = Arc::<Scanner>::default();
    let setup = Setup::new(scanner.clone());
    let world = World::new(arguments.seed, setup.acceptor(), scanner.clone());
    let ports = world.serve().await.unwrap();
    setup.configure(&world, ports.issuer, redis.as_ref());
    let mut service = Service::start(&arguments, &setup, ports, redis.is_none(), &world, &scanner);
    let director = Arc::new(Director {
        world: world.clone(),
        setup,
        scanner: scanner.clone(),
        redis: Mutex::new(redis),
        ports,
        command: arguments.command.clone(),
        seed: arguments.seed,
        service: service.commands.clone(),
        marks: Mutex::default(),
        tracks: Mutex::default(),
    });
    let start = now();
    director.start();
    let is_whole = tokio::select! {
        () = time::sleep(arguments.span) => true,
        _ = tokio::signal::ctrl_c() => false,
    };
    if !is_whole {
        println!("interrupted: the report covers the time so far");
    }
    let end = now();
    let ended_early = director.stop().await;
    block_in_place(|| director.plant());
    let status = block_in_place(|| service.end());
    let run = checks::Run {
        seed: arguments.seed,
        rate: arguments.rate,
        start,
        end,
        with_redis,
        ended_early,
        status,
        samples: locked(&service.log.samples).clone(),
        ends: locked(&service.log.ends).clone(),
        marks: locked(&director.marks).clone(),
    };
    let checks = run.checks(&world.ledger(), &scanner);
    let page = report::page(&run, &world.ledger(), checks, &scanner);
    let folder = arguments.report.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&arguments.report, &page.html).unwrap();
    println!("{}\nwritten to {}", page.text, arguments.report.display());
    if page.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The reports of the service.
#[derive(Default)]
struct Log {
    samples: Mutex<Vec<Sample>>,
    /// The number of starts of the service.
    starts: AtomicU64,
    /// The remains of each shutdown.
    ends: Mutex<Vec<End>>,
}

/// The service's process.
struct Service {
    child: Child,
    commands: mpsc::UnboundedSender<String>,
    log: Arc<Log>,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    fn start(
        arguments: &Arguments,
        setup: &Setup,
        ports: Ports,
        in_memory: bool,
        world: &Arc<World>,
        scanner: &Arc<Scanner>,
    ) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .env(service::CONFIG, setup.path("config.toml"))
            .env(service::API, format!("http://127.0.0.1:{}", ports.http))
            .env(service::GRPC, format!("http://127.0.0.1:{}", ports.grpc))
            .env(service::RATE, arguments.rate.to_string())
            .env(service::BREAK, &arguments.broken)
            // Servers on this machine bypass it; its password must not be shown either.
            .env(
                "HTTPS_PROXY",
                format!("http://proxy:{MARKER}-proxy@127.0.0.1:9"),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if in_memory {
            command.env(service::IN_MEMORY, "");
        }
        without_interrupt(&mut command);
        let mut child = command.spawn().unwrap();
        let (commands, mut lines) = mpsc::unbounded_channel::<String>();
        let mut stdin = child.stdin.take().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let log = Arc::<Log>::default();
        let (pid, reports, world, searched) =
            (child.id(), log.clone(), world.clone(), scanner.clone());
        let threads = vec![
            thread::spawn(move || {
                while let Some(line) = lines.blocking_recv().filter(|line| !line.is_empty()) {
                    let _ = writeln!(stdin, "{line}");
                }
            }),
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    searched.scan(OUTPUT_OF_SERVICE, &line);
                    reports.read(&line, pid, &world);
                }
            }),
            {
                let (scanner, log) = (scanner.clone(), arguments.log.as_ref());
                let log = log.map(|path| File::create(path).unwrap());
                thread::spawn(move || scanner.drain(LOG_OF_SERVICE, stderr, log))
            },
        ];
        Self {
            child,
            commands,
            log,
            threads,
        }
    }

    /// Ends the process in an orderly way or, if that takes too long, at once; reads the rest of its output.
    fn end(&mut self) -> ExitStatus {
        // An empty line closes its input.
        let _ = self.commands.send(String::new());
        let until = Instant::now() + SHUTDOWN;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                self.child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(20));
        };
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        status
    }
}

/// Keeps a Ctrl-C in the terminal from a child: it is for this process, which then ends its children.
fn without_interrupt(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
}

impl Log {
    fn read(&self, line: &str, pid: u32, world: &World) {
        let report: Value = serde_json::from_str(line).unwrap_or_default();
        let number = |name: &str| report[name].as_u64();
        let figure = |name| number(name).unwrap_or(0);
        let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
        if let Some(at) = number("second") {
            let [memory, threads, sockets, files] = samples::of_process(pid);
            let total = world.ledger().total("token requests");
            let outcomes = serde_json::from_value(report["outcomes"].clone());
            let latency = |nth: usize| report["latencies"][nth].as_u64();
            locked(&self.samples).push(Sample {
                at,
                life: self.starts.load(Ordering::Relaxed),
                outcomes: outcomes.unwrap_or_default(),
                latencies: [0, 1, 2].map(latency),
                token_requests: total,
                resources: [
                    memory,
                    figure("allocated") / 1_024,
                    figure("tasks"),
                    threads,
                    sockets,
                    files,
                ],
            });
        } else if number("started").is_some() {
            self.starts.fetch_add(1, Ordering::Relaxed);
            world.ledger().start();
        } else if number("ended").is_some() {
            locked(&self.ends).push(End {
                tasks: figure("tasks"),
                at: figure("ended"),
                calls: figure("calls"),
                bytes: figure("allocated"),
            });
        } else if let (Some(start), Some(end)) = (number("start"), number("end")) {
            let key = Key {
                client: text("client"),
                audience: text("audience"),
            };
            let span: (Micros, Micros) = (start, end);
            world.ledger().failed(&key, span, &text("failed"));
        }
    }
}
