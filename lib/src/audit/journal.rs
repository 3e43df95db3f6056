//! One line in the machine's journal for each block, with fields to search for. By its native protocol; where no journal
//! listens, nothing is said.
//!
//! ```text
//! journalctl MESSAGE_ID=4f0bd6a5e3f64c8fb1d1c0a9d8f7e2b3 -o json
//! OP_DBUS_BLOCK=12 OP_DBUS_DIGEST=sha256:... OP_DBUS_KIND=outcome OP_DBUS_RUN=7-... OP_DBUS_OUTCOME=applied
//! OP_DBUS_RESOURCE=hostname/location   (one field for each)
//! ```

use super::block::Block;
use super::log;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Names the messages of blocks.
pub const MESSAGE_ID: &str = "4f0bd6a5e3f64c8fb1d1c0a9d8f7e2b3";

/// Where a journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// More of them would make the message too long for one datagram.
const RESOURCES: usize = 100;

/// Says that a block was written, if a journal listens at `socket`.
pub fn tell(socket: &Path, block: &Block) {
    // A journal that is slow or full must not hold up a run.
    let Ok(sender) = UnixDatagram::unbound() else { return };
    let _ = sender.set_nonblocking(true);
    let _ = sender.send_to(&message(block), socket);
}

fn message(block: &Block) -> Vec<u8> {
    let header = &block.header;
    let [_, _, what, _, about] = log::line(block);
    let kind = serde_json::to_value(header.kind).unwrap_or_default();
    let outcome = header.detail.as_ref().and_then(|detail| detail.get("outcome")?.as_str());
    let is_bad = outcome == Some("residue");
    let mut out = Vec::new();
    let mut field = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    };
    let run = header.run.as_deref().unwrap_or_default();
    field("MESSAGE", format!("{what} {run} {about}").trim());
    field("MESSAGE_ID", MESSAGE_ID);
    field("PRIORITY", if is_bad { "3" } else { "5" });
    field("SYSLOG_IDENTIFIER", header.program.split(' ').next().unwrap_or_default());
    field("OP_DBUS_BLOCK", &header.number.to_string());
    field("OP_DBUS_DIGEST", &block.digest);
    field("OP_DBUS_KIND", kind.as_str().unwrap_or_default());
    if !run.is_empty() {
        field("OP_DBUS_RUN", run);
    }
    if let Some(outcome) = outcome {
        field("OP_DBUS_OUTCOME", outcome);
    }
    let resources = block.entries.iter().flat_map(log::resources).take(RESOURCES);
    resources.for_each(|resource| field("OP_DBUS_RESOURCE", resource));
    out
}
