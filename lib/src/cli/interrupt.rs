//! SIGINT and SIGTERM as a count: once is "stop after this step", and what more means is the run's to say.

use crate::base::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often this process was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM are counted instead of ending the process.
    pub fn install() -> Result<Self> {
        let failed = |e: std::io::Error| Error::failed(format!("could not prepare for SIGINT and SIGTERM: {e}"));
        let (mut read, write) = UnixStream::pair().map_err(failed)?;
        pipe::register(SIGINT, write.try_clone().map_err(failed)?).map_err(failed)?;
        pipe::register(SIGTERM, write).map_err(failed)?;
        let count = Self::default();
        let counted = Arc::clone(&count.0);
        let listen = move || {
            let mut bytes = [0; 16];
            while let Ok(n @ 1..) = read.read(&mut bytes) {
                counted.fetch_add(n, Ordering::SeqCst);
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(failed)?;
        Ok(count)
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
    }
}
