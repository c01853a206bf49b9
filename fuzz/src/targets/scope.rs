//! Scopes (RFC 6749 section 3.3): parsing agrees with the grammar and with a set, and an error shows one character.

use std::collections::BTreeSet;

use hallpass_core::{Scope, ScopeSet};

use crate::{
    seeds,
    support::{CANARY, check_error},
};

pub(crate) const WORDS: &[&str] = &["orders.read", " ", "\"", "\\", "!", "~", "s3cr3t-CANARY"];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::of_literals(&["crates/core/src/scope.rs"], &[]);
    // The grammar is about characters.
    seeds.extend((0..0x80).map(|char| vec![b'a', char, b'b']));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let legal = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    let scope = text.parse::<Scope>();
    assert_eq!(scope.is_ok(), !text.is_empty() && legal(text));
    if let Err(error) = scope {
        assert!(error.to_string().len() < 200);
        check_error(&error, CANARY);
    }
    let parts: BTreeSet<&str> = text.split(' ').filter(|part| !part.is_empty()).collect();
    let parsed = text.parse::<ScopeSet>();
    assert_eq!(parsed.is_ok(), parts.iter().all(|part| legal(part)));
    match parsed {
        Ok(set) => {
            assert!(set.iter().eq(parts.iter().copied()));
            assert_eq!(set.is_empty(), parts.is_empty());
            assert_eq!(set.as_str().parse(), Ok(set.clone()));
            let one_by_one = set.iter().map(|scope| scope.parse::<Scope>().unwrap());
            assert_eq!(one_by_one.collect::<ScopeSet>(), set);
            assert!(set.missing(&set).is_empty());
            assert_eq!(ScopeSet::EMPTY.missing(&set), set);
        }
        Err(error) => {
            assert!(error.to_string().len() < 200);
            check_error(&error, CANARY);
        }
    }
}
