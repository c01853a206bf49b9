//! Access tokens shared between processes through Redis: encrypted, with leases, so that a fleet sends one
//! request for a token.
//!
//! [`RedisTokenStore`] is a [`TokenStore`](hallpass_cache::TokenStore) for
//! [`CachedTokenSource`](hallpass_cache::CachedTokenSource): the shared second level behind each process's memory. A hit
//! never reaches it, and no caller fails because of it: if Redis is slow, down or full, each process fetches its own
//! tokens.
//!
//! ```no_run
//! use hallpass_cache::CachedTokenSource;
//! use hallpass_core::Secret;
//! use hallpass_redis::RedisTokenStore;
//! # use hallpass_testkit::ScriptedSource;
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let source = ScriptedSource::new([]);
//!
//! let store = RedisTokenStore::builder("rediss://redis.example:6379")
//!     .username("hallpass")
//!     .password(Secret::new(std::env::var("REDIS_PASSWORD")?)?)
//!     .keys(Secret::new(std::env::var("TOKEN_STORE_KEYS")?)?)
//!     .build()?;
//! let cache = CachedTokenSource::builder(source)
//!     .store(store, "https://login.example orders-service")
//!     .build();
//! # Ok(())
//! # }
//! ```
//!
//! # Names in Redis
//!
//! Each cached key has three names with one hash tag: `PREFIX{KEY}:entry`, `:lease` and `:fence`, where `KEY` is two
//! digests that reveal neither client nor issuer nor request. All of them expire. Changes are published to the channel
//! `PREFIXchanged`. An ACL user needs no more than:
//!
//! ```text
//! ACL SETUSER hallpass on >PASSWORD ~hallpass:* &hallpass:* -@all +hello +select +asking +evalsha +eval
//!   +get +getrange +set +del +pttl +pexpire +time +publish +subscribe
//! ```

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("enable one of the features `aws-lc-rs` and `ring`: entries are encrypted");

mod address;
mod builder;
mod call_error;
mod changes;
mod connection;
mod crypto;
mod envelope;
mod error;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod keyring;
mod scripts;
mod store;

pub use builder::RedisTokenStoreBuilder;
pub use error::{RedisBuildError, RedisStoreError, RedisStoreErrorKind};
pub use store::RedisTokenStore;
