//! Connections to one server, to the primary that a sentinel names, or to the nodes of a cluster.

mod cluster;
mod connector;
mod link;
mod tls;

pub(crate) use cluster::{Nodes, slot};
pub(crate) use connector::{Connector, Credentials, Sentinels};
pub(crate) use link::Link;
pub(crate) use tls::{Roots, Tls};
