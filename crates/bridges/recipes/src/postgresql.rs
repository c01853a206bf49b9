//! Connections to PostgreSQL servers that take a token as the password.

use std::error::Error;

use hallpass::{AccessToken, TokenRequest, TokenSource, TokenSourceExt as _};
use tokio_postgres::{Client, Config, Connection, Socket, error::SqlState, tls::MakeTlsConnect};

/// Connects with a token as the password; once more with another one if the server refuses the first.
pub async fn connect<T>(
    config: &Config,
    tls: T,
    tokens: &dyn TokenSource,
    request: &TokenRequest,
) -> Result<(Client, Connection<Socket, T::Stream>), Box<dyn Error + Send + Sync>>
where
    T: MakeTlsConnect<Socket> + Clone,
{
    let token = tokens.access_token(request).await?;
    let error = match with_password(config, &token).connect(tls.clone()).await {
        Ok(connected) => return Ok(connected),
        Err(error) => error,
    };
    if !is_refusal(&error) {
        return Err(error.into());
    }
    tokens.invalidate(&token);
    let other = tokens.access_token(request).await?;
    if other.is_same(&token) {
        return Err(error.into());
    }
    Ok(with_password(config, &other).connect(tls).await?)
}

fn with_password(config: &Config, token: &AccessToken) -> Config {
    let mut config = config.clone();
    config.password(token.expose());
    config
}

fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let refusals = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    ];
    error.code().is_some_and(|code| refusals.contains(code))
}
