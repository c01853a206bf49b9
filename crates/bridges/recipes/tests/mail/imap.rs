use async_imap::Client;
use hallpass_core::{ErrorKind, TokenError, TokenRequest};
use hallpass_testkit::{FakeTokens, StaticSource, leak};
use recipes::imap::{Mechanism, login};
use tokio::net::{TcpListener, TcpStream};

use crate::{CANARY, Lines, Peer, bound_token, decoded, explanation, lines};

const DEFAULT: TokenRequest = TokenRequest::new();
const USER: &str = "orders,a=b@shop.example";

/// Starts a server that refuses some tokens, and connects to it.
async fn start(refused: &'static [&'static str]) -> (Client<TcpStream>, Lines) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let recorded = Lines::default();
    let lines = recorded.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(Peer::new(stream, &lines), refused).await;
    });
    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client.read_response().await.unwrap().unwrap();
    (client, recorded)
}

async fn serve(mut peer: Peer, refused: &[&str]) {
    peer.send("* OK mail.example").await;
    loop {
        let line = peer.line().await;
        let Some((tag, command)) = line.split_once(' ') else {
            return;
        };
        peer.record(command);
        peer.send("+ ").await;
        let response = decoded(&peer.line().await);
        peer.record(&response);
        if refused.iter().any(|token| response.contains(token)) {
            peer.send(&format!("+ {}", explanation())).await;
            let response = decoded(&peer.line().await);
            peer.record(&response);
            peer.send(&format!("{tag} NO the token is not valid")).await;
        } else {
            peer.send(&format!("{tag} OK logged in")).await;
        }
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let cases = [
        (
            Mechanism::OAuthBearer,
            [
                "AUTHENTICATE OAUTHBEARER",
                "n,a=orders=2Ca=3Db@shop.example,|auth=Bearer fake-1||",
                "|",
                "AUTHENTICATE OAUTHBEARER",
                "n,a=orders=2Ca=3Db@shop.example,|auth=Bearer fake-2||",
            ],
        ),
        (
            Mechanism::XOAuth2,
            [
                "AUTHENTICATE XOAUTH2",
                "user=orders,a=b@shop.example|auth=Bearer fake-1||",
                "",
                "AUTHENTICATE XOAUTH2",
                "user=orders,a=b@shop.example|auth=Bearer fake-2||",
            ],
        ),
    ];
    for (mechanism, expected) in cases {
        let (client, recorded) = start(&["fake-1"]).await;
        let tokens = FakeTokens::valid();
        let source = tokens.clone();
        // In a task, so that the future must be `Send`.
        let task = async move {
            login(client, mechanism, USER, &source, &DEFAULT)
                .await
                .map(drop)
        };
        tokio::spawn(task).await.unwrap().unwrap();
        assert_eq!(lines(&recorded), expected);
        assert_eq!(tokens.calls(), 2);
    }
}

#[tokio::test]
async fn a_second_refusal_is_an_error() {
    for mechanism in [Mechanism::OAuthBearer, Mechanism::XOAuth2] {
        let (client, recorded) = start(&["fake-"]).await;
        let tokens = FakeTokens::valid();
        let error = login(client, mechanism, USER, &tokens, &DEFAULT)
            .await
            .unwrap_err();
        let error = error.downcast_ref::<async_imap::error::Error>().unwrap();
        assert!(matches!(error, async_imap::error::Error::No(_)));
        assert_eq!(lines(&recorded).len(), 6);
        assert_eq!(tokens.calls(), 2);
    }
}

#[tokio::test]
async fn without_a_token_there_is_no_login() {
    let (client, recorded) = start(&[]).await;
    let tokens = FakeTokens::failing(ErrorKind::Unavailable);
    let error = login(client, Mechanism::OAuthBearer, USER, &tokens, &DEFAULT).await;
    let error = error.unwrap_err();
    assert!(error.downcast_ref::<TokenError>().unwrap().is_transient());
    assert!(lines(&recorded).is_empty());
}

#[tokio::test]
async fn errors_show_no_token() {
    for mechanism in [Mechanism::OAuthBearer, Mechanism::XOAuth2] {
        let (client, recorded) = start(&[CANARY]).await;
        let tokens = StaticSource::new(CANARY);
        let error = login(client, mechanism, USER, &tokens, &DEFAULT)
            .await
            .unwrap_err();
        leak::assert_clean(&leak::error_chain(&*error), CANARY);
        // The same token is not sent again.
        assert_eq!(lines(&recorded).len(), 3);
        assert!(leak::find(&lines(&recorded)[1], CANARY).is_some());
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_sent() {
    let (client, recorded) = start(&[]).await;
    let login = login(client, Mechanism::XOAuth2, USER, &bound_token(), &DEFAULT).await;
    let error = login.unwrap_err();
    let error = error.downcast_ref::<TokenError>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(lines(&recorded).is_empty());
}
