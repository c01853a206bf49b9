//! The token store on Redis that a profile describes.

#[cfg(not(feature = "redis"))]
mod absent;
#[cfg(feature = "redis")]
mod present;

#[cfg(not(feature = "redis"))]
pub(crate) use absent::{check, open};
#[cfg(feature = "redis")]
pub(crate) use present::{check, open};
