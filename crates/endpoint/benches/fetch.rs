//! A cold fetch over loopback, with keep-alive, without TLS, beside a bare reqwest POST with a serde_json parse.
//!
//! The two take turns, a few requests each, so that a slow machine slows both. Client and server share
//! one thread: between two, the scheduler's modes differ by more than what is measured.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::time::Instant;

use hallpass_core::{Secret, TokenRequest, TokenSource as _};
use hallpass_endpoint::{ClientCredentials, ClientSecretPost};
use hallpass_testkit::raw::{self, RawServer};
use serde::Deserialize;

/// Turns that count, after some that warm up, and requests in a turn.
const TURNS: usize = 4_000;
const WARM_UP: usize = 400;
const REQUESTS: u32 = 5;

const BODY: &str =
    "grant_type=client_credentials&scope=orders.read&client_id=orders-service&client_secret=s3cr3t";

#[derive(Deserialize)]
struct Plain {
    access_token: String,
    expires_in: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let answer = format!(
        r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600,"scope":"orders.read"}}"#,
        "x".repeat(900)
    );
    let server = RawServer::always(raw::json(200, answer).unrecorded()).await;
    let url = server.url("/token");
    let secret = ClientSecretPost::new(Secret::new("s3cr3t").unwrap());
    let source = ClientCredentials::builder(&*url, "orders-service", secret)
        .scope("orders.read")
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    let ours = async || {
        let token = source.token(&TokenRequest::default()).await.unwrap();
        assert_eq!(
            (token.expose().len(), token.lifetime().as_secs()),
            (900, 3_600)
        );
    };
    let bare = async || {
        let post = client
            .post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(BODY);
        let answer = post.send().await.unwrap().bytes().await.unwrap();
        let plain: Plain = serde_json::from_slice(&answer).unwrap();
        assert_eq!((plain.access_token.len(), plain.expires_in), (900, 3_600));
    };
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    for turn in 0..WARM_UP + TURNS {
        let (our_time, bare_time) = (time(&ours).await, time(&bare).await);
        if turn >= WARM_UP {
            our_times.push(our_time);
            bare_times.push(bare_time);
        }
    }
    assert_eq!(server.connection_count(), 2, "connections are reused");
    rows::report("fetch/hallpass", rows::median(&mut our_times), "ns");
    rows::report("fetch/reqwest", rows::median(&mut bare_times), "ns");
}

/// Nanoseconds a fetch.
async fn time(fetch: &impl AsyncFn()) -> f64 {
    let began = Instant::now();
    for _ in 0..REQUESTS {
        fetch().await;
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
}
