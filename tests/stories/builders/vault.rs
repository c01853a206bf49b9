//! The settings of a secret in Vault.

use std::time::Duration;

use hallpass::{
    SecretSource as _,
    secrets::{VaultSecret, VaultSecretBuilder},
};
use hallpass_testkit::ManualClock;
use serde_json::json;
use tokio::time::Instant;

use super::{
    pairs::{PairCounts, Setting, SettingSelection, check},
    run::World,
    server::{Answer, Request},
};
use crate::support::secret;

/// The observations of a secret that is used three times.
struct Observations {
    /// True if a server with TLS, and one without, are reached with the settings alone.
    is_tls_trusted: bool,
    is_plain_http_allowed: bool,
    first: Request,
    /// True if it is read again after two hours by the clock that is set, and after ten minutes by all clocks.
    is_read_later: [bool; 2],
    /// The time that a call took with a server that says nothing.
    silence: Duration,
}

const HOUR: Duration = Duration::from_secs(3_600);

fn rows() -> Vec<Setting<VaultSecretBuilder, World, Observations>> {
    let row = Setting::<VaultSecretBuilder, World, Observations>::new;
    vec![
        row(
            "add_root_certificates_pem",
            |one, world| one.add_root_certificates_pem(world.authority.clone()),
            |seen| seen.is_tls_trusted,
        ),
        row(
            "clock",
            |one, world| one.clock(world.clock.clone()),
            |seen| seen.is_read_later[0],
        ),
        row(
            "danger_allow_http_on_loopback",
            |one, _| one.danger_allow_http_on_loopback(),
            |seen| seen.is_plain_http_allowed,
        ),
        row(
            "lifetime",
            |one, _| one.lifetime(HOUR),
            |seen| !seen.is_read_later[1],
        ),
        row(
            "namespace",
            |one, _| one.namespace("team"),
            |seen| seen.first.header("x-vault-namespace") == Some("team"),
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
    let world = World::new().await;
    let server = &world.server;
    let body = json!({ "data": { "data": { "key": "CANARY" }, "metadata": { "version": 1 } } });
    let runs = std::cell::Cell::new(0);
    let run = async |selection: &SettingSelection<'_, _, _, _>| {
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
        let is_reached = async |scheme| match selection.set(new(scheme, run), &world).build() {
            Ok(source) => source.secret().await.is_ok(),
            Err(_) => false,
        };
        let [is_tls_trusted, is_plain_http_allowed] =
            [is_reached("https").await, is_reached("http").await];

        let clock = ManualClock::new();
        let build = |run| {
            let builder = new("http", run).danger_allow_http_on_loopback();
            selection.set(builder.clock(clock.clone()), &world).build()
        };
        let source = build(run).map_err(|error| error.to_string())?;
        let read = async || {
            let before = server.requests(run).len();
            source.secret().await.unwrap();
            server.requests(run).split_off(before)
        };
        let first = read().await.remove(0);
        world.clock.advance(2 * HOUR);
        let is_read_by_clock = !read().await.is_empty();
        for clock in [&clock, &world.clock] {
            clock.advance(HOUR / 6);
        }
        let is_read_by_all = !read().await.is_empty();

        let source = build(silent).unwrap();
        let started = Instant::now();
        source.secret().await.unwrap_err();
        Ok(Observations {
            is_tls_trusted,
            is_plain_http_allowed,
            first,
            is_read_later: [is_read_by_clock, is_read_by_all],
            silence: started.elapsed(),
        })
    };
    assert_eq!(
        check(("secrets", "VaultSecretBuilder"), &rows, &[], run).await,
        PairCounts {
            built: 36,
            refused: 0
        }
    );
}
