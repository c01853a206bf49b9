//! The schedule of faults, rotations, revocations and commands, drawn from the seed.

use std::{
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time,
};

use crate::{
    COMMAND, PLANTED,
    fault_proxy::Fault,
    ledger::{Micros, SECOND, Statement, now},
    redis_server::RedisServer,
    scan::{ERRORS_OF_COMMAND, OUTPUT_OF_COMMAND, Scanner},
    server::{HttpFault, Ports, World, locked},
    setup::Setup,
    without_interrupt,
};

/// The kinds of events of the schedule.
pub(crate) const LANES: [&str; 4] = ["faults", "rotations", "revocations", "commands"];

/// An event of the schedule, for the picture.
#[derive(Clone)]
pub(crate) struct Mark {
    pub(crate) lane: &'static str,
    pub(crate) name: String,
    pub(crate) start: Micros,
    pub(crate) end: Micros,
}

pub(crate) struct Director {
    pub(crate) world: Arc<World>,
    pub(crate) setup: Setup,
    pub(crate) scanner: Arc<Scanner>,
    pub(crate) redis: Mutex<Option<RedisServer>>,
    pub(crate) ports: Ports,
    pub(crate) command: String,
    pub(crate) seed: u64,
    /// Lines for the service.
    pub(crate) service: mpsc::UnboundedSender<String>,
    pub(crate) marks: Mutex<Vec<Mark>>,
    pub(crate) tracks: Mutex<JoinSet<()>>,
}

/// A fault of the network or of the server, in the order of the first cycle before it is shuffled.
#[derive(Clone, Copy)]
enum Trouble {
    Delay,
    Stall,
    Reset,
    Truncate,
    Refuse,
    Unavailable,
    TooManyRequests,
}

#[derive(Clone, Copy)]
enum Rotation {
    Secret,
    Key,
    ClientCertificate,
    ServerCertificate,
    Authority,
    ClockAhead,
    ClockBehind,
    Redis,
    Restart,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Delay,
    Trouble::Stall,
    Trouble::Reset,
    Trouble::Truncate,
    Trouble::Refuse,
    Trouble::Unavailable,
    Trouble::TooManyRequests,
];

const ROTATIONS: [Rotation; 9] = [
    Rotation::Restart,
    Rotation::Secret,
    Rotation::Key,
    Rotation::ClientCertificate,
    Rotation::ServerCertificate,
    Rotation::Authority,
    Rotation::ClockAhead,
    Rotation::ClockBehind,
    Rotation::Redis,
];

