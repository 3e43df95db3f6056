//! Where memory and processors are, and who works where.
//!
//! What the kernel does, measured: pages of a file land on the node of the thread that reads them first and stay there;
//! binding a mapping of a file is accepted and does nothing. So hot pages are placed by letting a thread that is bound to
//! the node read them, or copied into memory that is bound to it, and what came of it is looked up page by page. With one
//! node, or where the calls are forbidden, everything works, and says so.

mod cpus;
mod memory;
#[cfg(test)]
mod numa_tests;
mod place;
mod sys;
mod topology;

pub use memory::{NodeMemory, Spread, latency_ns, move_pages, moved_ns, spread};
pub use place::{Effect, MemoryPolicy, Place, Plan, Step, Strategy, Wishes};
pub use topology::{CacheGroup, Machine, Node, Topology};
