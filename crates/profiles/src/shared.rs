//! The parts that sources with equal settings share.

use crate::{store::Stores, transports::Transports};

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) transports: Transports,
    pub(crate) stores: Stores,
}
