//! Real processes that share tokens through a real Redis.

use std::{
    env,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use hallpass::{
    ErrorKind, TokenRequest, TokenSource as _,
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientSecretBasic},
    redis_store::RedisTokenStore,
};
use hallpass_testkit::{AuthorizationServer, Client, RotatingSecret};

use crate::{
    shared::redis_server::RedisServer,
    support::{CANARY, ID, builder, secret},
};

/// The variables of a process that fetches one token and exits.
const REDIS: &str = "HALLPASS_TEST_REDIS";
const ENDPOINT: &str = "HALLPASS_TEST_ENDPOINT";
const PROCESSES: usize = 20;
const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";
const TEST: &str = "shared_tokens::twenty_processes_send_one_request";

/// The life of each process: it prints its token.
async fn job(redis: String, endpoint: &str) {
    let store = RedisTokenStore::builder(redis).keys(secret(KEY));
    let tokens = CachedTokenSource::builder(builder(endpoint).build().unwrap())
        .store(store.build().unwrap(), "issuer client")
        // The machine may be busy.
        .store_timeout(Duration::from_secs(5))
        .build();
    let token = tokens.token(&TokenRequest::default()).await.unwrap();
    println!("token: {}", token.expose());
    tokens.shutdown().await;
}

#[tokio::test]
async fn twenty_processes_send_one_request() {
    if let (Ok(redis), Ok(endpoint)) = (env::var(REDIS), env::var(ENDPOINT)) {
        return job(redis, &endpoint).await;
    }
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, CANARY))
        .latency(Duration::from_secs(1))
        .start()
        .await;
    let start = || {
        Command::new(env::current_exe().unwrap())
            .args([TEST, "--exact", "--nocapture"])
            .env(REDIS, redis.text("url"))
            .env(ENDPOINT, server.token_endpoint())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let processes: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    let ended = tokio::task::spawn_blocking(|| {
        let ended = processes
            .into_iter()
            .map(std::process::Child::wait_with_output);
        ended.collect::<Result<Vec<_>, _>>()
    });
    let ended = ended.await.unwrap().unwrap();
    let issued = server.issued_tokens();
    assert_eq!(issued.len(), 1);
    let line = format!("token: {}", issued[0]);
    for process in ended {
        let text = String::from_utf8_lossy(&process.stdout);
        let errors = String::from_utf8_lossy(&process.stderr);
        assert!(text.lines().any(|shown| shown == line), "{text}\n{errors}");
    }
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_sent_once_by_a_fleet() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let client = Client::new(ID, CANARY);
    let server = AuthorizationServer::builder().client(client).start().await;
    let password = Arc::new(RotatingSecret::new("wrong"));
    let process = || {
        let store = RedisTokenStore::builder(redis.text("url")).keys(secret(KEY));
        let authentication = ClientSecretBasic::new(password.clone());
        let source = ClientCredentials::builder(server.token_endpoint(), ID, authentication)
            .allow_utf8_credentials()
            .danger_allow_http_on_loopback()
            .build();
        CachedTokenSource::builder(source.unwrap())
            .store(store.build().unwrap(), "issuer client")
            .store_timeout(Duration::from_secs(5))
            .build()
    };
    let fleet: Vec<_> = (0..10).map(|_| process()).collect();
    for process in &fleet {
        let refused = process.token(&TokenRequest::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CredentialsRefused);
        process.shutdown().await;
    }
    assert_eq!(server.token_request_count(), 1);
    password.rotate(CANARY);
    for _ in &fleet {
        let process = process();
        process.token(&TokenRequest::default()).await.unwrap();
        process.shutdown().await;
    }
    assert_eq!(server.token_request_count(), 2);
}
