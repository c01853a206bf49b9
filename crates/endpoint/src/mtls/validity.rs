//! When a certificate's validity ends: the one field of it that is read here, and that for a hint.

use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The `notAfter` of a certificate in DER (RFC 5280 section 4.1); `None` where it cannot be made out.
pub(super) fn end(certificate: &[u8]) -> Option<SystemTime> {
    let mut certificate = Der(certificate).open(SEQUENCE)?;
    let mut body = certificate.open(SEQUENCE)?;
    if body.0.first() == Some(&EXPLICIT_VERSION) {
        body.next()?;
    }
    let [_serial, _algorithm, _issuer] = [body.next()?, body.next()?, body.next()?];
    let mut validity = body.open(SEQUENCE)?;
    let _not_before = validity.next()?;
    let (tag, text) = validity.next()?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// What is left to read of a value in DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // In so many bytes; a certificate needs three at most.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                let fold = |length, byte: &u8| length << 8 | usize::from(*byte);
                (bytes.iter().fold(0, fold), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn open(&mut self, wanted: u8) -> Option<Self> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(Self(content))
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the forms that RFC 5280 section 4.1.2.5 leaves.
fn time(tag: u8, text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let parts: Option<Vec<u64>> = (0..5)
        .map(|nth| rest.get(2 * nth..2 * nth + 2)?.parse().ok())
        .collect();
    let [month, day, hour, minute, second] = parts?.try_into().ok()?;
    let days = days(year, month)? + day.checked_sub(1)?;
    let since = ((days * 24 + hour) * 60 + minute) * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since))
}

/// The days from 1970 to the first of this month.
fn days(year: u64, month: u64) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let leaps_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let whole = year.checked_sub(1970)? * 365 + leaps_before(year) - leaps_before(1970);
    let months = BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    Some(whole + months + u64::from(leap(year) && month > 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_stops_it(cut in 0_usize..400, at in 0_usize..400, byte: u8) {
            let params = rcgen::CertificateParams::new(["a".to_owned()]).unwrap();
            let key = rcgen::KeyPair::generate().unwrap();
            let mut der = params.self_signed(&key).unwrap().der().to_vec();
            prop_assert!(end(&der).is_some());
            let at = at % der.len();
            der[at] = byte;
            let _ = end(&der);
            der.truncate(cut % der.len());
            let _ = end(&der);
        }
    }

    #[test]
    fn times_are_read_as_an_independent_reader_reads_them() {
        for (tag, text, same) in [
            (UTC_TIME, "700101000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UTC_TIME, "991231235959Z", "Fri, 31 Dec 1999 23:59:59 GMT"),
            (UTC_TIME, "000229120000Z", "Tue, 29 Feb 2000 12:00:00 GMT"),
            (UTC_TIME, "240301000000Z", "Fri, 01 Mar 2024 00:00:00 GMT"),
            (UTC_TIME, "491231235959Z", "Fri, 31 Dec 2049 23:59:59 GMT"),
            (
                GENERALIZED_TIME,
                "21000301000000Z",
                "Mon, 01 Mar 2100 00:00:00 GMT",
            ),
            (
                GENERALIZED_TIME,
                "99991231235959Z",
                "Fri, 31 Dec 9999 23:59:59 GMT",
            ),
        ] {
            let expected = httpdate::parse_http_date(same).unwrap();
            assert_eq!(time(tag, text), Some(expected), "{text}");
        }
        for odd in [
            "",
            "Z",
            "2401010000Z",
            "240101000000",
            "24010100000+Z",
            "241301000000Z",
            "240100000000Z",
            "2401010000000Z",
            "500101000000Z",
        ] {
            assert_eq!(time(UTC_TIME, odd), None, "{odd}");
        }
        assert_eq!(time(SEQUENCE, "240101000000Z"), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for odd in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x84, 1, 1, 1, 1],
            &[0x30, 5, 0],
        ] {
            assert_eq!(end(odd), None);
        }
    }
}
