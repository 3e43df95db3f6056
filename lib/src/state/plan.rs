//! The plan: a value that can be printed, kept, and performed later, exactly or not at all.

use super::change::Change;
use crate::base::{Call, Error, Kind, Result, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How an action is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum UndoClass {
    /// By writing the old value: nothing remains.
    Exact,
    /// By the opposite action: what was installed is removed. Traces may remain.
    Compensating,
    /// Not at all.
    Irreversible,
}

/// How an action would be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Undo {
    /// Which promise is made.
    pub class: UndoClass,
    /// The call that would be made, as far as it is known now; identifiers are resolved again when it is needed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call: Option<Call>,
}

/// One call that changes something, and everything there is to know about it beforehand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Action {
    /// Its number in the plan, from "1".
    pub id: String,
    /// The plugin it belongs to.
    pub plugin: String,
    /// What it changes: `PLUGIN/KEY` or `PLUGIN/KEY/ITEM`; several when one call serves them all.
    pub resources: Vec<String>,
    /// What it does, for people: `Install nginx, postgresql`.
    pub title: String,
    /// The exact call.
    #[serde(flatten)]
    pub call: Call,
    /// The factory method that makes the object the call goes to, for services that work by transactions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub via: Option<String>,
    /// How it is taken back.
    pub undo: Undo,
    /// Whether it must be agreed to.
    pub requires_confirmation: bool,
    /// Actions that must have succeeded before.
    pub needs: Vec<String>,
    /// What the service itself says it would do: other items it would touch, sizes in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preview: Option<Preview>,
    /// What is said when it is done, a line an item: `Installed nginx`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub done: Vec<String>,
    /// The changes it makes.
    pub changes: Vec<Change>,
}

impl Action {
    /// What a plugin that is built in does, once it is agreed to: the resources are those of the changes.
    #[must_use]
    pub fn new(plugin: &str, changes: Vec<Change>, title: String, call: Call, undo: Undo) -> Self {
        Self {
            id: String::new(),
            plugin: plugin.to_owned(),
            resources: changes.iter().map(|change| change.resource().to_string()).collect(),
            title,
            call,
            via: None,
            undo,
            requires_confirmation: true,
            needs: Vec::new(),
            preview: None,
            done: Vec::new(),
            changes,
        }
    }
}

/// The service's own forecast of an action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Preview {
    /// Items the service would touch besides those asked for, for example dependencies.
    pub also: Vec<String>,
    /// Bytes to download, when the service says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub download_bytes: Option<u64>,
    /// Bytes on disk afterwards, when the service says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub installed_bytes: Option<u64>,
    /// The sentence for the confirmation, from the mapping.
    pub text: String,
}

/// Everything an apply would do, and what it was computed from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Plan {
    /// Always `plan`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The first characters of the digest: a name for people.
    pub id: String,
    /// On whose behalf items are added and removed, when said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// How many removals `--prune` was told to expect.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prune: Option<usize>,
    /// The desired state document.
    pub desired: Value,
    /// Digest of what each touched resource was when this was planned.
    pub base: BTreeMap<String, String>,
    /// Digest of each mapping the plan was made with.
    pub mappings: BTreeMap<String, String>,
    /// By plugin, the call that has the service itself keep its state before anything is changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub checkpoints: BTreeMap<String, Call>,
    /// The calls, in order.
    pub actions: Vec<Action>,
    /// Digest of all of the above.
    pub digest: String,
}

impl Plan {
    /// Makes a plan of `actions`; ids and needs are set already.
    #[must_use]
    pub fn new(
        desired: Value,
        owner: Option<String>,
        prune: Option<usize>,
        mappings: BTreeMap<String, String>,
        actions: Vec<Action>,
    ) -> Self {
        let base = actions
            .iter()
            .flat_map(|action| &action.changes)
            .map(|change| (change.resource().to_string(), digest::of("base", &change.before())))
            .collect();
        let mut plan = Self {
            kind: "plan".into(),
            version: 1,
            id: String::new(),
            owner,
            prune,
            desired,
            base,
            mappings,
            checkpoints: BTreeMap::new(),
            actions,
            digest: String::new(),
        };
        plan.digest = plan.compute_digest();
        plan.id = id_of(&plan.digest);
        plan
    }

