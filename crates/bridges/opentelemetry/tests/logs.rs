//! The logs of an export, at the finest level.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io,
    sync::{Arc, Mutex},
};

use common::{BOTH, World, export};
use hallpass_testkit::leak;
use tracing::Level;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_token_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let mut tokens = Vec::new();
    for transport in BOTH {
        let world = World::start();
        let traces = world.traces(transport, world.tokens.clone());
        export(&traces, "first").unwrap();
        world.collector.revoke(world.current().expose());
        export(&traces, "second").unwrap();
        tokens.extend(world.collector.tokens());
    }
    assert_eq!(tokens.len(), 6);
    // The log has the frames of the calls.
    tracing::info!("control {}", tokens[0]);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let (text, control) = text.rsplit_once("control").unwrap();
    assert!(leak::find(control, &tokens[0]).is_some());
    assert!(text.contains("hyper") && text.contains("h2"));
    for token in tokens {
        leak::assert_clean(text, &token);
    }
}
