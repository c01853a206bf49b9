//! Mail through SMTP servers that take tokens (XOAUTH2).

use std::error::Error;

use hallpass::{AccessToken, TokenRequest, TokenSource, TokenSourceExt as _};
use lettre::{
    AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{self, AsyncSmtpTransportBuilder, authentication::Mechanism},
};

/// Sends a message with a token; once more with another one if the server refuses the first.
pub async fn send(
    server: &AsyncSmtpTransportBuilder,
    user: &str,
    tokens: &dyn TokenSource,
    request: &TokenRequest,
    message: &Message,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let token = tokens.access_token(request).await?;
    token.require_bearer()?;
    let Err(error) = send_with(server, user, &token, message).await else {
        return Ok(());
    };
    if !is_refusal(&error) {
        return Err(error.into());
    }
    tokens.invalidate(&token);
    let other = tokens.access_token(request).await?;
    if other.is_same(&token) {
        return Err(error.into());
    }
    other.require_bearer()?;
    Ok(send_with(server, user, &other, message).await?)
}

async fn send_with(
    server: &AsyncSmtpTransportBuilder,
    user: &str,
    token: &AccessToken,
    message: &Message,
) -> Result<(), smtp::Error> {
    let server = server.clone().authentication(vec![Mechanism::Xoauth2]);
    let server = server.credentials((user, token.expose()).into());
    let transport = server.build::<Tokio1Executor>();
    transport.send(message.clone()).await.map(|_| ())
}

/// Returns true if the server refused the token. It does so before it takes the message, so that the message was not
/// sent.
fn is_refusal(error: &smtp::Error) -> bool {
    // Some servers explain the refusal in a challenge first, which lettre (0.11.23) does not answer.
    let challenged = error.is_client() && error.to_string().contains("challenge");
    challenged || error.status().is_some_and(|code| code.to_string() == "535")
}
