//! The growth of a resource within the lives of the service, which a comparison across its restarts does not show: the
//! service may release at its shutdown what it accumulated.

/// The seconds after its start in which a service opens its connections.
const WARM_UP: usize = 5;
/// The seconds of a level. It is the lowest measurement of them: a fault of the network raises the others for a while.
const LEVEL: usize = 10;
/// The seconds of the shortest life that is measured.
pub(crate) const SHORTEST: usize = WARM_UP + 2 * LEVEL;

/// The levels after the warm-up and at the end of a life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) seconds: usize,
}

impl Growth {
    /// Returns the largest growth within a life, of measurements of each second with the number of the life.
    pub(crate) fn largest(measurements: &[(u64, u64)]) -> Option<Self> {
        let lives = measurements.chunk_by(|(life, _), (next, _)| life == next);
        let level = |part: &[(u64, u64)]| part.iter().map(|(_, value)| *value).min().unwrap_or(0);
        let growths = lives
            .filter(|life| life.len() >= SHORTEST)
            .map(|life| Self {
                before: level(&life[WARM_UP..][..LEVEL]),
                after: level(&life[life.len() - LEVEL..]),
                seconds: life.len(),
            });
        // A level of zero was not measured.
        let growths = growths.filter(|growth| growth.after > 0);
        growths.max_by_key(|growth| growth.after.saturating_sub(growth.before))
    }

    pub(crate) fn is_allowed(&self, allowance: u64) -> bool {
        self.after <= self.before + allowance
    }
}
