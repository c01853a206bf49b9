//! Searches output for secrets.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write as _},
    sync::Mutex,
};

use hallpass_testkit::leak;

use crate::{MARKER, PLANTED, assertions::Assertions, server::locked};

/// The secrets, and where they were found.
///
/// All secrets that this program chooses contain a marker, which is searched for in every encoding. The others, and
/// signed assertions, are searched for as they are.
#[derive(Default)]
pub(crate) struct Scanner {
    others: Mutex<Vec<String>>,
    assertions: Mutex<Assertions>,
    found: Mutex<BTreeMap<String, u64>>,
    scanned: Mutex<u64>,
    /// The channels in which the planted text was found.
    planted: Mutex<Vec<String>>,
}

pub(crate) const LOG_OF_SERVICE: &str = "traces, errors and metrics of the service";
pub(crate) const OUTPUT_OF_SERVICE: &str = "reports of the service";
pub(crate) const OUTPUT_OF_COMMAND: &str = "output of the command";
pub(crate) const ERRORS_OF_COMMAND: &str = "traces and errors of the command";
pub(crate) const PAGE: &str = "this page";
/// All channels.
pub(crate) const CHANNELS: [&str; 5] = [
    LOG_OF_SERVICE,
    OUTPUT_OF_SERVICE,
    OUTPUT_OF_COMMAND,
    ERRORS_OF_COMMAND,
    PAGE,
];

/// Text that is searched at once, and the end of it that is searched again with the next text.
const CHUNK: usize = 256 * 1_024;
const OVERLAP: usize = 1_024;

impl Scanner {
    pub(crate) fn add(&self, secret: &str) {
        locked(&self.others).push(secret.to_owned());
    }

    /// Adds an assertion that the server received.
    pub(crate) fn receive(&self, assertion: &str) {
        locked(&self.assertions).receive(assertion);
    }

    /// Searches a text of this channel.
    pub(crate) fn scan(&self, channel: &'static str, text: &str) {
        *locked(&self.scanned) += text.len() as u64;
        let mut seen = Vec::new();
        if let Some(spelling) = leak::find(text, MARKER) {
            let at = text.find(MARKER).unwrap_or(0);
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            let line: String = line.chars().take(120).collect();
            seen.push(format!("{channel}: a secret, {spelling:?}, after `{line}`"));
        }
        let others = locked(&self.others);
        if others.iter().any(|secret| text.contains(secret.as_str())) {
            seen.push(format!("{channel}: a key or a password"));
        }
        if locked(&self.assertions).search(channel, text) {
            seen.push(format!("{channel}: a signed JWT"));
        }
        for seen in seen {
            *locked(&self.found).entry(seen).or_default() += 1;
        }
        if leak::find(text, PLANTED).is_some() {
            locked(&self.planted).push(channel.to_owned());
        }
    }

    /// Reads to the end, searches what it reads, and writes it to a file.
    pub(crate) fn drain(&self, channel: &'static str, mut from: impl Read, mut to: Option<File>) {
        let mut buffer = vec![0; CHUNK];
        let mut length = 0;
        loop {
            let read = from.read(&mut buffer[length..]).unwrap_or(0);
            if let Some(file) = &mut to {
                file.write_all(&buffer[length..length + read]).unwrap();
            }
            length += read;
            if read == 0 || length == CHUNK {
                self.scan(channel, &String::from_utf8_lossy(&buffer[..length]));
                let kept = length.min(OVERLAP);
                buffer.copy_within(length - kept..length, 0);
                length = kept;
            }
            if read == 0 {
                return;
            }
        }
    }

    /// Returns the secrets that were found, and how often.
    pub(crate) fn found(&self) -> BTreeMap<String, u64> {
        let mut found = locked(&self.found).clone();
        for (channel, times) in locked(&self.assertions).signatures() {
            found.insert(format!("{channel}: the signature of an assertion"), times);
        }
        found
    }

    /// Returns the number of assertions that the server received.
    pub(crate) fn assertions(&self) -> usize {
        locked(&self.assertions).received()
    }

    pub(crate) fn megabytes(&self) -> u64 {
        *locked(&self.scanned) / 1_000_000
    }

    /// Returns true if the planted text was found in this channel.
    pub(crate) fn control(&self, channel: &str) -> bool {
        locked(&self.planted).iter().any(|known| known == channel)
    }
}
