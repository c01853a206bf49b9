//! Code that the matrix and the crates' own tests use too.

#[path = "../shared/assertions.rs"]
pub(crate) mod assertions;
#[path = "../shared/child.rs"]
pub(crate) mod child;
#[allow(dead_code)] // The store's own tests use more of it.
#[path = "../shared/redis_server.rs"]
pub(crate) mod redis_server;
#[path = "../shared/softhsm.rs"]
pub(crate) mod softhsm;
#[path = "../shared/tls_front.rs"]
pub(crate) mod tls_front;
