//! Putting a torn last block aside: what a power cut leaves is told apart from what somebody changed, and taken away by
//! an explicit command that records itself.

use super::actor::Actor;
use super::block::Kind;
use super::chain::{Chain, Draft};
use super::verify;
use crate::base::{Error, Result, digest};
use serde_json::json;

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The torn block.
    pub number: u64,
    /// The name of the file that it is now.
    pub aside: String,
}

/// Puts the torn last block aside. Refused when nothing is torn, and when anything else is wrong.
pub fn repair(chain: &Chain, actor: &Actor, program: &str) -> Result<Repaired> {
    let verdict = verify::verify(chain, &[], &mut |_, _| {})?;
    let torn = verdict.broken.filter(|broken| broken.is_torn).ok_or_else(|| {
        Error::refused("no block is torn, so there is nothing to repair")
            .hint("op-audit verify says what is wrong, if anything is")
    })?;
    let path = chain.file(torn.number);
    let bytes = chain.bytes(torn.number)?;
    let folder = path.parent().and_then(|blocks| blocks.parent()).unwrap_or(chain.folder()).join("torn");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("make the folder for torn blocks", &folder, &e))?;
    let of_bytes = digest::of_bytes("torn", &bytes);
    let short: String = of_bytes.trim_start_matches("sha256:").chars().take(8).collect();
    let aside = folder.join(format!("{}-{short}.json", torn.number));
    std::fs::rename(&path, &aside).map_err(|e| Error::io("put the torn block aside", &path, &e))?;
    chain.append(Draft {
        kind: Kind::Repair,
        run: None,
        actor: actor.clone(),
        program: program.to_owned(),
        detail: Some(json!({"torn": torn.number, "bytes": bytes.len(), "digest": of_bytes, "aside": aside})),
        entries: Vec::new(),
    })?;
    Ok(Repaired { number: torn.number, aside: aside.display().to_string() })
}
