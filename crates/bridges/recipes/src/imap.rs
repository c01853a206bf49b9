//! Logins at IMAP servers that take tokens (OAUTHBEARER of RFC 7628, XOAUTH2).

use std::{error::Error, fmt::Debug, mem};

use async_imap::{Authenticator, Client, Session};
use hallpass::{AccessToken, TokenRequest, TokenSource, TokenSourceExt as _};
use tokio::io::{AsyncRead, AsyncWrite};

/// A SASL mechanism that takes a token. A server lists those that it supports in its capabilities.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Mechanism {
    /// RFC 7628.
    OAuthBearer,
    /// The older mechanism of Google and Microsoft.
    XOAuth2,
}

/// The responses of a login: the next one, and the one after a challenge, which explains a refusal.
struct Responses(String, &'static str);

impl Responses {
    fn new(mechanism: Mechanism, user: &str, token: &AccessToken) -> Self {
        let token = token.expose();
        match mechanism {
            Mechanism::OAuthBearer => {
                let user = user.replace('=', "=3D").replace(',', "=2C");
                Self(
                    format!("n,a={user},\x01auth=Bearer {token}\x01\x01"),
                    "\x01",
                )
            }
            Mechanism::XOAuth2 => Self(format!("user={user}\x01auth=Bearer {token}\x01\x01"), ""),
        }
    }
}

impl Authenticator for Responses {
    type Response = String;

    fn process(&mut self, _: &[u8]) -> String {
        mem::replace(&mut self.0, self.1.to_owned())
    }
}

/// Logs in with a token; once more with another one if the server refuses the first. Read the server's greeting before.
pub async fn login<T>(
    client: Client<T>,
    mechanism: Mechanism,
    user: &str,
    tokens: &dyn TokenSource,
    request: &TokenRequest,
) -> Result<Session<T>, Box<dyn Error + Send + Sync>>
where
    T: AsyncRead + AsyncWrite + Unpin + Debug + Send,
{
    let name = match mechanism {
        Mechanism::OAuthBearer => "OAUTHBEARER",
        Mechanism::XOAuth2 => "XOAUTH2",
    };
    let token = tokens.access_token(request).await?;
    token.require_bearer()?;
    let responses = Responses::new(mechanism, user, &token);
    let (error, client) = match client.authenticate(name, responses).await {
        Ok(session) => return Ok(session),
        Err(failure) => failure,
    };
    if !matches!(error, async_imap::error::Error::No(_)) {
        return Err(error.into());
    }
    tokens.invalidate(&token);
    let other = tokens.access_token(request).await?;
    if other.is_same(&token) {
        return Err(error.into());
    }
    other.require_bearer()?;
    let responses = Responses::new(mechanism, user, &other);
    let session = client.authenticate(name, responses).await;
    session.map_err(|(error, _)| error.into())
}
