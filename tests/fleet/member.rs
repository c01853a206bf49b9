//! A process that shares tokens and obeys the commands of its parent, one a line.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hallpass::{
    Secret, TokenRequest, TokenSource as _,
    cache::{CachedTokenSource, LayeredStore, StoreCall, StoreError, StoreLayer},
    endpoint::{ClientCredentials, ClientSecretPost, HttpTransport, Retry},
    redis_store::RedisTokenStore,
};
use hallpass_testkit::RotatingSecret;
use tokio::task::{JoinSet, block_in_place};

use crate::{ENDPOINT, ID, KEY, REDIS, targets::scope};

/// The variables of such a process, beside those of all.
const SECRET: &str = "HALLPASS_FLEET_SECRET";
const NAMESPACE: &str = "HALLPASS_FLEET_NAMESPACE";

const SOURCE_TIMEOUT: Duration = Duration::from_secs(40);

/// The parent's side of the process.
pub(crate) struct Member {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Member {
    /// Starts a process.
    pub(crate) fn start(redis: &str, endpoint: &str, secret: &str, namespace: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .env(REDIS, redis)
            .env(ENDPOINT, endpoint)
            .env(SECRET, secret)
            .env(NAMESPACE, namespace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            commands: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub(crate) fn send(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// Returns the words of the answer to the oldest command.
    pub(crate) fn answer(&mut self) -> Vec<String> {
        let mut line = String::new();
        block_in_place(|| self.answers.read_line(&mut line)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// Ends the process in an orderly way.
    pub(crate) fn end(mut self) {
        drop(self.commands);
        block_in_place(|| self.child.wait()).unwrap();
    }
}

/// The life of the process; returns false if the environment is not that of one.
pub(crate) async fn run() -> bool {
    let variables = [REDIS, ENDPOINT, SECRET, NAMESPACE].map(env::var);
    let [Ok(redis), Ok(endpoint), Ok(first), Ok(namespace)] = variables else {
        return false;
    };
    let secret = RotatingSecret::new(&first);
    let source = ClientCredentials::builder(endpoint, ID, ClientSecretPost::new(secret.clone()));
    // The slowest server of the scenarios takes 20 s.
    let transport = HttpTransport::builder().timeout(SOURCE_TIMEOUT);
    let source = source
        .danger_allow_http_on_loopback()
        .transport(transport.build().unwrap())
        .retry(Retry::new().deadline(SOURCE_TIMEOUT))
        .build()
        .unwrap();
    let redis = RedisTokenStore::builder(redis).keys(Secret::new(KEY).unwrap());
    let Calls(calls) = Calls::default();
    let store = LayeredStore::new(redis.build().unwrap(), Calls(calls.clone()));
    let cache = CachedTokenSource::builder(source).store(store, &namespace);
    // A hundred processes, Redis and the authorization server share a few cores, and answers wait for a core.
    let cache = cache
        .store_start_timeout(Duration::from_secs(10))
        .store_timeout(Duration::from_secs(2));
    let cache = Arc::new(cache.build());
    let default = TokenRequest::new();
    println!("ready");
    let mut commands = io::stdin().lines();
    while let Some(Ok(command)) = block_in_place(|| commands.next()) {
        let start = Instant::now();
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["token"] => {
                let token = cache.token(&default).await;
                let token = token.map_or("-".into(), |token| token.expose().to_owned());
                let (took, calls) = (milliseconds(start), calls.load(Ordering::Relaxed));
                let stats = cache.stats();
                println!(
                    "{token} {took} {calls} {} {}",
                    stats.fetches, stats.store_faults
                );
            }
            ["tokens", keys] => {
                let mut asked = JoinSet::new();
                for number in 0..keys.parse::<usize>().unwrap() {
                    let cache = cache.clone();
                    let scopes = scope(number).parse().unwrap();
                    let request = TokenRequest::new().with_scopes(scopes);
                    asked.spawn(async move { cache.token(&request).await.is_ok() });
                }
                let outcomes = asked.join_all().await;
                let granted = outcomes.iter().filter(|granted| **granted).count();
                let faults = cache.stats().store_faults;
                println!("{granted} {} {faults}", milliseconds(start));
            }
            ["rotate", to] => {
                secret.rotate(to);
                println!("rotated");
            }
            ["refuse"] => {
                cache.invalidate(&cache.token(&default).await.unwrap());
                println!("{}", cache.token(&default).await.unwrap().expose());
            }
            ["cached"] => {
                let token = cache.ready_token(&default);
                println!(
                    "{}",
                    token.map_or("-".into(), |token| token.expose().to_owned())
                );
            }
            _ => println!("unknown"),
        }
    }
    cache.shutdown().await;
    true
}

fn milliseconds(start: Instant) -> u128 {
    start.elapsed().as_millis()
}

/// Counts the calls of a store, without those by which a process that fetches extends its lease.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<AtomicUsize>);

impl StoreLayer for Calls {
    async fn around<T: Send>(
        &self,
        call: StoreCall,
        result: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        if call != StoreCall::Extend {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        result.await
    }
}
