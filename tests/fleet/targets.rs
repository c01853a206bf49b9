//! The targets of a fleet, measured with real processes: `cargo xtask fleet --targets --processes 100`.

use std::time::Duration;

use hallpass_testkit::{AuthorizationServer, Client};

use crate::{ID, SECRET, member::Member, redis_server::RedisServer};

const JOBS: usize = 20;
const KEYS: usize = 50;

/// Measures all targets; returns false if one is missed.
pub(crate) async fn measure(redis: &RedisServer, processes: usize) -> bool {
    let url = redis.text("url");
    let mut met = true;
    println!(
        "| scenario | requests | longest wait | store calls of a waiting process | store faults |"
    );
    println!("|---|---|---|---|---|");
    for latency in [200, 2_000, 4_000, 20_000] {
        met &= cold_start(url, processes, Duration::from_millis(latency)).await;
    }
    met &= jobs(url).await;
    met &= wrong_secret(url, processes).await;
    met &= refused_scope(url, processes).await;
    met &= refused_token(url, processes).await;
    met
}

/// Returns the scope of a further key.
pub(crate) fn scope(key: usize) -> String {
    format!("key{key}")
}

async fn server(latency: Duration) -> AuthorizationServer {
    let scopes: Vec<_> = (0..KEYS).map(scope).collect();
    AuthorizationServer::builder()
        .client(Client::new(ID, SECRET).scopes(&scopes.join(" ")))
        .latency(latency)
        .start()
        .await
}

/// Starts processes, which are ready when this returns.
fn start(
    url: &str,
    server: &AuthorizationServer,
    secret: &str,
    namespace: &str,
    processes: usize,
) -> Vec<Member> {
    let endpoint = server.token_endpoint();
    let member = |_| Member::start(url, &endpoint, secret, namespace);
    let mut members: Vec<_> = (0..processes).map(member).collect();
    for member in &mut members {
        member.answer();
    }
    members
}

/// Sends a command to all processes, and returns the words of their answers.
fn ask(members: &mut [Member], command: &str) -> Vec<Vec<String>> {
    for member in &mut *members {
        member.send(command);
    }
    members.iter_mut().map(Member::answer).collect()
}

fn end(members: Vec<Member>) {
    members.into_iter().for_each(Member::end);
}

fn number(words: &[String], at: usize) -> usize {
    words[at].parse().unwrap()
}

/// Returns the longest wait in milliseconds.
fn longest_wait(answers: &[Vec<String>]) -> usize {
    let waits = answers.iter().map(|words| number(words, 1));
    waits.max().unwrap_or(0)
}

fn sum(answers: &[Vec<String>], at: usize) -> usize {
    answers.iter().map(|words| number(words, at)).sum()
}

async fn cold_start(url: &str, processes: usize, latency: Duration) -> bool {
    let server = server(latency).await;
    let mut members = start(
        url,
        &server,
        SECRET,
        &format!("cold {latency:?}"),
        processes,
    );
    let answers = ask(&mut members, "token");
    end(members);
    let requests = server.token_request_count();
    let failed = answers.iter().filter(|words| words[0] == "-").count();
    let (longest, faults) = (longest_wait(&answers), sum(&answers, 4));
    let waiting = answers.iter().filter(|words| number(words, 3) == 0);
    let calls = waiting.map(|words| number(words, 2)).max();
    let calls = calls.unwrap_or(0);
    println!(
        "| cold start, server latency {latency:?} | {requests} | {longest} ms | {calls} | {faults} |"
    );
    requests == 1 && failed == 0 && calls <= 12
}

async fn jobs(url: &str) -> bool {
    let server = server(Duration::from_millis(200)).await;
    let (mut longest, mut most) = (0, 0);
    for job in 0..JOBS {
        let mut members = start(url, &server, SECRET, "jobs", 1);
        let answers = ask(&mut members, "token");
        end(members);
        if job > 0 {
            longest = longest.max(number(&answers[0], 1));
            most = most.max(number(&answers[0], 2));
        }
    }
    let requests = server.token_request_count();
    println!(
        "| {JOBS} jobs one after another, from the second on | {requests} | {longest} ms | {most} | |"
    );
    requests == 1 && most <= 4
}

async fn wrong_secret(url: &str, processes: usize) -> bool {
    let server = server(Duration::from_millis(50)).await;
    let mut members = start(url, &server, "a-wrong-secret", "wrong", processes);
    let command = format!("tokens {KEYS}");
    let mut met = true;
    for round in 1..=2 {
        let answers = ask(&mut members, &command);
        let requests = server.token_request_count();
        let (longest, faults) = (longest_wait(&answers), sum(&answers, 2));
        println!(
            "| wrong secret, {KEYS} keys, round {round} | {requests} | {longest} ms | | {faults} |"
        );
        met &= requests == round && answers.iter().all(|words| words[0] == "0");
        if round == 1 {
            // The time for which a refusal is cached.
            tokio::time::sleep(Duration::from_secs(31)).await;
        }
    }
    ask(&mut members, &format!("rotate {SECRET}"));
    let before = server.token_request_count();
    let answers = ask(&mut members, &command);
    end(members);
    let requests = server.token_request_count() - before;
    let (longest, faults) = (longest_wait(&answers), sum(&answers, 2));
    println!("| the secret is corrected, {KEYS} keys | {requests} | {longest} ms | | {faults} |");
    let all = KEYS.to_string();
    met && requests == KEYS && longest <= 2_000 && answers.iter().all(|words| words[0] == all)
}

async fn refused_scope(url: &str, processes: usize) -> bool {
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, SECRET))
        .latency(Duration::from_millis(200));
    let server = server.start().await;
    let mut members = start(url, &server, SECRET, "scope", processes);
    let answers = ask(&mut members, "tokens 1");
    end(members);
    let requests = server.token_request_count();
    let (longest, faults) = (longest_wait(&answers), sum(&answers, 2));
    println!("| a scope that is not allowed | {requests} | {longest} ms | | {faults} |");
    requests == 1 && answers.iter().all(|words| words[0] == "0")
}

async fn refused_token(url: &str, processes: usize) -> bool {
    let server = server(Duration::from_millis(200)).await;
    let mut members = start(url, &server, SECRET, "refused", processes);
    ask(&mut members, "token");
    tokio::time::sleep(Duration::from_secs(1)).await;
    members[0].send("refuse");
    let new = members[0].answer();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let cached = ask(&mut members, "cached");
    end(members);
    let with_new = cached.iter().filter(|words| **words == new).count();
    let requests = server.token_request_count();
    println!(
        "| a 401 in one process: {with_new} of {processes} have the new token within a second | {requests} | | | |"
    );
    requests == 2 && with_new == processes
}
