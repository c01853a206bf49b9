//! Code that the matrix and the crates' own tests use too.

#[path = "../shared/assertions.rs"]
pub(crate) mod assertions;
#[path = "../shared/softhsm.rs"]
pub(crate) mod softhsm;
#[path = "../shared/tls_front.rs"]
pub(crate) mod tls_front;
