//! The settings of the test server.

use std::time::Duration;

use hallpass::{
    TokenRequest, TokenSource as _,
    endpoint::{ClientCredentials, ClientSecretPost},
};
use hallpass_testkit::{AuthorizationServer, AuthorizationServerBuilder, Client};
use reqwest::StatusCode;

use super::pairs::{PairCounts, Setting, SettingSelection, check};
use crate::support::secret;

/// The observations of a server.
struct Observations {
    is_other_client_known: bool,
    lifetime: Duration,
    is_delayed: bool,
    api: StatusCode,
}

fn rows() -> Vec<Setting<AuthorizationServerBuilder, (), Observations>> {
    let row = Setting::<AuthorizationServerBuilder, (), Observations>::new;
    vec![
        row(
            "api_scope",
            |one, ()| one.api_scope("orders.write"),
            |seen| seen.api == StatusCode::FORBIDDEN,
        ),
        row(
            "client",
            |one, ()| one.client(Client::new("other", "s3cr3t")),
            |seen| seen.is_other_client_known,
        ),
        row(
            "latency",
            |one, ()| one.latency(Duration::from_secs(3_600)),
            |seen| seen.is_delayed,
        ),
        row(
            "lifetime",
            |one, ()| one.lifetime(Duration::from_secs(600)),
            |seen| seen.lifetime == Duration::from_secs(600),
        ),
    ]
}

#[tokio::test]
async fn every_two_settings_of_the_test_server_work() {
    let rows = rows();
    let run = async |selection: &SettingSelection<'_, _, _, _>| {
        let builder = AuthorizationServer::builder().client(Client::new("usual", "s3cr3t"));
        let server = selection.set(builder, &()).start().await;
        let call = |id: &str| {
            let post = ClientSecretPost::new(secret("s3cr3t"));
            let source = ClientCredentials::builder(server.token_endpoint(), id, post);
            let source = source.danger_allow_http_on_loopback().build().unwrap();
            async move { source.token(&TokenRequest::default()).await }
        };
        let client = reqwest::Client::new();
        let api = async |token: &str| {
            let api = client.get(server.api_url("/orders"));
            api.bearer_auth(token).send().await.unwrap().status()
        };
        let first = tokio::spawn(call("usual"));
        // A response that is not delayed arrives meanwhile.
        while server.token_request_count() == 0 {
            api("none").await;
        }
        for _ in 0..10 {
            api("none").await;
        }
        let is_delayed = selection.has("latency") && !first.is_finished();
        server.set_latency(Duration::ZERO);
        let usual = call("usual").await.unwrap();
        Ok(Observations {
            is_other_client_known: call("other").await.is_ok(),
            lifetime: usual.lifetime(),
            is_delayed,
            api: api(usual.expose()).await,
        })
    };
    assert_eq!(
        check(("testkit", "AuthorizationServerBuilder"), &rows, &[], run).await,
        PairCounts {
            built: 16,
            refused: 0
        }
    );
}
