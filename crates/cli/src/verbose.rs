//! `--verbose`: traces of the libraries on standard error.

use std::io;

use tracing::Level;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Starts printing traces; does nothing at level 0.
///
/// Only hallpass's own crates are included, which never trace a secret. The traces of HTTP libraries may contain one.
pub(crate) fn start(level: u8) {
    let level = match level {
        0 => return,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_filter(Targets::new().with_target("hallpass", level));
    tracing_subscriber::registry().with(layer).init();
}
