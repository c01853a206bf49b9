//! A TCP proxy that delays, stalls and resets connections at random.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time,
};

/// A proxy on loopback; it ends with its runtime.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: Arc<[AtomicUsize; 3]>,
}

impl Proxy {
    /// Starts a proxy to this port, with faults or without.
    pub(crate) async fn start(to: u16, with_faults: bool) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let faults = Arc::<[AtomicUsize; 3]>::default();
        let counts = faults.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let fault = if with_faults { random(6) } else { NO_FAULT };
                tokio::spawn(forward(client, to, fault, counts.clone()));
            }
        });
        Ok(Self { port, faults })
    }

    /// Returns the numbers of connections that were delayed, stalled and reset.
    pub(crate) fn faults(&self) -> [usize; 3] {
        [0, 1, 2].map(|fault| self.faults[fault].load(Ordering::Relaxed))
    }
}

/// A number that is no fault's.
const NO_FAULT: usize = 5;

/// Forwards a connection until its fault: 0 delays it, 1 stalls it, 2 resets it, any other number is none.
async fn forward(mut client: TcpStream, to: u16, fault: usize, faults: Arc<[AtomicUsize; 3]>) {
    if let Some(count) = faults.get(fault) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    if fault == 0 {
        time::sleep(Duration::from_secs(1)).await;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else {
        return;
    };
    let forward = copy_bidirectional(&mut client, &mut server);
    let until = Duration::from_secs(if fault == 0 {
        3_600
    } else {
        2 + random(8) as u64
    });
    if fault > 2 {
        let _ = forward.await;
        return;
    }
    if time::timeout(until, forward).await.is_ok() {
        return;
    }
    if fault == 1 {
        time::sleep(Duration::from_secs(5)).await;
    } else {
        let _ = client.set_zero_linger();
    }
}

/// Returns a number below `limit` that differs from call to call.
fn random(limit: usize) -> usize {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| (now.subsec_nanos() / 97) as usize % limit)
}