impl Director {
    /// Starts the schedule.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut tracks = locked(&self.tracks);
        tracks.spawn(self.clone().troubles());
        tracks.spawn(self.clone().rotations());
        tracks.spawn(self.clone().revocations());
        tracks.spawn(self.clone().commands());
        tracks.spawn(self.clone().lateness());
    }

    /// Notes when this machine is too busy to run a task in time.
    async fn lateness(self: Arc<Self>) {
        const INTERVAL: Duration = Duration::from_millis(50);
        loop {
            let start = Instant::now();
            time::sleep(INTERVAL).await;
            if start.elapsed() > 4 * INTERVAL {
                self.world.ledger().late();
            }
        }
    }

    /// Ends the schedule and all faults. Returns the number of its parts that had ended before, by a fault of this program.
    pub(crate) async fn stop(&self) -> usize {
        let mut tracks = std::mem::take(&mut *locked(&self.tracks));
        let ended_early = std::iter::from_fn(|| tracks.try_join_next()).count();
        tracks.shutdown().await;
        self.world.network_fault.send_replace(Fault::None);
        self.world.refuses.send_replace(false);
        *locked(&self.world.http_fault) = HttpFault::None;
        ended_early
    }

    fn random(&self, track: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_add(track))
    }

    fn mark(&self, lane: &'static str, name: impl Into<String>, start: Micros) {
        let mark = Mark {
            lane,
            name: name.into(),
            start,
            end: now(),
        };
        locked(&self.marks).push(mark);
    }

    async fn troubles(self: Arc<Self>) {
        let mut random = self.random(1);
        let mut cycle = Vec::new();
        loop {
            time::sleep(milliseconds(random.u64(1_500..4_000))).await;
            if cycle.is_empty() {
                cycle = TROUBLES.to_vec();
                random.shuffle(&mut cycle);
            }
            let length = milliseconds(random.u64(500..4_000));
            let start = now();
            self.world.ledger().fault(true);
            let name = match cycle.pop().unwrap_or(Trouble::Delay) {
                Trouble::Delay => {
                    let delay = milliseconds(random.u64(200..2_000));
                    self.network(Fault::Delay(delay), length).await;
                    "delay"
                }
                Trouble::Stall => {
                    self.network(Fault::Stall, length).await;
                    "stall"
                }
                Trouble::Reset => {
                    self.network(Fault::Reset, length).await;
                    "reset"
                }
                Trouble::Truncate => {
                    self.network(Fault::Truncate, length).await;
                    "truncated response"
                }
                Trouble::Refuse => {
                    self.world.refuses.send_replace(true);
                    // Connections that exist end too, as in an outage.
                    self.network(Fault::Reset, length).await;
                    self.world.refuses.send_replace(false);
                    "connection refused"
                }
                Trouble::Unavailable => {
                    self.http(HttpFault::Unavailable, length).await;
                    "503"
                }
                Trouble::TooManyRequests => {
                    let wait = HttpFault::TooManyRequests(random.u64(1..4));
                    self.http(wait, length).await;
                    "429"
                }
            };
            self.world.ledger().fault(false);
            self.mark("faults", name, start);
        }
    }

    async fn network(&self, fault: Fault, length: Duration) {
        self.world.network_fault.send_replace(fault);
        time::sleep(length).await;
        self.world.network_fault.send_replace(Fault::None);
        // A delayed connection continues after its pause.
        if let Fault::Delay(delay) = fault {
            time::sleep(delay).await;
        }
    }

    async fn http(&self, fault: HttpFault, length: Duration) {
        *locked(&self.world.http_fault) = fault;
        time::sleep(length).await;
        *locked(&self.world.http_fault) = HttpFault::None;
    }

    async fn rotations(self: Arc<Self>) {
        let mut random = self.random(2);
        let mut cycle = Vec::new();
        loop {
            time::sleep(milliseconds(random.u64(2_000..4_500))).await;
            if cycle.is_empty() {
                cycle = ROTATIONS.to_vec();
                random.shuffle(&mut cycle);
            }
            let start = now();
            let hard = random.bool();
            let name = match cycle.pop().unwrap_or(Rotation::Secret) {
                Rotation::Secret => {
                    let client = *random.choice(&["basic", "post"]).unwrap_or(&"basic");
                    self.rotate(client, hard).await;
                    "secret"
                }
                Rotation::Key => {
                    self.rotate("key", hard).await;
                    "private key"
                }
                Rotation::ClientCertificate => {
                    self.rotate("certificate", hard).await;
                    "client certificate"
                }
                Rotation::ServerCertificate => {
                    self.setup.rotate_server_certificate(&self.world);
                    "server certificate"
                }
                Rotation::Authority => {
                    self.setup.replace_authority();
                    // The service polls the file, and applies it at the second poll.
                    time::sleep(Duration::from_secs(2)).await;
                    self.setup.rotate_server_certificate(&self.world);
                    self.setup.end_authority();
                    "authority"
                }
                Rotation::ClockAhead => {
                    self.shift(3_600).await;
                    "clock ahead"
                }
                Rotation::ClockBehind => {
                    self.shift(-3_600).await;
                    "clock behind"
                }
                Rotation::Redis => {
                    if !self.restart_redis().await {
                        continue;
                    }
                    "Redis restart"
                }
                Rotation::Restart => {
                    self.say("restart");
                    "service restart"
                }
            };
            self.mark("rotations", name, start);
        }
    }

    async fn rotate(&self, client: &'static str, hard: bool) {
        let write = self.setup.rotate(&self.world, client, hard);
        if hard {
            // The server refuses the old credential before the service has the new one.
            time::sleep(Duration::from_millis(500)).await;
        }
        write();
    }

    /// Sets the service's wall clock for a while. Entries of the store are then from another time.
    async fn shift(&self, seconds: i64) {
        self.world.ledger().lose_store(now() + 4 * SECOND);
        self.say(&seconds.to_string());
        time::sleep(Duration::from_secs(3)).await;
        self.say("0");
    }

    fn say(&self, command: &str) {
        // The service may have ended.
        let _ = self.service.send(command.to_owned());
    }

    async fn restart_redis(self: &Arc<Self>) -> bool {
        let Some(mut redis) = locked(&self.redis).take() else {
            return false;
        };
        self.world.ledger().lose_store(Micros::MAX);
        let replaced = spawn_blocking(move || {
            redis.kill();
            redis.replace()
        });
        *locked(&self.redis) = Some(replaced.await.unwrap());
        // Processes try again after a pause of the circuit breaker, which lasts ten seconds.
        self.world.ledger().lose_store(now() + 12 * SECOND);
        true
    }

    async fn revocations(self: Arc<Self>) {
        let mut random = self.random(3);
        loop {
            time::sleep(milliseconds(random.u64(1_000..3_000))).await;
            let keys = self.world.ledger().keys();
            if let Some(key) = random.choice(keys)
                && self.world.ledger().revoke(&key)
            {
                self.mark("revocations", key.to_string(), now());
            }
        }
    }

    async fn commands(self: Arc<Self>) {
        let api = format!("http://127.0.0.1:{}/api/default", self.ports.http);
        let words: [(&str, Vec<&str>); 3] = [
            ("token", vec!["token"]),
            (
                "exec",
                vec!["exec", "--", "sh", "-c", "echo ${#ACCESS_TOKEN}"],
            ),
            ("request", vec!["request", "GET", &api]),
        ];
        for (name, arguments) in words.iter().cycle() {
            time::sleep(Duration::from_secs(2)).await;
            let start = now();
            let mut command = self.hallpass();
            command.args(arguments);
            let Ok(Ok(output)) = spawn_blocking(move || command.output()).await else {
                self.world
                    .ledger()
                    .violate(Statement::Commands, format!("{name} did not start"));
                return;
            };
            let stderr = String::from_utf8_lossy(&output.stderr);
            self.scanner.scan(ERRORS_OF_COMMAND, &stderr);
            if *name != "token" {
                let stdout = String::from_utf8_lossy(&output.stdout);
                self.scanner.scan(OUTPUT_OF_COMMAND, &stdout);
            }
            let mut ledger = self.world.ledger();
            ledger.count("runs of the command");
            if !output.status.success() {
                ledger.count("runs of the command that failed");
                if !ledger.had_fault_since(start) {
                    let last = stderr.lines().last().unwrap_or_default();
                    ledger.violate(Statement::Commands, format!("{name}: {last}"));
                }
            }
            drop(ledger);
            self.mark("commands", *name, start);
        }
    }

    /// Returns the command with an empty environment but for its settings.
    fn hallpass(&self) -> Command {
        let mut command = Command::new(&self.command);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.setup.folder())
            .env("HALLPASS_CONFIG", self.setup.path("config.toml"))
            .args(["-vv", "--profile", COMMAND])
            .stdin(Stdio::null());
        without_interrupt(&mut command);
        command
    }

    /// Puts the planted text into every channel, for the control of the search.
    pub(crate) fn plant(&self) {
        // A wait that the server demanded in the last fault, which the command obeys, and the command's own back-off.
        const LONGEST_WAIT: Duration = Duration::from_secs(15);
        self.say("plant");
        self.plant_with(["token", "--profile", PLANTED, "--no-cache"]);
        let until = Instant::now() + LONGEST_WAIT;
        while !self.plant_with(["exec", "--", "echo", PLANTED]) && Instant::now() < until {
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs the command, and searches its output; returns true if it succeeded.
    fn plant_with(&self, arguments: [&str; 4]) -> bool {
        let mut command = self.hallpass();
        let Ok(output) = command.args(arguments).output() else {
            return false;
        };
        let [stdout, stderr] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        self.scanner.scan(OUTPUT_OF_COMMAND, &stdout);
        self.scanner.scan(ERRORS_OF_COMMAND, &stderr);
        output.status.success()
    }
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}
