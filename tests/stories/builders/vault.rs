//! The settings of a secret in Vault.

use std::time::Duration;

use hallpass::{
    SecretSource as _,
    secrets::{VaultSecret, VaultSecretBuilder},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    pairs::{Chosen, Setting, assert_complete, check},
    run::World,
    server::{Answer, Request},
};
use crate::support::secret;

/// The observations of a secret that is read three times, the third time later by its clock.
struct Seen {
    /// True if a server with TLS, and one without, are reached with the settings alone.
    is_tls_trusted: bool,
    is_plain_http_allowed: bool,
    /// The requests of the first two times.
    requests: Vec<Request>,
    is_read_later: bool,
    /// The time that a call took with a server that says nothing.
    silence: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);

fn rows() -> Vec<Setting<VaultSecretBuilder, World, Seen>> {
    let row = Setting::<VaultSecretBuilder, World, Seen>::new;
    vec![
        row(
            "add_root_certificates_pem",
            |one, world| one.add_root_certificates_pem(world.authority.clone()),
            |seen| seen.is_tls_trusted,
        ),
        row(
            "clock",
            |one, world| one.clock(world.clock.clone()),
            |seen| seen.is_read_later,
        ),
        row(
            "danger_allow_http_on_loopback",
            |one, _| one.danger_allow_http_on_loopback(),
            |seen| seen.is_plain_http_allowed,
        ),
        row(
            "lifetime",
            |one, _| one.lifetime(Duration::ZERO),
            |seen| seen.requests.len() == 2,
        ),
        row(
            "namespace",
            |one, _| one.namespace("team"),
            |seen| seen.requests[0].header("x-vault-namespace") == Some("team"),
        ),
        row(
            "timeout",
            |one, _| one.timeout(Duration::from_secs(3)),
            |seen| seen.silence == Duration::from_secs(3),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_two_settings_of_a_vault_secret_work() {
    let rows = rows();
    let names = rows.iter().map(|row| row.name);
    assert_complete(names, "secrets", "VaultSecretBuilder");
    let world = World::new().await;
    let server = &world.server;
    let body = json!({ "data": { "data": { "key": "CANARY" }, "metadata": { "version": 1 } } });
    let runs = std::cell::Cell::new(0);
    let run = async |chosen: &Chosen<'_, _, _, _>| {
        let [run, silent] = [1, 2].map(|next| runs.get() + next);
        runs.set(silent);
        let new = |scheme: &str, mount: u32| {
            let address = format!("{scheme}://{}", server.address);
            let token = secret("hvs.CANARY");
            VaultSecret::builder(address, token, mount.to_string(), "orders", "key")
        };
        let set_answer = |run, is_missing| {
            let answer = Answer {
                body: Some(body.to_string()),
                is_missing,
                ..Answer::default()
            };
            server.set_answer(run, answer);
        };
        set_answer(run, false);
        set_answer(silent, true);
        let is_reached = async |scheme| match chosen.set(new(scheme, run), &world).build() {
            Ok(source) => source.secret().await.is_ok(),
            Err(_) => false,
        };
        let [is_tls_trusted, is_plain_http_allowed] =
            [is_reached("https").await, is_reached("http").await];

        let build = |run| {
            let builder = new("http", run).danger_allow_http_on_loopback();
            chosen.set(builder, &world).build()
        };
        let source = build(run).map_err(|error| error.to_string())?;
        let before = server.requests(run).len();
        let read = async || {
            source.secret().await.unwrap();
            server.requests(run).split_off(before)
        };
        read().await;
        let requests = read().await;
        world.clock.advance(10 * MINUTE);
        let is_read_later = read().await.len() > requests.len();

        let source = build(silent).unwrap();
        let started = Instant::now();
        source.secret().await.unwrap_err();
        Ok(Seen {
            is_tls_trusted,
            is_plain_http_allowed,
            requests,
            is_read_later,
            silence: started.elapsed(),
        })
    };
    assert_eq!(check(&rows, &[], run).await, [36, 0]);
}
