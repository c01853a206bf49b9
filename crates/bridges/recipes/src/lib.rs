//! The code of the book's pages on protocols other than HTTP, with tests against servers that check the tokens.
//!
//! Each page shows the whole text of its files here.

#![allow(clippy::missing_errors_doc)] // The pages explain the errors.

extern crate hallpass_core as hallpass;

pub mod imap;
pub mod postgresql;
pub mod smtp;
pub mod websockets;

/// Compiles the code of the pages as users see it.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../../docs/mail.md")]
    mod mail {}
    #[doc = include_str!("../../../../docs/postgresql.md")]
    mod postgresql {}
    #[doc = include_str!("../../../../docs/websockets.md")]
    mod websockets {}
}
