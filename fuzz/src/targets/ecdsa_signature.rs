//! ECDSA signatures in DER: what is converted is the only DER encoding of its r and s.

use hallpass_jwt::Algorithm;

use crate::support::{CANARY, check_error, settings};

pub(crate) const WORDS: &[&str] = &["\x02\x01\x01", "\x30\x06", "\x02\x20", "\x02\x21"];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (settings, width) in [(0, 32), (1, 48)] {
        for (r, s) in [
            (vec![1], vec![1]),
            (vec![0x7f; width], vec![0xff; width]),
            (vec![0], vec![1]),
            (vec![1], vec![0]),
        ] {
            seeds.push(
                [
                    &[settings],
                    &*encode(&[&r, &s].map(|part| padded(part, width)).concat()),
                ]
                .concat(),
            );
        }
        // The same numbers in other encodings: more zeros, a longer length, a negative number, more data.
        for der in [
            &b"\x30\x07\x02\x02\0\x01\x02\x01\x01"[..],
            b"\x30\x07\x02\x01\x01\x02\x02\0\x01",
            b"\x30\x81\x06\x02\x01\x01\x02\x01\x01",
            b"\x30\x07\x02\x81\x01\x01\x02\x01\x01",
            b"\x30\x06\x02\x01\xff\x02\x01\x01",
            b"\x30\x06\x02\x01\x01\x02\x01\x01\0",
            b"\x30\x08\x02\x01\x01\x02\x01\x01\x05\0",
        ] {
            seeds.push([&[settings], der].concat());
        }
    }
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let (algorithm, width) = match settings % 2 {
        0 => (Algorithm::Es256, 32),
        _ => (Algorithm::Es384, 48),
    };
    let is_zero = |number: &[u8]| number.iter().all(|byte| *byte == 0);
    match algorithm.signature_from_der(bytes) {
        Ok(joined) => {
            assert_eq!(joined.len(), 2 * width);
            assert_eq!(encode(&joined), bytes);
            assert!(!joined.chunks(width).any(is_zero));
        }
        Err(error) => check_error(&error, CANARY),
    }
    // The other way round.
    if bytes.len() == 2 * width {
        let (r, s) = bytes.split_at(width);
        let converted = algorithm.signature_from_der(&encode(bytes));
        assert_eq!(converted.is_ok(), !is_zero(r) && !is_zero(s));
        assert!(converted.is_err() || converted.is_ok_and(|joined| joined == bytes));
    }
}

/// Returns the number with leading zeros.
fn padded(number: &[u8], width: usize) -> Vec<u8> {
    [&vec![0; width - number.len()], number].concat()
}

/// Returns the DER encoding of r and s, which are shorter than 128 bytes together.
fn encode(joined: &[u8]) -> Vec<u8> {
    let (r, s) = joined.split_at(joined.len() / 2);
    let parts = [r, s].map(|number| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros.min(number.len() - 1)..];
        let sign: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
        [
            &[2, u8::try_from(sign.len() + number.len()).unwrap()],
            sign,
            number,
        ]
        .concat()
    });
    let parts = parts.concat();
    [&[0x30, u8::try_from(parts.len()).unwrap()], &*parts].concat()
}
