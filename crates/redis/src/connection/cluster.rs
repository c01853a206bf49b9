//! The server that has a key: one for all, or the node of a cluster that a redirection named.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::time;

use super::{Connector, Link};
use crate::{
    RedisStoreErrorKind as Kind,
    address::Address,
    call_error::{CallError, Recovery},
    changes::Changes,
};

/// The maximum number of attempts for a call to a cluster.
const MAX_ATTEMPTS: usize = 5;
/// The pause before another attempt while a cluster changes.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The maximum number of known nodes: a Redis cluster has at most about a thousand.
const MAX_NODES: usize = 1_000;
const SLOTS: u16 = 16_384;

/// The connections to all servers.
///
/// The node of a slot is learned from redirections; there is no map of the whole cluster to fetch or to keep current.
pub(crate) struct Nodes {
    connector: Arc<Connector>,
    changes: Arc<Changes>,
    seeds: Vec<Address>,
    is_cluster: bool,
    table: Mutex<NodeTable>,
}

/// The known nodes, and the slots that they have.
#[derive(Default)]
struct NodeTable {
    links: HashMap<Address, Arc<Link>>,
    slots: HashMap<u16, Address>,
    /// Counts the attempts that began at a seed, which take turns.
    turn: usize,
}

impl Nodes {
    pub(crate) fn new(
        connector: Arc<Connector>,
        changes: Arc<Changes>,
        seeds: Vec<Address>,
        is_cluster: bool,
    ) -> Self {
        Self {
            connector,
            changes,
            seeds,
            is_cluster,
            table: Mutex::default(),
        }
    }

    #[cfg(feature = "internals")]
    pub(crate) fn seeds(&self) -> &[Address] {
        &self.seeds
    }

    /// Returns the reply to a command about a key of this slot.
    pub(crate) async fn query(&self, slot: u16, command: &Cmd) -> Result<Value, CallError> {
        if !self.is_cluster {
            return self.link(slot).1.query(command).await;
        }
        let mut asking = None;
        let mut last = CallError::new(Kind::Unavailable, "the cluster redirected too often");
        for attempt in 0..MAX_ATTEMPTS {
            let (asked, reply) = match asking.take() {
                Some(address) => {
                    let link = self.link_to(&address);
                    (address, link.query_asking(command).await)
                }
                None => self.at_slot(slot, command).await,
            };
            let error = match reply {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match &error.recovery {
                Recovery::Moved(host, port) => {
                    let node = asked.named(host, *port);
                    self.table().slots.insert(slot, node);
                    continue;
                }
                Recovery::Ask(host, port) => {
                    asking = Some(asked.named(host, *port));
                    continue;
                }
                Recovery::Reconnect | Recovery::FindPrimary | Recovery::TryAgain => {}
                _ => return Err(error),
            }
            last = error;
            if attempt > 0 {
                time::sleep(RETRY_PAUSE).await;
            }
        }
        Err(last)
    }

    /// Returns the node that was asked, and its reply.
    async fn at_slot(&self, slot: u16, command: &Cmd) -> (Address, Result<Value, CallError>) {
        let (address, link) = self.link(slot);
        let reply = link.query(command).await;
        match reply.as_ref().map_err(|error| &error.recovery) {
            Ok(_) => {
                let mut table = self.table();
                table.slots.entry(slot).or_insert_with(|| address.clone());
            }
            Err(Recovery::Reconnect | Recovery::FindPrimary | Recovery::TryAgain) => {
                // Another node knows where the slot is now.
                self.table().slots.remove(&slot);
            }
            Err(_) => {}
        }
        (address, reply)
    }

    /// Returns the connection to the node of this slot, or to a seed if it is not known.
    pub(crate) fn link(&self, slot: u16) -> (Address, Arc<Link>) {
        let mut table = self.table();
        let address = table.slots.get(&slot).cloned();
        let address = address.unwrap_or_else(|| {
            table.turn = table.turn.wrapping_add(1);
            self.seeds[table.turn % self.seeds.len()].clone()
        });
        drop(table);
        let link = self.link_to(&address);
        (address, link)
    }

    fn link_to(&self, address: &Address) -> Arc<Link> {
        let mut table = self.table();
        if table.links.len() >= MAX_NODES {
            table.links.clear();
        }
        let link = table.links.entry(address.clone());
        let link = link.or_insert_with_key(|address| {
            Link::new(
                address.clone(),
                self.connector.clone(),
                self.changes.clone(),
            )
        });
        link.clone()
    }

    fn table(&self) -> MutexGuard<'_, NodeTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the slot of a hash tag: CRC-16/XMODEM, as the cluster's specification defines it.
pub(crate) fn slot(tag: &str) -> u16 {
    let mut crc = 0_u16;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot(""), 0);
    }
}
