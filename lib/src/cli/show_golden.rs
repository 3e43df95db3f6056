//! Golden images for people, or as documents.

use super::Out;
use crate::base::Result;
use crate::plugin::builtin::lxc::golden::{Image, Listed};
use serde::{Deserialize, Serialize};

/// What was done with a golden image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum GoldenOutcome {
    /// It was made.
    Made,
    /// It was made anew.
    Updated,
    /// It was deleted.
    Deleted,
}

impl GoldenOutcome {
    /// What the audit trail says of it.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::Made => "a golden image was made",
            Self::Updated => "a golden image was made anew",
            Self::Deleted => "a golden image was deleted",
        }
    }
}

/// What `op-snapshot golden create`, `update` and `delete` print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GoldenReport {
    /// Always `golden`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// What was done.
    pub outcome: GoldenOutcome,
    /// What is known of the image.
    pub image: Image,
}

/// What `op-snapshot golden list` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GoldenList {
    /// Always `golden_images`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The images, by name.
    pub images: Vec<Listed>,
}

/// Prints what was done with an image.
pub fn done(out: &mut Out, outcome: GoldenOutcome, image: Image) -> Result<()> {
    if out.look().is_json {
        return out.document(&GoldenReport { kind: "golden".into(), version: 1, outcome, image });
    }
    let Image { name, path, template_id, .. } = &image;
    let word = match outcome {
        GoldenOutcome::Made => "Made",
        GoldenOutcome::Updated => "Made anew:",
        GoldenOutcome::Deleted => return out.text(&format!("Deleted {name}. Containers made of it stay.\n")),
    };
    let system = image.template();
    let of = if system.is_empty() { String::new() } else { format!(" of {system}") };
    let kind = if image.unprivileged { "unprivileged" } else { "privileged" };
    let mut text = format!("{word} {name}{of}, for {kind} containers: {}\n", path.display());
    if let Some(id) = template_id {
        text.push_str(&format!("Proxmox has it as the template {id}: pct clone {id} NEW makes a linked clone\n"));
    }
    out.text(&text)
}

/// Prints the images there are.
pub fn list(out: &mut Out, images: Vec<Listed>) -> Result<()> {
    if out.look().is_json {
        return out.document(&GoldenList { kind: "golden_images".into(), version: 1, images });
    }
    let row = |listed: &Listed| {
        let image = &listed.image;
        vec![
            image.name.clone(),
            image.template(),
            if image.unprivileged { "unprivileged" } else { "privileged" }.to_owned(),
            image.template_id.clone().unwrap_or_default(),
            if listed.is_here { image.storage.clone() } else { format!("{} on {}", image.storage, image.node) },
            listed.problem.clone().unwrap_or_else(|| if listed.is_here { "yes" } else { "" }.to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = images.iter().map(row).collect();
    out.table(&["GOLDEN IMAGE", "SYSTEM", "FOR", "TEMPLATE", "STORAGE", "GOOD"], &rows)
}
