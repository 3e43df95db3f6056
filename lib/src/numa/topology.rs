//! The machine as /sys and /proc describe it.

use super::cpus;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the machine describes itself. In tests both are folders of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }
}

/// A NUMA node: memory, and the processors it is near to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Node {
    /// Its number.
    pub id: u32,
    /// Processors this process may use.
    pub cpus: Vec<u32>,
    /// Relative distances to all nodes, in their order: 10 is its own memory. No times, and no promises.
    pub distances: Vec<u32>,
    /// Its memory; absent where it is not told.
    pub memory_total_bytes: Option<u64>,
    /// What of it is free.
    pub memory_free_bytes: Option<u64>,
    /// Whether this process may use memory of it.
    pub is_allowed: bool,
}

/// Processors that share a level-3 cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CacheGroup {
    /// Processors of the group that this process may use.
    pub cpus: Vec<u32>,
    /// The cache's size; absent where it is not told.
    pub size_bytes: Option<u64>,
    /// The node it belongs to.
    pub node: u32,
}

/// Nodes, processors and caches, within what this process may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Topology {
    /// The nodes, by number.
    pub nodes: Vec<Node>,
    /// The groups, by their first processor.
    pub l3_groups: Vec<CacheGroup>,
    /// Processors this process may use.
    pub allowed_cpus: Vec<u32>,
    /// The most memory that the process's control group allows, if it limits it.
    pub memory_limit_bytes: Option<u64>,
    /// What the machine does not tell, and what was taken for it.
    pub notes: Vec<String>,
}

impl Topology {
    /// Reads it. What is missing is noted, and taken to be one node without level-3 caches.
    #[must_use]
    pub fn read(machine: &Machine) -> Self {
        let read = |path: &str| fs::read_to_string(machine.sys.join(path)).ok();
        let mut notes = Vec::new();
        let status = fs::read_to_string(machine.proc.join("self/status")).unwrap_or_default();
        let status =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(cpus::parse);
        let online = read("devices/system/cpu/online").map(|text| cpus::parse(&text)).filter(|cpus| !cpus.is_empty());
        let online = online.unwrap_or_else(|| {
            notes.push("the machine does not list its processors: those this process may use are taken".into());
            status("Cpus_allowed_list").unwrap_or_else(|| vec![0])
        });
        let mut allowed_cpus = online.clone();
        if let Some(allowed) = status("Cpus_allowed_list") {
            allowed_cpus.retain(|cpu| allowed.contains(cpu));
        }
        let mems = status("Mems_allowed_list");
        let is_allowed = |id: u32| mems.as_ref().is_none_or(|mems| mems.contains(&id));
        let mut nodes = nodes(machine, &allowed_cpus, &is_allowed);
        if nodes.is_empty() {
            notes.push("the machine lists no NUMA nodes: it is taken for one".into());
            let cpus = allowed_cpus.clone();
            nodes.push(Node {
                id: 0,
                cpus,
                distances: vec![10],
                memory_total_bytes: None,
                memory_free_bytes: None,
                is_allowed: true,
            });
        }
        let l3_groups = groups(machine, &allowed_cpus, &nodes);
        if l3_groups.is_empty() {
            notes.push("the machine tells nothing about level-3 caches".into());
        }
        let memory_limit_bytes = memory_limit(machine);
        Self { nodes, l3_groups, allowed_cpus, memory_limit_bytes, notes }
    }

