//! A TCP proxy that delays, stalls and resets connections at random.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, sync::watch, time};

use crate::fault_proxy::{Fault, forward};

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
                if let Some(count) = counts.get(fault) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                let at_first = match fault {
                    0 => Fault::Delay(Duration::from_secs(1)),
                    _ => Fault::None,
                };
                let (faults, receiver) = watch::channel(at_first);
                tokio::spawn(forward(client, to, receiver));
                tokio::spawn(inject(fault, faults));
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

/// Stalls a connection if its fault is 1, and resets it if it is 2, after a random time. Fault 0 delayed it.
async fn inject(fault: usize, faults: watch::Sender<Fault>) {
    if !matches!(fault, 1 | 2) {
        return;
    }
    time::sleep(Duration::from_secs(2 + random(8) as u64)).await;
    if fault == 1 {
        faults.send_replace(Fault::Stall);
        time::sleep(Duration::from_secs(5)).await;
    }
    faults.send_replace(Fault::Reset);
}

/// Returns a number below `limit` that differs from call to call.
fn random(limit: usize) -> usize {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| (now.subsec_nanos() / 97) as usize % limit)
}
