//! Who works where: a plan that can be printed, and what came of it.

use super::sys::{self, Mode};
use super::topology::Topology;
use crate::base::{Error, Result};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use serde::Serialize;

/// Where vectors and the threads that read them are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// On the node this process runs on.
    #[default]
    Local,
    /// On this node.
    Node(u32),
    /// On the node with the most free memory.
    MostMemory,
    /// Pages on all nodes in turn, workers on all of them.
    Interleave,
    /// A copy of the hot set on every node, each worker reading its own node's.
    Replicate,
    /// As the kernel does it by itself.
    Off,
}

/// How strictly memory is taken from the chosen node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryPolicy {
    /// From it while it has some.
    #[default]
    Preferred,
    /// From it or not at all.
    Bind,
    /// As the kernel does it.
    Default,
}

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Where things are put.
    pub strategy: Strategy,
    /// How strictly.
    pub memory_policy: MemoryPolicy,
}

impl Strategy {
    /// `local`, `node N`, `N`, `most-memory`, `interleave`, `replicate` or `off`; and the founding project's `local_node`,
    /// `round_robin`, `most_memory`, `disabled`.
    pub fn parse(text: &str) -> Result<Self> {
        let word = text.trim().to_ascii_lowercase().replace('_', "-");
        Ok(match word.as_str() {
            "local" | "local-node" => Self::Local,
            "most-memory" => Self::MostMemory,
            "interleave" | "interleaved" | "round-robin" => Self::Interleave,
            "replicate" => Self::Replicate,
            "off" | "disabled" | "none" => Self::Off,
            other => {
                let number = other.strip_prefix("node").unwrap_or(other).trim_start_matches(['-', ' ', ':', '=']);
                Self::Node(number.parse().map_err(|_| {
                    Error::usage("there is no such NUMA strategy")
                        .on(format!("{text:?}"))
                        .hint("say local, node N, most-memory, interleave, replicate or off")
                })?)
            }
        })
    }
}

impl Wishes {
    /// What the variables `OPDBUS_NUMA_STRATEGY`, `..._NODE_PREFERENCE`, `..._MEMORY_POLICY` and `..._ENABLED` say, by
    /// the part of their names after `OPDBUS_NUMA_`.
    pub fn from_variables<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let mut wishes = Self::default();
        if let Some(text) = variable("STRATEGY") {
            wishes.strategy = Strategy::parse(text).map_err(|e| e.hint("OPDBUS_NUMA_STRATEGY is set to this"))?;
        }
        if let (Some(text), Strategy::Local) = (variable("NODE_PREFERENCE"), wishes.strategy) {
            wishes.strategy = Strategy::parse(&format!("node {text}"))
                .map_err(|e| e.hint("OPDBUS_NUMA_NODE_PREFERENCE is set to this: it is a node's number"))?;
        }
        match variable("MEMORY_POLICY").map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("preferred") => {}
            Some("bind") => wishes.memory_policy = MemoryPolicy::Bind,
            Some("default") => wishes.memory_policy = MemoryPolicy::Default,
            Some("interleave" | "interleaved") => wishes.strategy = Strategy::Interleave,
            Some(other) => {
                return Err(Error::usage("there is no such memory policy")
                    .on(format!("{other:?}"))
                    .hint("OPDBUS_NUMA_MEMORY_POLICY is bind, preferred, interleaved or default"));
            }
        }
        if variable("ENABLED").is_some_and(|text| matches!(text.trim(), "0" | "false" | "no" | "off")) {
            wishes.strategy = Strategy::Off;
        }
        Ok(wishes)
    }
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "outcome", content = "why")]
pub enum Effect {
    /// The kernel did it.
    Applied,
    /// The kernel refused, and everything goes on without.
    Denied(String),
    /// There is nothing to choose.
    NotNeeded(String),
}

/// One step of a placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Step {
    /// What was to be done.
    pub what: String,
    /// What came of it.
    #[serde(flatten)]
    pub effect: Effect,
}

impl Step {
    /// What came of it, in a word or two.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.effect {
            Effect::Applied => "applied",
            Effect::Denied(_) => "denied",
            Effect::NotNeeded(_) => "not needed",
        }
    }

    /// Why it was not done; empty when it was.
    #[must_use]
    pub fn why(&self) -> &str {
        match &self.effect {
            Effect::Applied => "",
            Effect::Denied(why) | Effect::NotNeeded(why) => why,
        }
    }
}

/// Where one worker works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Place {
    /// Processors it is pinned to: they share a level-3 cache. Empty: it is not pinned.
    pub cpus: Vec<u32>,
    /// Nodes its memory comes from. Empty: it is left to the kernel.
    pub nodes: Vec<u32>,
}

/// Where everyone works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// Places; worker number `i` takes number `i` modulo their count.
    pub places: Vec<Place>,
    /// Nodes that hold a copy of the hot set each; empty when there is one for all.
    pub replicas: Vec<u32>,
    /// Why memory is left to the kernel, when it is.
    pub memory_note: Option<String>,
    /// Why processors are left to the kernel, when they are.
    pub cpu_note: Option<String>,
    #[serde(skip)]
    policy: MemoryPolicy,
    #[serde(skip)]
    is_interleaved: bool,
}

