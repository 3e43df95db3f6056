//! When to ask again after a signal that says no more than that something happened. Pure: the caller has the clock.
//!
//! The first signal is followed at once, a burst once. A kind of signal that keeps leading to nothing is followed less
//! and less often, down to once an interval: asking may itself cause such signals, and must not go round in circles.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How long a burst is waited out.
const SETTLE: Duration = Duration::from_millis(4);
/// The shortest time between two readings for a kind of signal that led to nothing.
const SHORTEST: Duration = Duration::from_millis(20);

/// When the answers of one service are to be read again because of signals.
#[derive(Debug)]
pub struct Hints {
    due: Option<Instant>,
    /// The kinds of signals that ask for the reading that is due.
    kinds: BTreeSet<String>,
    /// Of each kind that led to nothing: how long to wait after the last reading for it, and when that was.
    gaps: HashMap<String, (Duration, Instant)>,
    longest: Duration,
    ended: Option<Instant>,
    took: Duration,
}

impl Hints {
    /// Nothing is due; `longest` is the longest time between two readings.
    pub fn new(longest: Duration) -> Self {
        let (due, kinds, gaps) = (None, BTreeSet::new(), HashMap::new());
        Self { due, kinds, gaps, longest, ended: None, took: Duration::ZERO }
    }

    /// When the next reading is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A signal of `kind` came.
    pub fn came(&mut self, kind: &str, now: Instant) {
        let mut earliest = now + SETTLE;
        if let Some((gap, last)) = self.gaps.get(kind).copied() {
            if now.saturating_duration_since(last) > gap * 2 + self.took {
                self.gaps.remove(kind);
            } else {
                earliest = earliest.max(last + gap);
            }
        }
        // Reading takes half of the time at most.
        if let Some(ended) = self.ended {
            earliest = earliest.max(ended + self.took);
        }
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
        self.kinds.insert(kind.to_owned());
    }

    /// Nothing is due any more: the service is gone, or everything is read anyway.
    pub fn forget(&mut self) {
        self.due = None;
        self.kinds.clear();
    }

    /// What was due was read from `began` to `now`, and brought something new or not.
    pub fn was_read(&mut self, began: Instant, now: Instant, has_changed: bool) {
        self.due = None;
        self.ended = Some(now);
        self.took = now.saturating_duration_since(began);
        for kind in std::mem::take(&mut self.kinds) {
            if has_changed {
                self.gaps.remove(&kind);
            } else {
                let (gap, last) = self.gaps.entry(kind).or_insert((SHORTEST / 2, now));
                (*gap, *last) = ((*gap * 2).min(self.longest.max(SHORTEST)), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_signal_is_followed_at_once_and_a_burst_once() {
        let start = Instant::now();
        let mut hints = Hints::new(5000 * MS);
        hints.came("A", start);
        let due = hints.due().unwrap();
        assert!(due <= start + 5 * MS);
        hints.came("A", start + MS);
        hints.came("B", start + 2 * MS);
        assert_eq!(hints.due(), Some(due));
        hints.was_read(due, due + MS, true);
        assert_eq!(hints.due(), None);
    }

    #[test]
    fn what_leads_to_nothing_is_followed_less_often_and_asking_in_circles_ends() {
        let (start, mut hints) = (Instant::now(), Hints::new(5000 * MS));
        let mut now = start;
        let mut readings = 0;
        // Each reading causes a signal at once.
        while now < start + 60_000 * MS {
            hints.came("echo", now);
            now = hints.due().unwrap();
            hints.was_read(now, now + MS, false);
            now += 2 * MS;
            readings += 1;
        }
        assert!((12..25).contains(&readings), "{readings} readings in a minute");
        // Another kind of signal is followed at once meanwhile, and this one again after it was quiet.
        hints.came("other", now);
        assert!(hints.due().unwrap() <= now + 5 * MS);
        hints.was_read(now + 5 * MS, now + 6 * MS, true);
        now += 11_000 * MS;
        hints.came("echo", now);
        assert!(hints.due().unwrap() <= now + 5 * MS);
    }

    #[test]
    fn a_slow_reading_does_not_take_all_the_time() {
        let (start, mut hints) = (Instant::now(), Hints::new(5000 * MS));
        hints.came("A", start);
        hints.was_read(start, start + 400 * MS, true);
        hints.came("A", start + 401 * MS);
        assert_eq!(hints.due(), Some(start + 800 * MS));
        hints.forget();
        assert_eq!(hints.due(), None);
    }
}