    /// Adds the calls by which services keep their state themselves.
    #[must_use]
    pub fn with_checkpoints(mut self, checkpoints: BTreeMap<String, Call>) -> Self {
        if checkpoints.is_empty() {
            return self;
        }
        self.checkpoints = checkpoints;
        self.digest = self.compute_digest();
        self.id = id_of(&self.digest);
        self
    }

    /// Reads a plan and checks that it is whole: nothing in it is unknown, and its digest is that of its content.
    pub fn from_json(document: &Value) -> Result<Self> {
        if document.get("kind").is_some_and(|kind| kind != "plan") {
            return Err(Error::bad_input(format!("this is a document of the kind {}, not a plan", document["kind"]))
                .on("kind")
                .hint("make one with op-apply --dry-run"));
        }
        if document.get("version").is_some_and(|version| *version != json!(1)) {
            return Err(Error::bad_input(format!("this program reads version 1, not {}", document["version"]))
                .on("version")
                .hint("make a new one with op-apply --dry-run, or upgrade op-dbus"));
        }
        let plan: Self = serde_json::from_value(document.clone()).map_err(|error| {
            Error::bad_input(format!("this is no plan: {error}")).hint("make one with op-apply --dry-run")
        })?;
        // The digest covers what was read; that nothing else is there is seen by writing it again.
        let is_all = json!(plan) == *document;
        if !is_all || plan.compute_digest() != plan.digest || id_of(&plan.digest) != plan.id {
            return Err(Error::bad_input(
                "the plan was changed after it was made: its digest does not fit its content",
            )
            .on("digest")
            .hint("make a new one with op-apply --dry-run; to change what is done, change the state document"));
        }
        Ok(plan)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Whether `now`, computed from the same desired state and the live machine, is still this plan; the error names
    /// what moved.
    pub fn check_fresh(&self, now: &Self) -> Result<()> {
        let mut moved = Vec::new();
        for (resource, digest) in &self.base {
            match now.base.get(resource) {
                Some(other) if other == digest => {}
                Some(_) => moved.push(format!("{resource} has another value now")),
                None => moved.push(format!("{resource} is already as wanted")),
            }
        }
        moved.extend(
            now.base.keys().filter(|r| !self.base.contains_key(*r)).map(|r| format!("{r} differs now as well")),
        );
        for (plugin, digest) in &self.mappings {
            // A plugin that has nothing to do any more has no mapping in the new plan.
            let acts = now.actions.iter().any(|action| action.plugin == *plugin);
            if acts && now.mappings.get(plugin) != Some(digest) {
                moved.push(format!("the mapping of {plugin} is another one now"));
            }
        }
        // By digest: a plan that was kept does not know the manner of its calls, which is the mapping's affair.
        let actions_of = |plan: &Self| digest::of("actions", &(&plan.actions, &plan.checkpoints));
        if moved.is_empty() && actions_of(self) != actions_of(now) {
            moved.push("the same differences lead to other calls now".into());
        }
        if moved.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::Stale, format!("the plan is stale: {}", moved.join("; ")))
            .on(format!("plan {}", self.id))
            .hint("make a new plan with op-apply --dry-run and look at it; nothing was changed"))
    }

    fn compute_digest(&self) -> String {
        #[derive(Serialize)]
        struct Content<'a> {
            owner: &'a Option<String>,
            prune: Option<usize>,
            desired: &'a Value,
            base: &'a BTreeMap<String, String>,
            mappings: &'a BTreeMap<String, String>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            checkpoints: &'a BTreeMap<String, Call>,
            actions: &'a [Action],
        }
        let Self { owner, prune, desired, base, mappings, checkpoints, actions, .. } = self;
        digest::of("plan", &Content { owner, prune: *prune, desired, base, mappings, checkpoints, actions })
    }
}

fn id_of(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}
