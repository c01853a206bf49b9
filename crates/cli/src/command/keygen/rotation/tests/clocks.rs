//! Rotations on a machine whose clock jumps, or is not set yet.

use super::*;

/// A key that was published at a wrong time is neither used early nor late, and a run without a time changes nothing.
#[test]
fn a_clock_that_jumps_neither_skips_nor_extends_the_overlap() {
    let day = 24 * HOUR;
    let year = 365 * day;
    for jump in [1, HOUR, year, 80 * year] {
        for run in 0..3 {
            let files = Files::new();
            let ahead = |of: u64| if run == of { jump } else { 0 };
            files.rotate(ahead(0));
            let first = files.key("client.pem");
            // With the right clock again, before and at the time of the next key.
            files.rotate(0);
            let both = files.rotate(10 * day + ahead(1));
            assert_eq!(both.len(), 2, "{jump} {run}");
            files.rotate(10 * day + 1);
            files.rotate(11 * day - 1);
            assert_eq!(files.key("client.pem"), first, "{jump} {run}: too early");
            files.rotate(11 * day + 1 + ahead(2));
            assert_ne!(files.key("client.pem"), first, "{jump} {run}: too late");
        }
    }
    for unset in [UNIX_EPOCH - DAY, UNIX_EPOCH, UNIX_EPOCH + 365 * DAY] {
        let files = Files::new();
        files.rotate(0);
        let before = files.rotate(10 * day);
        let rotation = |now| files.try_rotate_at(now, |_| ());
        let failure = rotation(unset).unwrap_err();
        assert!(failure.message().contains("clock is set before 2025"));
        assert_eq!(files.rotate(10 * day + 1), before);
    }
}
