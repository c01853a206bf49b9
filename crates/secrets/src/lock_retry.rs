//! Retries for Windows, which neither opens nor replaces a file that another program has locked: an editor, a virus
//! scanner, an agent that is writing it. Most locks are short.

use std::{io, thread, time::Duration};

const MAX_ATTEMPTS: u32 = 30;
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Retries while another program has locked the file, for a third of a second. Blocks the thread.
pub(crate) fn retry_while_locked<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..MAX_ATTEMPTS {
        match attempt() {
            Err(error) if is_in_use(&error) => thread::sleep(RETRY_INTERVAL),
            outcome => return outcome,
        }
    }
    attempt()
}

fn is_in_use(error: &io::Error) -> bool {
    /// Also returned for a file that is to be replaced and is open elsewhere, on older file systems.
    const ERROR_ACCESS_DENIED: i32 = 5;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    const ERROR_LOCK_VIOLATION: i32 = 33;
    // On other systems the codes have other meanings, and there are no such locks.
    cfg!(windows)
        && matches!(
            error.raw_os_error(),
            Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sharing_and_lock_errors_are_retried() {
        for (code, tries) in [
            (2, 1),
            (5, if cfg!(windows) { MAX_ATTEMPTS } else { 1 }),
            (32, if cfg!(windows) { MAX_ATTEMPTS } else { 1 }),
        ] {
            let mut tried = 0;
            let outcome = retry_while_locked(|| {
                tried += 1;
                Err::<(), _>(io::Error::from_raw_os_error(code))
            });
            assert_eq!(outcome.unwrap_err().raw_os_error(), Some(code));
            assert_eq!(tried, tries, "{code}");
        }
        let mut tried = 0;
        let third = retry_while_locked(|| {
            tried += 1;
            let failed = cfg!(windows) && tried < 3;
            (!failed)
                .then_some(tried)
                .ok_or(io::Error::from_raw_os_error(32))
        });
        assert_eq!(third.unwrap(), if cfg!(windows) { 3 } else { 1 });
    }
}
