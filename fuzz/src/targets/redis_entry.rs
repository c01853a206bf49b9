//! Entries in Redis, encrypted and in clear: only an entry that is unchanged, and under its own name, is opened.

use arbitrary::Unstructured;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_redis::internals::Entries;

use crate::support::{CANARY, assert_hidden, settings};

pub(crate) const WORDS: &[&str] = &[
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "0000000000000001\x02",
    "0000000000000001\x01",
    "+000000000000001\x02",
    " ,\n",
];

const KEYS: &str =
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        [&[0], KEYS.as_bytes()].concat(),
        b"\x00not base64 s3cr3t-CANARY".to_vec(),
        b"\x010000000000000001\x02entry".to_vec(),
        b"\x02some bytes for an entry, and a change".to_vec(),
        [
            &[1],
            &*Entries::encrypted(KEYS)
                .unwrap()
                .seal("name", 7, b"entry")
                .unwrap(),
        ]
        .concat(),
    ];
    seeds.extend(
        [16, 31, 33, 48]
            .map(|length| [&[0], BASE64_STANDARD.encode(vec![1; length]).as_bytes()].concat()),
    );
    // A fence is digits.
    seeds.extend(["+", "-", " ", "x"].map(|sign| {
        let clear = Entries::clear().seal("name", 7, b"entry").unwrap();
        [&[1], sign.as_bytes(), &clear[1..]].concat()
    }));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    match settings % 3 {
        0 => keys(bytes),
        1 => foreign(bytes),
        _ => changed(Unstructured::new(bytes)),
    }
}

fn keys(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let words = text.split(|char: char| char.is_whitespace() || char == ',');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let is_key = |word: &&str| {
        BASE64_STANDARD
            .decode(word)
            .is_ok_and(|key| key.len() == 32)
    };
    let parsed = Entries::encrypted(text);
    assert_eq!(
        parsed.is_ok(),
        !words.is_empty() && words.iter().all(is_key)
    );
    match parsed {
        Ok(entries) => {
            let sealed = entries.seal("name", 1, b"entry").unwrap();
            let opened = entries.open("name", &sealed);
            assert_eq!(opened, Ok((1, b"entry".to_vec())));
            // So that a key can be replaced, each opens the entries that it sealed.
            for word in words {
                let sealed = Entries::encrypted(word).unwrap().seal("name", 1, b"entry");
                let opened = entries.open("name", &sealed.unwrap());
                assert_eq!(opened, Ok((1, b"entry".to_vec())));
            }
        }
        Err(error) => assert_hidden(error, CANARY),
    }
}

/// Bytes that this process did not write.
fn foreign(bytes: &[u8]) {
    let encrypted = Entries::encrypted(KEYS).unwrap();
    // Nobody else has the keys, except those who wrote the seed.
    if let Ok((_, plain)) = encrypted.open("name", bytes) {
        assert_eq!(plain, b"entry");
        assert!(Entries::clear().open("name", bytes).is_err());
    }
    if let Ok((fence, plain)) = Entries::clear().open("name", bytes) {
        let again = Entries::clear().seal("name", fence, &plain).unwrap();
        assert_eq!(again, bytes);
    }
}

/// An entry that was changed, or moved to another name, is not opened.
fn changed(mut input: Unstructured<'_>) {
    let Ok((place, bit, other, fence)) = input.arbitrary::<(u16, u8, bool, u64)>() else {
        return;
    };
    let fence = fence % 9_000_000_000_000_000;
    let plain = input.take_rest();
    for entries in [Entries::encrypted(KEYS).unwrap(), Entries::clear()] {
        let sealed = entries.seal("name", fence, plain).unwrap();
        assert_eq!(entries.open("name", &sealed), Ok((fence, plain.to_vec())));
    }
    let entries = Entries::encrypted(KEYS).unwrap();
    let mut sealed = entries.seal("name", fence, plain).unwrap();
    if other {
        assert!(entries.open("another name", &sealed).is_err());
    }
    // The fence is not part of the sealed entry: Redis compares it.
    let place = 16 + usize::from(place) % (sealed.len() - 16);
    sealed[place] ^= 1 << (bit % 8);
    assert!(entries.open("name", &sealed).is_err(), "{place}");
    sealed.truncate(place);
    assert!(entries.open("name", &sealed).is_err(), "{place}");
}
