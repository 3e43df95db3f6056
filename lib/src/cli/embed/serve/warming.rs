//! Reading ahead while others are answered: at the lowest priority, page by page.

use crate::base::Result;
use crate::embed::cache::{Cache, Warm};
use crate::numa::{Plan, Topology};
use std::sync::Arc;

/// What is read ahead, and where it is put.
#[derive(Debug)]
pub struct Warming {
    /// The cache.
    pub cache: Arc<Cache>,
    /// The most memory this may fill, on each node that holds a copy.
    pub budget_bytes: u64,
    /// The machine.
    pub topology: Topology,
    /// Who works where.
    pub plan: Plan,
}

impl Warming {
    /// Reads ahead until it is done or `should_stop`; with a plan that wants a copy on each node, these are made.
    pub fn run(&self, should_stop: &(dyn Fn() -> bool + Sync)) -> Result<()> {
        let plan = Some(&self.plan);
        self.cache.warm(&Warm { budget_bytes: self.budget_bytes, locks: false, plan, should_stop })?;
        if !self.plan.replicas.is_empty() && !should_stop() {
            self.cache.copy_hot(&self.topology, &self.plan, self.budget_bytes)?;
        }
        Ok(())
    }
}
