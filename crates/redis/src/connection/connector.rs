//! A new connection: TCP, TLS, authentication.

use std::time::Duration;

use hallpass_core::{Secret, SecretSource};
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo,
    aio::MultiplexedConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time,
};

use super::Tls;
use crate::{
    RedisStoreErrorKind as Kind,
    address::{Address, NO_TLS, parse_primary},
    call_error::{CallError, Recovery},
};

/// Username and password, read for each connection.
#[derive(Default)]
pub(crate) struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Box<dyn SecretSource>>,
}

/// The sentinels that know the primary.
pub(crate) struct Sentinels {
    pub(crate) addresses: Vec<Address>,
    pub(crate) service: String,
    pub(crate) credentials: Credentials,
}

/// The settings that all connections share.
pub(crate) struct Connector {
    pub(crate) credentials: Credentials,
    pub(crate) database: i64,
    pub(crate) tls: Tls,
    pub(crate) sentinels: Option<Sentinels>,
    /// Whether other machines may be reached without TLS.
    pub(crate) plain_text: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
}

/// A new connection, and the task that drives it, which ends with the connection.
pub(crate) struct NewConnection {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) driver: JoinHandle<()>,
}

impl Connector {
    /// Connects to the server at this address, or to the primary that the sentinels name. `push` receives the server's
    /// notifications.
    pub(crate) async fn connect(
        &self,
        address: &Address,
        push: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
    ) -> Result<NewConnection, CallError> {
        let config = self.config().set_push_sender(push);
        let connecting = async {
            let primary;
            let mut address = address;
            if let Some(sentinels) = &self.sentinels {
                primary = self.primary(sentinels, address.tls).await?;
                address = &primary;
            }
            self.open(address, &self.credentials, self.database, config)
                .await
        };
        let connected = time::timeout(self.connect_timeout, connecting).await;
        connected.unwrap_or_else(|_| {
            Err(CallError::connection(
                Kind::Unavailable,
                "connecting to Redis took too long",
            ))
        })
    }

    fn config(&self) -> AsyncConnectionConfig {
        // A call ends by the same timeout outside of the library.
        AsyncConnectionConfig::new().set_response_timeout(Some(self.response_timeout))
    }

    /// Returns the first answer of a sentinel.
    async fn primary(&self, sentinels: &Sentinels, tls: bool) -> Result<Address, CallError> {
        let mut last = CallError::connection(Kind::Sentinel, "there is no sentinel");
        // No sentinel may use up the time of the others.
        let share =
            self.connect_timeout / u32::try_from(sentinels.addresses.len() + 1).unwrap_or(1);
        for address in &sentinels.addresses {
            match time::timeout(share, self.ask(sentinels, address)).await {
                Ok(Ok((host, port))) => return Ok(Address { host, port, tls }),
                Ok(Err(error)) => last = error.at_sentinel(),
                Err(_) => {
                    let reason = "the sentinel did not answer in time";
                    last = CallError::connection(Kind::Sentinel, reason);
                }
            }
        }
        Err(last)
    }

    async fn ask(
        &self,
        sentinels: &Sentinels,
        address: &Address,
    ) -> Result<(String, u16), CallError> {
        let credentials = &sentinels.credentials;
        let opened = self.open(address, credentials, 0, self.config()).await?;
        let mut connection = opened.connection;
        let mut command = redis::cmd("SENTINEL");
        command
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&sentinels.service);
        let answer: Option<(String, String)> = command.query_async(&mut connection).await?;
        let unknown = || {
            CallError::connection(
                Kind::Sentinel,
                "the sentinel does not know a primary of this name",
            )
        };
        let (host, port) = answer.ok_or_else(unknown)?;
        parse_primary(&host, &port).ok_or_else(|| {
            CallError::connection(
                Kind::Sentinel,
                "the sentinel named an address of the primary that is not valid",
            )
        })
    }

    /// Opens a connection. Sentinels and nodes of a cluster name addresses too, so each one is checked here. If the
    /// password is refused, it is read once more: it may have been rotated.
    async fn open(
        &self,
        address: &Address,
        credentials: &Credentials,
        database: i64,
        config: AsyncConnectionConfig,
    ) -> Result<NewConnection, CallError> {
        if !self.plain_text && address.is_exposed() {
            return Err(CallError::connection(
                Kind::TlsRequired,
                format!("no connection to {address}, which is not this machine: {NO_TLS}"),
            ));
        }
        let Some(source) = &credentials.password else {
            let settings = settings(credentials, None, database);
            return self.open_with(address, settings, config).await;
        };
        let read = || async {
            let read = source.secret().await;
            read.map_err(|error| {
                CallError::connection(
                    Kind::PasswordSource,
                    format!("the Redis password cannot be read: {error}"),
                )
            })
        };
        let password = read().await?;
        let first = settings(credentials, Some(&password), database);
        let opened = self.open_with(address, first, config.clone()).await;
        if opened.as_ref().err().map(|error| &error.recovery) != Some(&Recovery::ReadPassword) {
            return opened;
        }
        source.refused(&password);
        let other = read().await?;
        if other.matches(&password) {
            return opened;
        }
        let second = settings(credentials, Some(&other), database);
        self.open_with(address, second, config).await
    }

    async fn open_with(
        &self,
        address: &Address,
        settings: RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<NewConnection, CallError> {
        let stream = TcpStream::connect((&*address.host, address.port)).await;
        let stream = stream.map_err(|error| {
            CallError::connection(
                Kind::Unavailable,
                format!("Redis cannot be reached: {}", error.kind()),
            )
        })?;
        // Without it, small commands wait for acknowledgements; a failure costs only time.
        let _ = stream.set_nodelay(true);
        if address.tls {
            let stream = self.tls.connect(&address.host, stream).await?;
            shake_hands(settings, stream, config).await
        } else {
            shake_hands(settings, stream, config).await
        }
    }
}

async fn shake_hands(
    settings: RedisConnectionInfo,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: AsyncConnectionConfig,
) -> Result<NewConnection, CallError> {
    let opened = MultiplexedConnection::new_with_config(&settings, stream, config).await;
    let (connection, driver) = opened?;
    let driver = tokio::spawn(driver);
    Ok(NewConnection { connection, driver })
}

fn settings(
    credentials: &Credentials,
    password: Option<&Secret>,
    database: i64,
) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default()
        .set_db(database)
        .set_protocol(ProtocolVersion::RESP3)
        // Older servers do not know the command, and their ACLs cannot allow it.
        .set_skip_set_lib_name();
    if let Some(username) = &credentials.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password.expose());
    }
    settings
}
