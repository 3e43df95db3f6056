//! How long a query took, and which plugin it waited for.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one plugin took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timing {
    /// When it was begun, in milliseconds after the query.
    pub began_ms: f64,
    /// How long it took, in milliseconds: nearly all of it is the service's own time.
    pub took_ms: f64,
}

/// `op-query --timings`: how long a query took, and what of it each plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timings {
    kind: &'static str,
    version: u32,
    /// The whole query, in milliseconds. Plugins are read side by side, so it is no sum.
    pub took_ms: f64,
    /// The plugin that took longest; absent when none was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest: Option<String>,
    /// Each plugin.
    pub plugins: BTreeMap<String, Timing>,
}

impl Default for Timings {
    fn default() -> Self {
        Self { kind: "timings", version: 1, took_ms: 0.0, slowest: None, plugins: BTreeMap::new() }
    }
}

impl Timing {
    pub(super) fn new(began: Duration, took: Duration) -> Self {
        Self { began_ms: ms(began), took_ms: ms(took) }
    }
}

impl Timings {
    pub(super) fn ended(&mut self, took: Duration) {
        self.took_ms = ms(took);
        let slowest = self.plugins.iter().max_by(|a, b| a.1.took_ms.total_cmp(&b.1.took_ms));
        self.slowest = slowest.map(|(name, _)| name.clone());
    }

    /// For people, the slowest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut plugins: Vec<_> = self.plugins.iter().collect();
        plugins.sort_by(|a, b| b.1.took_ms.total_cmp(&a.1.took_ms));
        let line = |(name, timing): (&String, &Timing)| {
            format!("{:>9.2} ms  {name} (begun after {:.2} ms)", timing.took_ms, timing.began_ms)
        };
        std::iter::once(format!("{:>9.2} ms  the whole query", self.took_ms))
            .chain(plugins.into_iter().map(line))
            .collect()
    }
}

/// Milliseconds, to the microsecond.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
