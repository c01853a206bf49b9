//! The connections of a TCP proxy that injects faults.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time,
};

/// The fault of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A pause.
    Delay(Duration),
    /// A pause until the next fault.
    Stall,
    Reset,
    /// The end of the connection within the next response.
    Truncate,
}

/// The length of a response that is truncated.
const TRUNCATED: usize = 40;

/// Forwards a connection to a port of this machine, with the faults that the channel names.
pub(crate) async fn forward(mut client: TcpStream, to: u16, mut faults: watch::Receiver<Fault>) {
    let limit = AtomicUsize::new(usize::MAX);
    let mut relay = Box::pin(relay(&mut client, to, &limit));
    loop {
        let fault = *faults.borrow_and_update();
        match fault {
            Fault::None => limit.store(usize::MAX, Ordering::Relaxed),
            Fault::Delay(time) => time::sleep(time).await,
            Fault::Stall if faults.changed().await.is_ok() => continue,
            Fault::Stall => return,
            Fault::Reset => {
                drop(relay);
                let _ = client.set_zero_linger();
                return;
            }
            Fault::Truncate => limit.store(TRUNCATED, Ordering::Relaxed),
        }
        tokio::select! {
            _ = &mut relay => return,
            changed = faults.changed() => if changed.is_err() {
                let _ = relay.await;
                return;
            }
        }
    }
}

/// Copies both directions until one of them ends.
async fn relay(client: &mut TcpStream, to: u16, limit: &AtomicUsize) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let unlimited = AtomicUsize::new(usize::MAX);
    tokio::select! {
        copied = copy(from_client, to_server, &unlimited) => copied,
        copied = copy(from_server, to_client, limit) => copied,
    }
}

/// Copies until the end, or until more bytes arrive at once than the limit.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    limit: &AtomicUsize,
) -> io::Result<()> {
    let mut buffer = [0; 8_192];
    loop {
        let length = from.read(&mut buffer).await?;
        let allowed = length.min(limit.load(Ordering::Relaxed));
        to.write_all(&buffer[..allowed]).await?;
        if length == 0 || allowed < length {
            return to.shutdown().await;
        }
    }
}
