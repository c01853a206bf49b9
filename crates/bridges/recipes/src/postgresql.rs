//! Connections to PostgreSQL servers that take a token, as the password or with OAUTHBEARER (RFC 7628).

use std::{error::Error, io};

use hallpass::{AccessToken, TokenRequest, TokenSource, TokenSourceExt as _};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream,
        copy_bidirectional, duplex,
    },
    task::JoinSet,
};
use tokio_postgres::{
    Client, Config, Connection, NoTls, Socket,
    config::SslMode,
    error::SqlState,
    tls::{MakeTlsConnect, NoTlsStream},
};

/// Any error: of the connection, or a `TokenError`.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Connects with a token as the password; once more with another one if the server refuses the first.
pub async fn connect<T>(
    config: &Config,
    tls: T,
    tokens: &dyn TokenSource,
    request: &TokenRequest,
) -> Result<(Client, Connection<Socket, T::Stream>), BoxError>
where
    T: MakeTlsConnect<Socket> + Clone,
{
    let mut config = config.clone();
    let token = tokens.access_token(request).await?;
    token.require_bearer()?;
    let error = match config.password(token.expose()).connect(tls.clone()).await {
        Ok(connected) => return Ok(connected),
        Err(error) => error,
    };
    let other = replacement(tokens, request, &token, error).await?;
    Ok(config.password(other.expose()).connect(tls).await?)
}

/// Connects with a token in OAUTHBEARER, as PostgreSQL 18 takes it; once more with another one if the server refuses the
/// first. `open` opens a connection with TLS.
pub async fn connect_oauth<S, F>(
    config: &Config,
    open: impl Fn() -> F,
    tokens: &dyn TokenSource,
    request: &TokenRequest,
) -> Result<(Client, Connection<DuplexStream, NoTlsStream>), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let token = tokens.access_token(request).await?;
    token.require_bearer()?;
    let error = match connect_over(open().await?, config, &token).await {
        Ok(connected) => return Ok(connected),
        Err(error) => error,
    };
    let other = replacement(tokens, request, &token, error).await?;
    Ok(connect_over(open().await?, config, &other).await?)
}

async fn connect_over<S>(
    server: S,
    config: &Config,
    token: &AccessToken,
) -> Result<(Client, Connection<DuplexStream, NoTlsStream>), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ours, theirs) = duplex(65_536);
    // Dropping it ends the connection to the server.
    let mut relay = JoinSet::new();
    relay.spawn(authenticate(server, theirs, token.clone()));
    // The stream to the server is encrypted already.
    let mut config = config.clone();
    let connected = config.ssl_mode(SslMode::Disable).connect_raw(ours, NoTls);
    let connected = connected.await?;
    relay.detach_all();
    Ok(connected)
}

/// Returns another token if the server refused this one, and otherwise the error.
async fn replacement(
    tokens: &dyn TokenSource,
    request: &TokenRequest,
    token: &AccessToken,
    error: tokio_postgres::Error,
) -> Result<AccessToken, BoxError> {
    let refusals = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    ];
    if error.code().is_some_and(|code| refusals.contains(code)) {
        tokens.invalidate(token);
        let other = tokens.access_token(request).await?;
        if !other.is_same(token) {
            other.require_bearer()?;
            return Ok(other);
        }
    }
    Err(error.into())
}

/// Sends the client's first message and then the token; the client sees only the result. Copies all that follows.
async fn authenticate<S>(
    mut server: S,
    mut client: DuplexStream,
    token: AccessToken,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let startup = body(&mut client).await?;
    server.write_all(&startup).await?;
    let mut answer = message(&mut server).await?;
    if answer[0] == b'R' && answer[5..].starts_with(b"\0\0\0\x0aOAUTHBEARER\0") {
        let response = format!("n,,\x01auth=Bearer {}\x01\x01", token.expose());
        let length = u32::try_from(response.len()).map_err(io::Error::other)?;
        let mut initial = b"OAUTHBEARER\0".to_vec();
        initial.extend(length.to_be_bytes());
        initial.extend(response.as_bytes());
        respond(&mut server, &initial).await?;
        answer = message(&mut server).await?;
        // The server explains a refusal, and reports it after this response.
        if answer[0] == b'R' && answer[5..].starts_with(b"\0\0\0\x0b") {
            respond(&mut server, b"\x01").await?;
            answer = message(&mut server).await?;
        }
    }
    client.write_all(&answer).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Reads a message: its type, its length, its content.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![stream.read_u8().await?];
    message.extend(body(stream).await?);
    Ok(message)
}

/// Reads the length of a message, and its content.
async fn body(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if !(4..65_536).contains(&length) {
        return Err(io::Error::other("a message has no valid length"));
    }
    let mut body = length.to_be_bytes().to_vec();
    body.resize(length as usize, 0);
    stream.read_exact(&mut body[4..]).await?;
    Ok(body)
}

async fn respond(stream: &mut (impl AsyncWrite + Unpin), content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len() + 4).map_err(io::Error::other)?;
    let message = [b"p", &length.to_be_bytes()[..], content].concat();
    stream.write_all(&message).await?;
    stream.flush().await
}
