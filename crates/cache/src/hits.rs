//! The counters of hits, the hot path: each thread has its own line, where an addition needs no atomic
//! read-modify-write, and sixteen caches share a block of lines, so that a small cache is not mostly a counter.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Lines of a block; the last is shared by all threads that found no free one.
const LINES: usize = 32;
const SHARED_LINE: usize = LINES - 1;

/// The counters in a line.
const PLACES: usize = 16;

/// The counter of one cache.
pub(crate) struct HitCounter {
    block: Arc<Block>,
    place: usize,
    /// The count at this place when the counter was created.
    before: u64,
}

#[derive(Default)]
struct Block {
    lines: [Line; LINES],
    /// A bit for each place in use, changed with [`FREE_BLOCKS`] locked.
    taken: AtomicUsize,
}

#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU64; PLACES]);

/// The blocks with a place in use and a free one, by address.
static FREE_BLOCKS: Mutex<BTreeMap<usize, Arc<Block>>> = Mutex::new(BTreeMap::new());

impl HitCounter {
    #[inline]
    pub(crate) fn add(&self) {
        let line = line_index();
        let count = &self.block.lines[line].0[self.place % PLACES];
        if line == SHARED_LINE {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            // No other thread writes here.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.block.sum(self.place) - self.before
    }
}

impl Default for HitCounter {
    fn default() -> Self {
        let mut free = free_blocks();
        let block = free.first_key_value().map(|(_, block)| block.clone());
        let block = block.unwrap_or_default();
        let taken = block.taken.load(Ordering::Relaxed);
        let place = taken.trailing_ones() as usize;
        block.set_taken(&mut free, taken | 1 << place);
        Self {
            before: block.sum(place),
            block,
            place,
        }
    }
}

impl Drop for HitCounter {
    fn drop(&mut self) {
        let mut free = free_blocks();
        let taken = self.block.taken.load(Ordering::Relaxed);
        self.block.set_taken(&mut free, taken & !(1 << self.place));
    }
}

impl Block {
    fn sum(&self, place: usize) -> u64 {
        let counts = self.lines.iter().map(|line| &line.0[place]);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn set_taken(self: &Arc<Self>, free: &mut BTreeMap<usize, Arc<Self>>, taken: usize) {
        const ALL: usize = (1 << PLACES) - 1;
        self.taken.store(taken, Ordering::Relaxed);
        let address = Arc::as_ptr(self).addr();
        if taken == 0 || taken == ALL {
            free.remove(&address);
        } else {
            free.insert(address, self.clone());
        }
    }
}

fn free_blocks() -> MutexGuard<'static, BTreeMap<usize, Arc<Block>>> {
    FREE_BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns this thread's line. A line is never reused by another thread, not even when its own has ended.
#[inline]
fn line_index() -> usize {
    const UNASSIGNED: usize = usize::MAX;

    static NEXT_LINE: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        static THREAD_LINE: Cell<usize> = const { Cell::new(UNASSIGNED) };
    }

    THREAD_LINE.with(|index| {
        if index.get() == UNASSIGNED {
            index.set(NEXT_LINE.fetch_add(1, Ordering::Relaxed).min(SHARED_LINE));
        }
        index.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hit_is_lost_among_many_threads() {
        let counters: Vec<_> = (0..2 * PLACES).map(|_| HitCounter::default()).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 * LINES {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        counters.iter().for_each(HitCounter::add);
                    }
                });
            }
        });
        for counter in &counters {
            assert_eq!(counter.sum(), 2_000 * LINES as u64);
        }
    }

    #[test]
    fn a_counter_in_a_place_that_was_used_starts_at_zero() {
        for _ in 0..2 * PLACES {
            let counter = HitCounter::default();
            assert_eq!(counter.sum(), 0);
            counter.add();
            assert_eq!(counter.sum(), 1);
        }
    }
}