impl Plan {
    /// The plan for these wishes on this machine, when it is made on processor `cpu`.
    pub fn new(topology: &Topology, wishes: &Wishes, cpu: u32) -> Result<Self> {
        let usable: Vec<u32> = topology.usable_nodes().map(|node| node.id).collect();
        let here = topology.node_of(cpu).map_or(0, |node| node.id);
        let chosen: Vec<u32> = match wishes.strategy {
            Strategy::Off => Vec::new(),
            Strategy::Local => vec![here],
            Strategy::MostMemory => {
                topology.usable_nodes().max_by_key(|n| n.memory_free_bytes).map(|n| n.id).into_iter().collect()
            }
            Strategy::Interleave | Strategy::Replicate => usable.clone(),
            Strategy::Node(id) if usable.contains(&id) => vec![id],
            Strategy::Node(id) => {
                let what = if topology.nodes.iter().any(|n| n.id == id) {
                    "may not be used by this process"
                } else {
                    "does not exist"
                };
                let list = super::cpus::write(&usable);
                return Err(Error::usage(format!("the NUMA node {what}"))
                    .on(format!("node {id}"))
                    .hint(format!("choose one of: {list}")));
            }
        };
        let is_off = wishes.strategy == Strategy::Off;
        let memory_note = match () {
            () if is_off => Some("switched off".to_owned()),
            () if usable.len() < 2 => Some("there is one NUMA node".to_owned()),
            () if wishes.memory_policy == MemoryPolicy::Default => Some("left to the kernel".to_owned()),
            () => None,
        };
        let mut groups: Vec<Vec<u32>> =
            topology.l3_groups.iter().filter(|g| chosen.contains(&g.node)).map(|g| g.cpus.clone()).collect();
        if groups.is_empty() {
            groups = topology.nodes.iter().filter(|n| chosen.contains(&n.id)).map(|n| n.cpus.clone()).collect();
        }
        groups.retain(|cpus| !cpus.is_empty());
        if wishes.strategy == Strategy::Local {
            // The caller's own cache before its neighbours'.
            groups.sort_by_key(|cpus| !cpus.contains(&cpu));
            groups.truncate(1);
        }
        let cpu_note = match () {
            () if is_off => Some("switched off".to_owned()),
            () if groups.is_empty() => Some("the chosen node has no processors".to_owned()),
            () if groups.len() == 1 && groups[0] == topology.allowed_cpus => {
                Some("all processors share one level-3 cache, or nothing is known about it".to_owned())
            }
            () => None,
        };
        if cpu_note.is_some() {
            groups = vec![Vec::new()];
        }
        let is_interleaved = wishes.strategy == Strategy::Interleave;
        let nodes_of = |cpus: &[u32]| match () {
            () if memory_note.is_some() => Vec::new(),
            () if is_interleaved || cpus.is_empty() => chosen.clone(),
            () => topology.node_of(cpus[0]).map(|node| node.id).into_iter().collect(),
        };
        let places = groups.into_iter().map(|cpus| Place { nodes: nodes_of(&cpus), cpus }).collect();
        let replicas =
            if wishes.strategy == Strategy::Replicate && memory_note.is_none() { chosen.clone() } else { Vec::new() };
        Ok(Self { places, replicas, memory_note, cpu_note, policy: wishes.memory_policy, is_interleaved })
    }

    /// The plan for the processor this thread runs on.
    pub fn here(topology: &Topology, wishes: &Wishes) -> Result<Self> {
        let cpu = sched_getcpu();
        Self::new(topology, wishes, u32::try_from(cpu).unwrap_or(0))
    }

    /// The place of worker number `worker`.
    #[must_use]
    pub fn place(&self, worker: usize) -> &Place {
        &self.places[worker % self.places.len()]
    }

    /// Puts the calling thread where worker number `worker` works. Whatever the kernel refuses is said, and the thread
    /// works where it is.
    #[must_use]
    pub fn take(&self, worker: usize) -> Vec<Step> {
        let place = self.place(worker);
        let effect = |result: std::io::Result<()>| match result {
            Ok(()) => Effect::Applied,
            Err(error) => Effect::Denied(error.to_string()),
        };
        let pin = || {
            let mut set = CpuSet::new();
            place.cpus.iter().for_each(|cpu| set.set(*cpu as usize));
            sched_setaffinity(None, &set).map_err(std::io::Error::from)
        };
        let list = super::cpus::write;
        let pinned = match &self.cpu_note {
            Some(why) => {
                Step { what: "pin to processors that share a cache".into(), effect: Effect::NotNeeded(why.clone()) }
            }
            None => Step { what: format!("pin to processors {}", list(&place.cpus)), effect: effect(pin()) },
        };
        let mode = match self.policy {
            _ if self.is_interleaved => Mode::Interleave,
            MemoryPolicy::Bind => Mode::Bind,
            MemoryPolicy::Preferred => Mode::Preferred,
            MemoryPolicy::Default => Mode::Default,
        };
        let bound = match &self.memory_note {
            Some(why) => Step { what: "take memory from a node".into(), effect: Effect::NotNeeded(why.clone()) },
            None => {
                let what = format!("take memory from node {}", list(&place.nodes));
                Step { what, effect: effect(sys::set_thread_policy(mode, &place.nodes)) }
            }
        };
        vec![pinned, bound]
    }
}
