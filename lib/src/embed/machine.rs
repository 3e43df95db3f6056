//! The machine, as sysinfo tells it: what a measurement was made on, and how much memory there is for vectors.

use crate::numa::Topology;
use serde::Serialize;
use std::fmt;
use sysinfo::{CpuRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// The share of the memory that is to be had which is filled ahead when nobody says how much.
const AHEAD_SHARE: u64 = 4;

/// A machine, as far as a measurement depends on it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineName {
    /// Its processor.
    pub cpu: String,
    /// How many of them this process may use.
    pub cpus: usize,
    /// Memory that this process may use.
    pub memory_bytes: u64,
    /// The operating system.
    pub os: String,
    /// The kernel.
    pub kernel: String,
    /// How busy it was: the load of the last minute.
    pub load: f64,
}

impl MachineName {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_list(CpuRefreshKind::nothing());
        }
        let brand = system.as_ref().and_then(|system| system.cpus().first()).map(|cpu| cpu.brand().trim().to_owned());
        let memory = Memory::here(&Topology::read(&crate::numa::Machine::default()));
        Self {
            cpu: brand.filter(|brand| !brand.is_empty()).unwrap_or_else(System::cpu_arch),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.limit_bytes.unwrap_or(memory.total_bytes),
            os: System::long_os_version().unwrap_or_else(|_| "Linux".into()),
            kernel: System::kernel_version().unwrap_or_default(),
            load: System::load_average().map_or(0.0, |load| load.one),
        }
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { cpu, cpus, memory_bytes, os, kernel, load } = self;
        let gb = *memory_bytes as f64 / 1e9;
        write!(f, "{cpu}, {cpus} CPUs, {gb:.1} GB of memory, {os}, kernel {kernel}, load {load}")
    }
}

/// The memory there is, as far as this process may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// The machine's.
    pub total_bytes: u64,
    /// What is to be had, what the page cache would give back included.
    pub available_bytes: u64,
    /// The most that the process's control groups allow, if they limit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// What is read ahead at most when nobody says how much.
    pub budget_bytes: u64,
}

impl Memory {
    /// What this process may use now.
    #[must_use]
    pub fn here(topology: &Topology) -> Self {
        let of_nodes = topology.nodes.iter().filter_map(|node| node.memory_total_bytes).sum();
        let Ok(mut system) = System::new() else {
            return Self::within(of_nodes, of_nodes, topology.memory_limit_bytes, 0);
        };
        system.refresh_memory();
        let own = Pid::from_u32(std::process::id());
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, ProcessRefreshKind::nothing());
        let group = system.process(own).and_then(sysinfo::Process::cgroup_limits);
        // Where sysinfo does not find the group, the walk over the folders may.
        let limits = [group.as_ref().map(|group| group.total_memory), topology.memory_limit_bytes];
        let limit = limits.into_iter().flatten().filter(|limit| *limit < system.total_memory()).min();
        Self::within(system.total_memory(), system.available_memory(), limit, group.map_or(0, |group| group.rss))
    }

    /// Within a control group's limit, of which `held_bytes` will not be given back.
    fn within(total_bytes: u64, available_bytes: u64, limit_bytes: Option<u64>, held_bytes: u64) -> Self {
        let left = limit_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(held_bytes));
        let available_bytes = available_bytes.min(left);
        Self { total_bytes, available_bytes, limit_bytes, budget_bytes: available_bytes / AHEAD_SHARE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_limits_what_is_to_be_had() {
        let budget = |limit, held| Memory::within(1000, 800, limit, held).budget_bytes;
        assert_eq!([budget(None, 5), budget(Some(900), 5), budget(Some(400), 0)], [200, 200, 100]);
        // What others in the group hold is not to be had; what they read is given back.
        assert_eq!([budget(Some(400), 100), budget(Some(400), 500)], [75, 0]);
    }

    #[test]
    fn this_machine_has_a_name_and_memory() {
        let name = MachineName::here();
        assert!(!name.cpu.is_empty() && name.cpus > 0 && name.memory_bytes > 0 && !name.kernel.is_empty(), "{name}");
        let memory = Memory::here(&Topology::read(&crate::numa::Machine::default()));
        assert!(memory.budget_bytes > 0 && memory.budget_bytes < memory.total_bytes, "{memory:?}");
    }
}
