//! A canary is used as the secret and as the token; it must appear only on the wire.

use hallpass::{
    Secret, TokenRequest, TokenSource,
    camall::{Authentication, Camall},
    endpoint::SourceBuilder,
};
use hallpass_testkit::{
    AuthorizationServer, Client,
    leak::{self, Capture},
    raw::{self, RawServer, Reply},
};

use crate::support::{CANARY, ID, builder, hasty, secret};

const TOKEN: &str = "CANARY-token-0123456789";

// covers: F-99, F-101, F-102, C-31, I-14
#[tokio::test]
async fn nothing_that_is_shown_or_traced_holds_secret_or_token() {
    let capture = Capture::start();
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, CANARY).scopes("orders.read"))
        .start()
        .await;
    let mut shown = format!("{server:?} {:?}", secret(CANARY));
    for way in [Authentication::Post, Authentication::Basic] {
        let unbuilt = Camall::builder(ID, secret(CANARY))
            .with_endpoint(SourceBuilder::allow_utf8_credentials)
            .token_endpoint(server.token_endpoint())
            .danger_allow_http_on_loopback()
            .authentication(way);
        shown += &format!("{unbuilt:?} {unbuilt:#?}");
        let source = unbuilt.build().unwrap();
        shown += &format!("{source:?} {source:#?}");
        let token = source.token(&TokenRequest::default()).await.unwrap();
        let header = token.header_value();
        shown += &format!("{token:?} {token:#?} {header:?}");
        for text in [&shown, &capture.text()] {
            leak::assert_clean(text, token.expose());
            leak::assert_clean(text, CANARY);
        }
        // Positive control: the canary was there to be found.
        assert!(leak::find(token.header_value().to_str().unwrap(), token.expose()).is_some());
    }
    let record = server.token_requests().remove(0);
    assert!(leak::find(record.parameter("client_secret").unwrap(), CANARY).is_some());
    leak::assert_clean(&format!("{record:?}"), CANARY);
    // The capture itself works: the HTTP library was traced.
    assert!(capture.text().contains("hyper_util"), "nothing was traced");
}

// covers: F-02, F-33, F-99, F-100, F-101, I-01
#[tokio::test]
async fn no_error_holds_secret_or_token() {
    let whole =
        format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":"soon"}}"#);
    let cut = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{whole}"
    );
    let echo = format!(
        r#"{{"error":"invalid_client","error_description":{}}}"#,
        serde_json::to_string(CANARY).unwrap()
    );
    for reply in [
        raw::json(200, &whole),
        raw::json(200, &whole[..whole.len() - 1]),
        raw::json(200, format!("[{whole}]")),
        raw::json(200, whole.replace("\"Bearer\"", &format!("\"{TOKEN}\""))),
        raw::json(
            200,
            whole.replace("\"soon\"", &format!("1,\"scope\":\"{TOKEN}\\n\"")),
        ),
        raw::json(
            200,
            whole.replace(TOKEN, &format!("{TOKEN}\\r\\nX-Evil: 1")),
        ),
        raw::http(200, &[("content-type", "text/plain")], &whole),
        raw::json(400, &whole),
        raw::json(401, &echo),
        raw::http(403, &[("content-type", "text/html")], &echo),
        raw::http(
            302,
            &[("location", &format!("https://x.example/?token={TOKEN}"))],
            "",
        ),
        Reply::bytes(&cut).then_close(),
        Reply::bytes(&cut).then_reset(),
        Reply::bytes(&cut).then_stall(),
        Reply::bytes(format!("HTTP/1.1 200 {TOKEN}\r\nbad header\r\n\r\n")),
    ] {
        let capture = Capture::start();
        let server = RawServer::always(reply.clone()).await;
        let source = builder(&server.url(&format!("/token?key={TOKEN}")))
            .transport(hasty())
            .build()
            .unwrap();
        let error = source.token(&TokenRequest::default()).await.unwrap_err();
        let shown = leak::error_chain(&error);
        for canary in [CANARY, TOKEN] {
            leak::assert_clean(&shown, canary);
        }
        leak::assert_clean(&capture.text(), CANARY);
        // Positive control: the secret was sent.
        let sent = String::from_utf8(server.requests().remove(0)).unwrap();
        assert!(leak::find(&sent, CANARY).is_some());
    }
}

// covers: F-102
#[test]
fn a_result_with_a_secret_in_it_panics_without_it() {
    let result = || -> Result<Secret, u8> { Ok(secret(CANARY)) };
    let panic = std::panic::catch_unwind(|| result().unwrap_err()).unwrap_err();
    leak::assert_clean(panic.downcast_ref::<String>().unwrap(), CANARY);
}
