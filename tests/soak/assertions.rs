//! Signed assertions in output: whole ones, and signatures of those that the server received.

use std::collections::{BTreeMap, HashMap, HashSet};

/// The length of the shortest signature in base64: 32 bytes, of HS256.
const SHORTEST: usize = 43;
/// The start of a JSON object in base64: `{"`.
const OBJECT: &str = "eyJ";

/// The assertions that the server received, and texts of the output that may be signatures.
///
/// An assertion may be written before the server receives it, or after. Both lists are short: the server receives about
/// one assertion a second, and other output has hardly any text of this form.
#[derive(Default)]
pub(crate) struct Assertions {
    received: HashSet<String>,
    written: HashMap<String, &'static str>,
}

impl Assertions {
    pub(crate) fn receive(&mut self, assertion: &str) {
        let signature = assertion.rsplit('.').next().unwrap_or_default();
        self.received.insert(signature.to_owned());
    }

    /// Returns the number of assertions that the server received.
    pub(crate) fn received(&self) -> usize {
        self.received.len()
    }

    /// Returns true if a text of this channel has an assertion, or any other JWT, and notes what may be a signature.
    pub(crate) fn search(&mut self, channel: &'static str, text: &str) -> bool {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let mut has_assertion = false;
        for words in text.split(|c| !is_part(c) && c != '.') {
            if words.len() < SHORTEST {
                continue;
            }
            let words: Vec<_> = words.split('.').collect();
            for word in words.iter().filter(|word| word.len() >= SHORTEST) {
                self.written.insert((*word).to_owned(), channel);
            }
            has_assertion |= words.windows(3).any(|part| {
                part[0].contains(OBJECT) && part[1].starts_with(OBJECT) && part[2].len() >= SHORTEST
            });
        }
        has_assertion
    }

    /// Returns the number of signatures of received assertions that were written, for each channel.
    pub(crate) fn signatures(&self) -> BTreeMap<&'static str, u64> {
        let mut found = BTreeMap::new();
        let written = self.written.iter();
        for (_, channel) in written.filter(|(word, _)| self.received.contains(*word)) {
            *found.entry(*channel).or_default() += 1;
        }
        found
    }
}
