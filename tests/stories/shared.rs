//! What the matrix uses too.

#[path = "../shared/assertions.rs"]
pub(crate) mod assertions;
