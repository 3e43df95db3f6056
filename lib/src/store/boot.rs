//! Which start of the machine this is, and how long ago it was.

use std::time::Duration;

/// How long the machine runs, sleep included; no clock that is set moves it.
#[must_use]
pub fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    Some(Duration::from_secs_f64(text.split_whitespace().next()?.parse().ok()?))
}

/// Tells this start of the machine from others; empty when nobody knows.
#[must_use]
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