    /// The nodes whose memory this process may use.
    pub fn usable_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_allowed && node.memory_total_bytes != Some(0))
    }

    /// The node a processor is near to.
    #[must_use]
    pub fn node_of(&self, cpu: u32) -> Option<&Node> {
        self.nodes.iter().find(|node| node.cpus.contains(&cpu))
    }

    /// A drawing for people.
    #[must_use]
    pub fn draw(&self) -> String {
        let size = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), human);
        let mut text = String::new();
        for node in &self.nodes {
            let barred = if node.is_allowed { "" } else { ", which this process may not use" };
            let (total, free) = (size(node.memory_total_bytes), size(node.memory_free_bytes));
            text += &format!("NUMA node {}  memory {total}, free {free}{barred}\n", node.id);
            let groups: Vec<_> = self.l3_groups.iter().filter(|group| group.node == node.id).collect();
            for group in &groups {
                text += &format!("  L3 {:<10} CPUs {}\n", size(group.size_bytes), cpus::write(&group.cpus));
            }
            if groups.is_empty() {
                text += &format!("  CPUs {}\n", cpus::write(&node.cpus));
            }
        }
        if self.nodes.len() > 1 {
            text += "distances (relative: 10 is a node's own memory)\n        ";
            self.nodes.iter().for_each(|node| text += &format!("{:>5}", node.id));
            for node in &self.nodes {
                text += &format!("\n  {:>5} ", node.id);
                node.distances.iter().for_each(|distance| text += &format!("{distance:>5}"));
            }
            text.push('\n');
        }
        text += &format!("this process may use CPUs {}", cpus::write(&self.allowed_cpus));
        if let Some(limit) = self.memory_limit_bytes {
            text += &format!(" and {} of memory", human(limit));
        }
        text.push('\n');
        self.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
        text
    }
}

fn human(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, (bytes >> 20) % 1024 * 10 / 1024),
    }
}

fn nodes(machine: &Machine, allowed: &[u32], is_allowed: &dyn Fn(u32) -> bool) -> Vec<Node> {
    let folder = machine.sys.join("devices/system/node");
    let listed = fs::read_to_string(folder.join("online")).map(|text| cpus::parse(&text)).unwrap_or_default();
    let node = |id: u32| {
        let read = |name: &str| fs::read_to_string(folder.join(format!("node{id}")).join(name)).ok();
        let mut cpus = cpus::parse(&read("cpulist")?);
        cpus.retain(|cpu| allowed.contains(cpu));
        let distances = read("distance").unwrap_or_default();
        let memory = read("meminfo").unwrap_or_default();
        let memory = |name: &str| {
            let line = memory.lines().find(|line| line.split_whitespace().nth(2) == Some(name))?;
            Some(line.split_whitespace().nth(3)?.parse::<u64>().ok()? << 10)
        };
        Some(Node {
            id,
            cpus,
            distances: distances.split_whitespace().filter_map(|d| d.parse().ok()).collect(),
            memory_total_bytes: memory("MemTotal:"),
            memory_free_bytes: memory("MemFree:"),
            is_allowed: is_allowed(id),
        })
    };
    listed.into_iter().filter_map(node).collect()
}

fn groups(machine: &Machine, allowed: &[u32], nodes: &[Node]) -> Vec<CacheGroup> {
    let mut found: BTreeMap<Vec<u32>, Option<u64>> = BTreeMap::new();
    for cpu in allowed {
        let folder = machine.sys.join(format!("devices/system/cpu/cpu{cpu}/cache"));
        for index in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let read = |name: &str| fs::read_to_string(index.join(name)).map(|text| text.trim().to_owned()).ok();
            if read("level").as_deref() != Some("3") {
                continue;
            }
            let mut cpus = cpus::parse(&read("shared_cpu_list").unwrap_or_else(|| cpu.to_string()));
            cpus.retain(|cpu| allowed.contains(cpu));
            found.insert(cpus, read("size").and_then(|text| size(&text)));
        }
    }
    let node_of = |cpus: &[u32]| nodes.iter().find(|n| cpus.iter().any(|c| n.cpus.contains(c))).map_or(0, |n| n.id);
    found.into_iter().map(|(cpus, size_bytes)| CacheGroup { node: node_of(&cpus), cpus, size_bytes }).collect()
}

/// `32768K` in bytes.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    Some(digits.parse::<u64>().ok()? << shift)
}

/// The smallest `memory.max` (or, before, `memory.limit_in_bytes`) on the way from the process's control group up.
fn memory_limit(machine: &Machine) -> Option<u64> {
    let groups = fs::read_to_string(machine.proc.join("self/cgroup")).ok()?;
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, name) = match controllers {
            "" => (machine.sys.join("fs/cgroup"), "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                (machine.sys.join("fs/cgroup/memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        for folder in path.ancestors() {
            let limit = fs::read_to_string(root.join(folder).join(name)).ok().and_then(|text| text.trim().parse().ok());
            // Version 1 writes "no limit" as nearly 2^63.
            if let Some(limit) = limit.filter(|limit| *limit < 1 << 60) {
                least = Some(least.map_or(limit, |least| least.min(limit)));
            }
        }
    }
    least
}
