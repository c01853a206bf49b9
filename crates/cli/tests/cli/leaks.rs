//! A canary is used as the secret and as the token; no output of a failing run may contain it.

use hallpass_testkit::{
    leak,
    raw::{self, RawServer, Reply},
};

use crate::support::{SECRET, User, profile, shown};

const TOKEN: &str = "CANARY-token-9876543210";

/// Each way to request a token, with the most verbose output.
const WAYS: [&str; 5] = [
    "token -vv",
    "token -vv --format json --refresh",
    "exec -vv -- env",
    "request -vv GET http://127.0.0.1:9/",
    "doctor -vv",
];

// covers: F-99, F-100, F-101, I-01, I-14
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_run_prints_neither_secret_nor_token() {
    let whole =
        format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":"soon"}}"#);
    let echo = format!(r#"{{"error":"invalid_client","error_description":"wrong: {SECRET}"}}"#);
    for (reply, code) in [
        (raw::json(200, &whole), 7),
        (raw::json(200, &whole[..whole.len() - 1]), 7),
        (
            raw::json(200, whole.replace("\"Bearer\"", &format!("\"{TOKEN}\""))),
            7,
        ),
        (raw::http(200, &[("content-type", "text/plain")], &whole), 7),
        (raw::json(401, &echo), 4),
        (
            raw::json(400, echo.replace("invalid_client", "invalid_request")),
            4,
        ),
        (
            raw::http(
                302,
                &[("location", &format!("https://x.example/?token={TOKEN}"))],
                "",
            ),
            3,
        ),
        (
            Reply::bytes(format!("HTTP/1.1 200 {TOKEN}\r\nbad header\r\n\r\n")),
            5,
        ),
    ] {
        let server = RawServer::always(reply).await;
        let user = User::new();
        user.profile(&profile(
            "default",
            &server.url(&format!("/token?key={TOKEN}")),
        ));
        for way in WAYS {
            let run = user.run(way);
            let run = if way.contains("doctor") {
                run.failure()
            } else {
                run.code(code)
            };
            for canary in [SECRET, TOKEN] {
                leak::assert_clean(&shown(&run), canary);
            }
        }
        // Positive control: the secret was sent, in the Basic header.
        let sent = server
            .requests()
            .into_iter()
            .map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(
            sent.filter(|sent| leak::find(sent, SECRET).is_some())
                .count()
                >= WAYS.len() - 1
        );
    }
}

// covers: F-99, F-101
#[tokio::test(flavor = "multi_thread")]
async fn a_successful_run_prints_only_what_is_requested() {
    let whole = format!(
        r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600,"scope":"orders.read"}}"#
    );
    let server = RawServer::always(raw::json(200, &whole)).await;
    let user = User::new();
    user.profile(&profile("default", &server.url("/token")));
    for way in [
        "doctor -vv",
        "doctor --json",
        "cache list --json",
        "cache list",
    ] {
        user.prints("token");
        let run = user.run(way).success();
        for canary in [SECRET, TOKEN] {
            leak::assert_clean(&shown(&run), canary);
        }
    }
    let run = user.run("token -vv --refresh").success();
    leak::assert_clean(&crate::support::stderr(&run), TOKEN);
    // Positive control.
    assert!(leak::find(&crate::support::stdout(&run), TOKEN).is_some());
}
