//! Tokens in the handshakes of websockets (RFC 6455).

use std::{error::Error, pin::pin, time::Duration};

use futures_util::StreamExt as _;
use hallpass::{
    AccessToken,
    authorize::{Authorizer, Decision, Permit, RequestHead, Target},
};
use tokio::{net::TcpStream, time::sleep};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::{Method, Uri, header::AUTHORIZATION},
    },
};

/// The time after which an open connection asks for a token again.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// The same for tokens that expire soon, or at once (`expires_in` of 0).
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Any error: of the websocket, or a `TokenError`.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An open connection with the token of its handshake.
#[derive(Debug)]
pub struct Connection {
    /// The websocket.
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    token: AccessToken,
    permit: Permit,
}

impl Connection {
    /// Connects with a token; once more with another one if the server refuses the first.
    pub async fn open(authorizer: &Authorizer, url: &str) -> Result<Self, BoxError> {
        let mut request = url.into_client_request()?;
        // A handshake is an HTTP request: `wss` is HTTPS.
        let http: Uri = url.replacen("ws", "http", 1).parse()?;
        let target = Target::from_uri(&http);
        let head = RequestHead::new(request.method(), target, http.path(), request.headers());
        let permit = authorizer.permit(head, None)?;
        let mut permit = permit.ok_or("the origin of the websocket is not allowed")?;
        let mut token = permit.token().await?;
        loop {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, token.header_value().clone());
            // For a token that is bound to a key.
            if let Some(proof) = permit.proof(&token, &Method::GET, http.path()).await? {
                headers.insert("dpop", proof.header_value().clone());
            }
            let response = match connect_async(request.clone()).await {
                Ok((socket, _)) => {
                    return Ok(Self {
                        socket,
                        token,
                        permit,
                    });
                }
                Err(tungstenite::Error::Http(response)) => response,
                Err(error) => return Err(error.into()),
            };
            let other =
                match permit.evaluate_response(&token, response.status(), response.headers()) {
                    Decision::Retry(_) => permit.replacement(&token).await?,
                    _ => None,
                };
            token = other.ok_or(tungstenite::Error::Http(response))?;
        }
    }

    /// Waits until the source has another token, or this one has expired: time to open another connection.
    async fn outdated(permit: &Permit, token: &AccessToken) {
        let interval = token.lifetime() / 32;
        let interval = interval.clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL);
        loop {
            sleep(interval).await;
            let expired = permit.is_expired(token);
            if expired
                || permit
                    .token()
                    .await
                    .is_ok_and(|other| !other.is_same(token))
            {
                return;
            }
        }
    }
}

/// Passes all messages to `handle`, until the server closes the connection. Before its token expires, the connection is
/// replaced by one with a new token.
pub async fn receive(
    authorizer: &Authorizer,
    url: &str,
    mut handle: impl FnMut(Message),
) -> Result<(), BoxError> {
    let mut connection = Connection::open(authorizer, url).await?;
    loop {
        let Connection {
            socket,
            token,
            permit,
        } = &mut connection;
        {
            let mut outdated = pin!(Connection::outdated(permit, token));
            loop {
                tokio::select! {
                    message = socket.next() => match message {
                        Some(message) => handle(message?),
                        None => return Ok(()),
                    },
                    () = &mut outdated => break,
                }
            }
        }
        let next = Connection::open(authorizer, url).await?;
        let mut old = std::mem::replace(&mut connection, next);
        // It has no further use, so that a failure changes nothing.
        let _ = old.socket.close(None).await;
    }
}
