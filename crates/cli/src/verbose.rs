//! `--verbose`: what the libraries below trace, on standard error.

use std::io;

use tracing::Level;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Starts to tell what happens; does nothing at level 0.
///
/// Our own crates alone are told of, which never trace a secret: an HTTP library's traces are not ours to vouch for.
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
