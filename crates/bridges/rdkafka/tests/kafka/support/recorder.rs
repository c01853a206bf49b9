use std::sync::{Arc, Mutex};

use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError};
use tokio::sync::watch;

/// A context that records the calls of librdkafka's poll thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    errors: watch::Sender<Vec<String>>,
    statistics: watch::Sender<usize>,
    log: Mutex<Vec<String>>,
}

impl Recorder {
    /// Waits for an error with this text.
    pub(crate) async fn failed(&self, text: &str) {
        let mut errors = self.0.errors.subscribe();
        let reached = errors.wait_for(|errors| errors.iter().any(|error| error.contains(text)));
        super::within(reached).await.unwrap();
    }

    /// Waits for this number of reports of statistics from now on.
    pub(crate) async fn polled(&self, count: usize) {
        let mut statistics = self.0.statistics.subscribe();
        let before = *statistics.borrow();
        let reached = statistics.wait_for(|statistics| *statistics >= before + count);
        super::within(reached).await.unwrap();
    }

    /// Returns all errors and log messages.
    pub(crate) fn text(&self) -> String {
        let log = self.0.log.lock().unwrap();
        [&self.0.errors.borrow()[..], &log[..]].concat().join("\n")
    }
}

impl ClientContext for Recorder {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = format!("{facility}: {message}");
        self.0.log.lock().unwrap().push(message);
    }

    fn stats_raw(&self, _: &[u8]) {
        self.0.statistics.send_modify(|statistics| *statistics += 1);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let error = format!("{error}: {reason}");
        self.0.errors.send_modify(|errors| errors.push(error));
    }
}
