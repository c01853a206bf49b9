//! The record of a key's leases, and the lock under which it changes.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallpass::cache::LeaseOutcome;

use super::files::{self, FileLock};

/// The latest fence number and lease of a key. An unreadable record counts as missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) fence: u64,
    /// The latest lease's fence number. An entry stored without a lease draws one too.
    pub(super) lease: u64,
    /// The start of the lease in milliseconds since 1970, by the wall clock, which all processes share.
    from: u64,
    until: u64,
}

impl Record {
    /// Reads the record without its lock; the result is a hint.
    pub(super) fn peek(path: &Path) -> io::Result<Self> {
        match files::read(path) {
            Ok(bytes) => Ok(bytes.map_or(Self::default(), |bytes| Self::parse(&bytes))),
            // On systems where locks block readers, the lock itself is the answer.
            Err(error) if files::is_lock_violation(&error) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = str::from_utf8(bytes).unwrap_or_default();
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok);
        let record = (|| {
            Some(Self {
                fence: next()?,
                lease: next()?,
                from: next()?,
                until: next()?,
            })
        })();
        let whole = text.split_ascii_whitespace().count() == 4;
        record.filter(|_| whole).unwrap_or_default()
    }

    /// Returns true if the lease is in force. A clock that was set back ends a lease too.
    pub(super) fn in_force(self, now: SystemTime) -> bool {
        (self.from..self.until).contains(&milliseconds(now))
    }

    /// Returns the outcome for a caller that requests a lease while this one is in force.
    pub(super) fn holder(self) -> LeaseOutcome {
        let fence = Some(self.lease);
        LeaseOutcome::Held { fence }
    }

    /// Draws the next fence number, which rises even if the previous record was lost.
    pub(super) fn next_fence(self, now: SystemTime) -> Self {
        let fence = self.fence.saturating_add(1).max(milliseconds(now));
        Self { fence, ..self }
    }

    /// Grants the next lease.
    pub(super) fn next_lease(self, now: SystemTime, ttl: Duration) -> Self {
        let Self { fence, .. } = self.next_fence(now);
        let from = milliseconds(now);
        let record = Self {
            fence,
            lease: fence,
            from,
            until: from,
        };
        record.extended(now, ttl)
    }

    /// Sets the latest lease to expire after `ttl` from now.
    pub(super) fn extended(self, now: SystemTime, ttl: Duration) -> Self {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let until = milliseconds(now).saturating_add(ttl);
        Self { until, ..self }
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A record's file, locked until this is dropped.
pub(super) struct Guard(FileLock);

impl Guard {
    /// Locks the record; `None` if another process holds the lock.
    pub(super) fn try_new(path: &Path) -> io::Result<Option<Self>> {
        let locked = FileLock::try_new(files::open_lock(path)?)?;
        Ok(locked.map(Self))
    }

    pub(super) fn read(&self) -> io::Result<Record> {
        let mut file = self.file();
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(256).read_to_end(&mut bytes)?;
        Ok(Record::parse(&bytes))
    }

    pub(super) fn write(&self, record: Record) -> io::Result<()> {
        let Record {
            fence,
            lease,
            from,
            until,
        } = record;
        let mut file = self.file();
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{fence} {lease} {from} {until}\n").as_bytes())
    }

    fn file(&self) -> &File {
        &self.0.0
    }

    /// Releases this lease if it is the latest.
    pub(super) fn end(&self, fence: u64) -> io::Result<()> {
        let record = self.read()?;
        if record.lease != fence {
            return Ok(());
        }
        self.write(Record { until: 0, ..record })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fences_rise_even_if_the_record_is_lost() {
        let now = SystemTime::now();
        let first = Record::parse(b"garbage").next_lease(now, Duration::from_secs(15));
        let second = first.next_lease(now, Duration::from_secs(15));
        let lost = Record::default().next_lease(now + Duration::from_secs(1), Duration::MAX);
        assert!(first.fence < second.fence && second.fence < lost.fence);
    }

    // covers: F-89, F-95
    #[test]
    fn a_lease_expires_and_ends_if_the_clock_is_set_back() {
        let now = SystemTime::now();
        let record = Record::default().next_lease(now, Duration::from_secs(15));
        let second = Duration::from_secs(1);
        assert!(record.in_force(now) && record.in_force(now + 14 * second));
        assert!(!record.in_force(now + 15 * second) && !record.in_force(now - second));
    }

    // covers: F-92
    #[test]
    fn an_invalid_record_counts_as_missing() {
        for bytes in [
            &b""[..],
            b"1 2 3",
            b"1 2 3 4 5",
            b"a b c d",
            b"\xff",
            b"-1 2 3 4",
            b"99999999999999999999 1 2 3",
        ] {
            assert_eq!(Record::parse(bytes), Record::default());
        }
        assert_eq!(
            Record::parse(b"1 2 3 4\n"),
            Record {
                fence: 1,
                lease: 2,
                from: 3,
                until: 4
            }
        );
    }

    proptest! {
        // covers: F-92
        #[test]
        fn a_record_is_four_numbers_or_missing(text in "([0-9+-]{0,21}[ \n]{0,2}){0,5}") {
            let record = Record::parse(text.as_bytes());
            let Record { fence, lease, from, until } = record;
            let again = format!("{fence} {lease} {from} {until}\n");
            prop_assert_eq!(Record::parse(again.as_bytes()), record);
            let numbers: Vec<Option<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
            let written = [fence, lease, from, until].map(Some);
            prop_assert!(record == Record::default() || numbers == written);
        }
    }
}
