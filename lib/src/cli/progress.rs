//! Progress on standard error for people who wait: nothing is shown for short work, in pipes, or when quiet.

use super::escape::one_line;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work shorter than this shows nothing.
const DELAY: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(100);

/// One line of progress; it goes away with [`Progress::finish`] or when dropped.
#[derive(Debug)]
pub struct Progress {
    shown: Option<Shown>,
    /// When it began, if the steps of the work are told.
    steps: Option<Instant>,
}

#[derive(Debug)]
struct Shown {
    bar: ProgressBar,
    finished: Arc<(Mutex<bool>, Condvar)>,
    starter: Option<JoinHandle<()>>,
}

impl Progress {
    /// Progress that is shown after a moment, or never when `visible` is false.
    pub(super) fn new(visible: bool) -> Self {
        if !visible {
            return Self { shown: None, steps: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style("{spinner} {msg} {elapsed}"));
        let finished = Arc::new((Mutex::new(false), Condvar::new()));
        let starter = std::thread::Builder::new().name("progress".into()).spawn({
            let (bar, finished) = (bar.clone(), Arc::clone(&finished));
            move || {
                let lock = finished.0.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = finished.1.wait_timeout_while(lock, DELAY, |finished| !*finished);
                if waited.is_ok_and(|(finished, _)| !*finished) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(TICK);
                }
            }
        });
        Self { shown: Some(Shown { bar, finished, starter: starter.ok() }), steps: None }
    }

    /// From now on each step of the work is told, with the time since then.
    pub fn tell_steps(&mut self) {
        self.steps = Some(Instant::now());
    }

    /// Tells that a step begins, if that is wanted.
    pub fn begin(&self, label: &str) {
        let Some(began) = self.steps else { return };
        let line = format!("{label} {:.1} ms\n", began.elapsed().as_secs_f64() * 1e3);
        let write = || std::io::stderr().write_all(line.as_bytes());
        // Who does not listen to progress loses nothing else.
        let _ = match &self.shown {
            Some(Shown { bar, .. }) => bar.suspend(write),
            None => write(),
        };
    }

    /// Says what is being done, without an end in sight.
    pub fn spinner(&self, text: &str) {
        if let Some(Shown { bar, .. }) = &self.shown {
            bar.unset_length();
            bar.set_style(style("{spinner} {msg} {elapsed}"));
            bar.set_message(one_line(text).into_owned());
        }
    }

    /// Says what is being done and how far it is.
    pub fn set(&self, position: u64, total: u64, text: &str) {
        if let Some(Shown { bar, .. }) = &self.shown {
            if bar.length() != Some(total) {
                bar.set_style(style("{spinner} {msg} {wide_bar} {pos}/{len}"));
                bar.set_length(total);
            }
            bar.set_position(position);
            bar.set_message(one_line(text).into_owned());
        }
    }

    /// Takes the line away.
    pub fn finish(&mut self) {
        if let Some(Shown { bar, finished, starter }) = self.shown.take() {
            *finished.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            finished.1.notify_all();
            if let Some(starter) = starter {
                // It only waits and draws; its end says nothing.
                let _ = starter.join();
            }
            bar.finish_and_clear();
        }
    }

    /// The line itself, so that other lines on standard error do not run into it.
    pub(super) fn bar(&self) -> Option<ProgressBar> {
        self.shown.as_ref().map(|shown| shown.bar.clone())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
