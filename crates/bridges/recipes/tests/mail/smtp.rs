use hallpass_core::{ErrorKind, TokenError, TokenRequest};
use hallpass_testkit::{FakeTokens, StaticSource, leak};
use lettre::{
    AsyncSmtpTransport, Message, Tokio1Executor, transport::smtp::AsyncSmtpTransportBuilder,
};
use recipes::smtp::send;
use tokio::net::TcpListener;

use crate::{CANARY, Lines, Peer, bound_token, decoded, explanation, lines};

const DEFAULT: TokenRequest = TokenRequest::new();

/// The way in which a server refuses a token.
#[derive(Clone, Copy)]
enum Refusal {
    /// With an explanation in a challenge first.
    Explained,
    AtOnce,
}

/// Starts a server that refuses some tokens.
async fn start(
    refused: &'static [&'static str],
    refusal: Refusal,
) -> (AsyncSmtpTransportBuilder, Lines) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let recorded = Lines::default();
    let lines = recorded.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(Peer::new(stream, &lines), refused, refusal).await;
        }
    });
    let server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1");
    (server.port(port), recorded)
}

async fn serve(mut peer: Peer, refused: &[&str], refusal: Refusal) {
    peer.send("220 mail.example").await;
    loop {
        let line = peer.line().await;
        match line.split(' ').next().unwrap() {
            "" => return,
            "EHLO" => peer.send("250-mail.example\r\n250 AUTH XOAUTH2").await,
            "AUTH" => {
                let response = decoded(line.strip_prefix("AUTH XOAUTH2 ").unwrap());
                peer.record(&response);
                if !refused.iter().any(|token| response.contains(token)) {
                    peer.send("235 2.7.0 accepted").await;
                    continue;
                }
                if let Refusal::Explained = refusal {
                    peer.send(&format!("334 {}", explanation())).await;
                    peer.line().await;
                }
                peer.send("535 5.7.8 the token is not valid").await;
            }
            "DATA" => {
                peer.send("354 go on").await;
                while peer.line().await != "." {}
                peer.record("a message");
                peer.send("250 2.0.0 queued").await;
            }
            _ => peer.send("250 2.0.0 ok").await,
        }
    }
}

fn message() -> Message {
    Message::builder()
        .from("orders@shop.example".parse().unwrap())
        .to("customer@home.example".parse().unwrap())
        .body("Your order is on its way.".to_owned())
        .unwrap()
}

const USER: &str = "orders@shop.example";
const FIRST: &str = "user=orders@shop.example|auth=Bearer fake-1||";
const SECOND: &str = "user=orders@shop.example|auth=Bearer fake-2||";

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_message_sent_once() {
    for refusal in [Refusal::Explained, Refusal::AtOnce] {
        let (server, recorded) = start(&["fake-1"], refusal).await;
        let tokens = FakeTokens::valid();
        for _ in 0..2 {
            let (server, source) = (server.clone(), tokens.clone());
            // In a task, so that the future must be `Send`.
            let task = async move { send(&server, USER, &source, &DEFAULT, &message()).await };
            tokio::spawn(task).await.unwrap().unwrap();
        }
        let expected = [FIRST, SECOND, "a message", SECOND, "a message"];
        assert_eq!(lines(&recorded), expected);
        assert_eq!(tokens.calls(), 2);
    }
}

#[tokio::test]
async fn a_second_refusal_is_an_error() {
    let (server, recorded) = start(&["fake-"], Refusal::AtOnce).await;
    let tokens = FakeTokens::valid();
    let sent = send(
        &server,
        "orders@shop.example",
        &tokens,
        &DEFAULT,
        &message(),
    )
    .await;
    let error = sent.unwrap_err();
    let error = error
        .downcast_ref::<lettre::transport::smtp::Error>()
        .unwrap();
    assert!(error.is_permanent());
    assert_eq!(lines(&recorded), [FIRST, SECOND]);
}

#[tokio::test]
async fn without_a_token_there_is_no_login() {
    let (server, recorded) = start(&[], Refusal::AtOnce).await;
    let tokens = FakeTokens::failing(ErrorKind::Unavailable);
    let sent = send(
        &server,
        "orders@shop.example",
        &tokens,
        &DEFAULT,
        &message(),
    )
    .await;
    assert!(
        sent.unwrap_err()
            .downcast_ref::<TokenError>()
            .unwrap()
            .is_transient()
    );
    assert!(lines(&recorded).is_empty());
}

#[tokio::test]
async fn errors_show_no_token() {
    let (server, recorded) = start(&[CANARY], Refusal::Explained).await;
    let tokens = StaticSource::new(CANARY);
    let sent = send(
        &server,
        "orders@shop.example",
        &tokens,
        &DEFAULT,
        &message(),
    )
    .await;
    let shown = leak::error_chain(&*sent.unwrap_err());
    leak::assert_clean(&shown, CANARY);
    // The same token is not sent again.
    assert_eq!(lines(&recorded).len(), 1);
    assert!(leak::find(&lines(&recorded)[0], CANARY).is_some());
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_sent() {
    let (server, recorded) = start(&[], Refusal::AtOnce).await;
    let sent = send(&server, USER, &bound_token(), &DEFAULT, &message()).await;
    let error = sent.unwrap_err();
    let error = error.downcast_ref::<TokenError>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(lines(&recorded).is_empty());
}
