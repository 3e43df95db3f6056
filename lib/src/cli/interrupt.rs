//! SIGINT and SIGTERM as a count: once is "stop after this step", and what more means is the run's to say.
//!
//! SIGHUP, a terminal that went away, asks to stop too, but only once: the kernel and the shell both send it, and it must
//! not cut short the undo that the first one began. Under `nohup` it is ignored, and stays so.

use crate::base::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often this process was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP are counted instead of ending the process.
    pub fn install() -> Result<Self> {
        let count = Self::default();
        count.listen(&[SIGINT, SIGTERM], |count, n| {
            count.fetch_add(n, Ordering::SeqCst);
        })?;
        if !is_ignored(SIGHUP) {
            count.listen(&[SIGHUP], |count, _| {
                count.fetch_max(1, Ordering::SeqCst);
            })?;
        }
        Ok(count)
    }

    fn listen(&self, signals: &[i32], came: fn(&AtomicUsize, usize)) -> Result<()> {
        let failed = |e: std::io::Error| Error::failed(format!("could not prepare for signals: {e}"));
        let (mut read, write) = UnixStream::pair().map_err(failed)?;
        for signal in signals {
            pipe::register(*signal, write.try_clone().map_err(failed)?).map_err(failed)?;
        }
        let counter = self.counter();
        let listen = move || {
            let mut bytes = [0; 16];
            while let Ok(n @ 1..) = read.read(&mut bytes) {
                came(&counter, n);
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(failed)?;
        Ok(())
    }

    /// How often so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// The counter itself, for those who keep an eye on it.
    #[must_use]
    pub fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0)
    }
}

/// Whether whoever started this process had it ignore the signal. Without /proc nobody knows, and it counts as not.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};
    use std::time::{Duration, Instant};

    #[test]
    fn every_signal_counts() {
        let interrupt = Interrupt::install().unwrap();
        assert_eq!(interrupt.count(), 0);
        for (signal, expected) in [(Signal::INT, 1), (Signal::TERM, 2), (Signal::INT, 3)] {
            kill_process(getpid(), signal).unwrap();
            let start = Instant::now();
            while interrupt.count() < expected && start.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(interrupt.count(), expected);
        }
        // A terminal that goes away after that changes nothing: the run is stopping already.
        kill_process(getpid(), Signal::HUP).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(interrupt.count(), 3);
    }
}
