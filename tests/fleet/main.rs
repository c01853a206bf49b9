//! Real processes that share tokens through a real Redis behind a proxy that injects faults:
//! `cargo xtask fleet --processes 50 --minutes 1`, and with `--targets` without faults.
//!
//! It prints the requests at the authorization server, the commands that Redis ran, the waits of callers and the
//! injected faults, and exits with an error if a call failed.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../shared/fault_proxy.rs"]
mod fault_proxy;
mod member;
mod proxy;
#[allow(dead_code)]
#[path = "../shared/redis_server.rs"]
mod redis_server;
mod targets;

use std::{
    env,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use hallpass::{
    Secret, TokenRequest, TokenSource as _,
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientSecretPost},
    redis_store::RedisTokenStore,
};
use hallpass_testkit::{AuthorizationServer, Client};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use proxy::Proxy;
use redis_server::RedisServer;

const ID: &str = "orders-service";
const SECRET: &str = "a-secret-of-this-example";
const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";
/// The variables of a process of the fleet.
const REDIS: &str = "HALLPASS_FLEET_REDIS";
const ENDPOINT: &str = "HALLPASS_FLEET_ENDPOINT";
const SECONDS: &str = "HALLPASS_FLEET_SECONDS";
/// The lifetime of tokens, so that a minute has several.
const LIFETIME: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    if let (Ok(redis), Ok(endpoint), Ok(seconds)) =
        (env::var(REDIS), env::var(ENDPOINT), env::var(SECONDS))
    {
        process(redis, &endpoint, seconds.parse().unwrap()).await;
        return ExitCode::SUCCESS;
    }
    if member::run().await {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [processes, flag] = arguments.as_slice()
        && flag == "--targets"
    {
        return targets(processes.parse().unwrap()).await;
    }
    let (processes, minutes, faults) = match arguments.as_slice() {
        [processes, minutes] => (processes, minutes, true),
        [processes, minutes, flag] if flag == "--without-faults" => (processes, minutes, false),
        _ => {
            eprintln!("usage: processes PROCESSES [--targets | MINUTES [--without-faults]]");
            return ExitCode::FAILURE;
        }
    };
    let (processes, minutes): (usize, f64) = (processes.parse().unwrap(), minutes.parse().unwrap());
    let span = Duration::from_secs_f64(60.0 * minutes);
    fleet(processes, span, faults).await
}

/// The life of each process: it calls every 50 ms, then prints calls, failed calls and the longest wait in milliseconds.
async fn process(redis: String, endpoint: &str, seconds: u64) {
    let store = RedisTokenStore::builder(redis).keys(Secret::new(KEY).unwrap());
    let authentication = ClientSecretPost::new(Secret::new(SECRET).unwrap());
    let source = ClientCredentials::builder(endpoint, ID, authentication);
    let source = source.danger_allow_http_on_loopback().build().unwrap();
    let tokens = CachedTokenSource::builder(source)
        .store(store.build().unwrap(), "issuer client")
        .build();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut calls, mut failed, mut longest) = (0, 0, Duration::ZERO);
    while Instant::now() < end {
        let start = Instant::now();
        let token = tokens.token(&TokenRequest::new()).await;
        calls += 1;
        failed += u32::from(token.is_err());
        longest = longest.max(start.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokens.shutdown().await;
    println!("{calls} {failed} {}", longest.as_millis());
}

async fn targets(processes: usize) -> ExitCode {
    let Some(redis) = RedisServer::start(&[]) else {
        return ExitCode::FAILURE;
    };
    if targets::measure(&redis, processes).await {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: a target is missed");
    ExitCode::FAILURE
}

async fn fleet(processes: usize, span: Duration, faults: bool) -> ExitCode {
    let Some(redis) = RedisServer::start(&[]) else {
        return ExitCode::FAILURE;
    };
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, SECRET))
        .lifetime(LIFETIME)
        .latency(Duration::from_secs(1))
        .start()
        .await;
    let port = u16::try_from(redis.number("port")).unwrap();
    let proxy = Proxy::start(port, faults).await.unwrap();
    let (from, to) = (format!(":{port}/"), format!(":{}/", proxy.port));
    let url = redis.text("url").replace(&from, &to);
    let start = || {
        Command::new(env::current_exe().unwrap())
            .env(REDIS, &url)
            .env(ENDPOINT, server.token_endpoint())
            .env(SECONDS, span.as_secs().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..processes).map(|_| start()).collect();
    let ended = tokio::task::spawn_blocking(|| {
        let ended = children.into_iter().map(Child::wait_with_output);
        ended.collect::<Result<Vec<_>, _>>()
    });
    let (mut calls, mut failed, mut longest) = (0, 0, 0);
    for ended in ended.await.unwrap().unwrap() {
        let text = String::from_utf8_lossy(&ended.stdout);
        let figures: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
        let [its_calls, its_failed, its_longest] = figures[..] else {
            eprintln!("error: a process ended early: {}", ended.status);
            return ExitCode::FAILURE;
        };
        (calls, failed, longest) = (
            calls + its_calls,
            failed + its_failed,
            longest.max(its_longest),
        );
    }
    let [delayed, stalled, reset] = proxy.faults();
    println!("processes: {processes}, for {span:?}, with tokens of {LIFETIME:?}");
    println!(
        "requests at the authorization server: {}",
        server.token_request_count()
    );
    println!("calls: {calls}, failed: {failed}, longest wait: {longest} ms");
    println!("connections delayed: {delayed}, stalled: {stalled}, reset: {reset}");
    println!("commands of Redis:\n{}", commands(&redis, port).await);
    if failed > 0 {
        eprintln!("error: {failed} calls failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Returns the server's statistics of commands, one a line.
async fn commands(redis: &RedisServer, port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let password = redis.text("default_password");
    let text = format!("AUTH {password}\r\nINFO commandstats\r\nQUIT\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"));
    let lines = lines.filter_map(|line| line.split_once(",usec=").map(|(line, _)| line));
    lines.collect::<Vec<_>>().join("\n")
}
