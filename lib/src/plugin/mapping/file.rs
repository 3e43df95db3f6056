//! `semantic-mapping.toml` as it is written: one struct a table, every key named, unknown keys refused.
//!
//! `docs/SEMANTIC-MAPPING-FORMAT.md` is the reference for people. What the words mean together is decided in the
//! module above; here is only what may be written.

use super::collection::{
    CheckpointSection, JobSection, JoinSection, KeySection, MemberSection, Query, RefuseSection, Target,
};
use crate::base::name::matches;
use crate::plugin::generic::convert;
use crate::state::{Strategy, UndoClass};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct MappingFile {
    /// Where the service's main object is.
    pub service: ServiceSection,
    /// What is known about methods, by name (the member's in snake case).
    pub methods: BTreeMap<String, MethodSection>,
    /// How per-call transaction objects work, by a name of the author's choosing.
    pub transactions: BTreeMap<String, TransactionSection>,
    /// How methods that answer with a job are waited for, by a name of the author's choosing.
    pub jobs: BTreeMap<String, JobSection>,
    /// How the service itself keeps and restores its state.
    pub checkpoint: Option<CheckpointSection>,
    /// The keys of the plugin's state.
    pub state_mapping: BTreeMap<String, StateSection>,
    /// Type signatures of the members relied on, by `INTERFACE.MEMBER`; a service that differs is refused.
    pub fingerprint: BTreeMap<String, String>,
}

/// `[service]`: defaults for everything below.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct ServiceSection {
    /// Object path; the service's name with slashes for dots when absent.
    pub path: Option<String>,
    /// Interface; the service's name when absent.
    pub interface: Option<String>,
    /// Limit of each call in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// `[methods.NAME]`: what is known about a method. Nothing is safe unless it says so.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct MethodSection {
    /// The member; the name in camel case when absent.
    pub member: Option<String>,
    /// Object path, when it is not the service's main one.
    pub path: Option<String>,
    /// Interface, when it is not the service's main one.
    pub interface: Option<String>,
    /// Bus name, when it is another service's: for `refuse_if` only.
    pub service: Option<String>,
    /// Whether it is called on the item's object.
    pub on: Option<Target>,
    /// Whether it only reads.
    pub safe: bool,
    /// Whether it changes anything; for people.
    pub side_effects: bool,
    /// Whether each use must be agreed to.
    pub requires_confirmation: bool,
    /// Whether a second call changes nothing more; for people.
    pub idempotent: bool,
    /// Whether the service itself can simulate it; for people.
    pub dry_run_supported: bool,
    /// Checks that must pass before it is called.
    pub pre_check: OneOrMany,
    /// What `check_disk_space` looks at; `/` when absent.
    pub disk_path: Option<String>,
    /// What `check_disk_space` wants free at least, in bytes, beside what the preview announces.
    pub disk_free_bytes: Option<u64>,
    /// What `check_service_running` looks for; the plugin's own service when absent.
    pub needs_service: Option<String>,
    /// Names of the arguments, for people.
    pub args_mapping: Vec<String>,
    /// Types of the arguments; compared with the service's.
    pub arg_types: Option<Vec<String>>,
    /// Arguments that are always the same, by position.
    pub fixed: BTreeMap<String, Value>,
    /// The transaction object it is a method of.
    pub transaction: Option<String>,
    /// How the job it answers with is waited for.
    pub job: Option<String>,
    /// The signal that brings its results, when it is not the transaction's.
    pub item: Option<SignalSection>,
    /// Limit in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How long the service is left alone after it, in milliseconds.
    pub pause_ms: Option<u64>,
    /// How a use of it is taken back, when the default is wrong.
    pub undo: Option<UndoClass>,
    /// D-Bus errors that mean "it is so already"; a text after a colon must be in the message.
    pub already_ok: Vec<String>,
}

impl Default for MethodSection {
    fn default() -> Self {
        Self {
            member: None,
            path: None,
            interface: None,
            service: None,
            on: None,
            safe: false,
            side_effects: true,
            requires_confirmation: true,
            idempotent: false,
            dry_run_supported: false,
            pre_check: OneOrMany::default(),
            disk_path: None,
            disk_free_bytes: None,
            needs_service: None,
            args_mapping: Vec::new(),
            arg_types: None,
            fixed: BTreeMap::new(),
            transaction: None,
            job: None,
            item: None,
            timeout_ms: None,
            pause_ms: None,
            undo: None,
            already_ok: Vec::new(),
        }
    }
}

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum OneOrMany {
    /// `"check_root"`
    One(String),
    /// `["check_root", "check_network"]`
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    /// The texts.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// `[transactions.NAME]`: an object made for one call, whose results are signals.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct TransactionSection {
    /// The method that makes the object and returns its path.
    pub create: String,
    /// The interface of the object.
    pub interface: String,
    /// Calls on the object before the real one.
    #[serde(default)]
    pub setup: Vec<Operation>,
    /// The signal that brings one result.
    pub item: Option<SignalSection>,
    /// The signal that says why it failed.
    pub error: Option<SignalSection>,
    /// The signal that says how far it is.
    pub progress: Option<SignalSection>,
    /// The signal that says that the machine is being changed.
    pub touched: Option<SignalSection>,
    /// The signal that ends it.
    pub done: SignalSection,
    /// Limit of the whole transaction without any signal, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// A signal and what its arguments are called.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct SignalSection {
    /// The signal's name.
    pub signal: String,
    /// Names of its arguments.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The values the named arguments must have for the signal to count, or for `done`, to mean success.
    #[serde(default, alias = "ok")]
    pub r#match: BTreeMap<String, Accepted>,
    /// The argument that holds a text for people.
    pub text: Option<String>,
    /// The argument that holds a percentage.
    pub percent: Option<String>,
}

/// One value, a list of accepted ones, the numbers between two, or lists that have one of some texts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a value, a list of values, or a table with min and max, or has")]
pub enum Accepted {
    /// Any of these.
    Any(Vec<Value>),
    /// Numbers.
    Range(Range),
    /// Lists.
    Has(Has),
    /// Exactly this.
    One(Value),
}

/// `{ min = 1, max = 999 }`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
}

/// `{ has = ["/", "/boot*"], convert = ["bytestring"] }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Has {
    /// Texts of which the list has one at least; `*` stands for any text.
    pub has: Vec<String>,
    /// How the list becomes what people write.
    #[serde(default)]
    pub convert: Vec<String>,
}

impl Has {
    fn accepts(&self, value: &Value) -> bool {
        let is_it = |text: &str| self.has.iter().any(|pattern| matches(pattern, text));
        let list = convert::read(value.clone(), &self.convert).unwrap_or_default();
        list.as_array().is_some_and(|list| list.iter().any(|item| item.as_str().is_some_and(is_it)))
    }
}

impl Accepted {
    /// Whether `value` is accepted.
    #[must_use]
    pub fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Any(values) => values.contains(value),
            Self::Range(Range { min, max }) => value
                .as_f64()
                .is_some_and(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)),
            Self::Has(has) => has.accepts(value),
            Self::One(one) => one == value,
        }
    }
}

/// `[state_mapping.KEY]`: how one key of the state is read, compared and written.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct StateSection {
    /// What the key is, for people.
    pub description: Option<String>,
    /// Which way of working the service has; inferred when absent.
    pub pattern: Option<Pattern>,
    /// How values are compared; by the pattern when absent.
    pub diff_strategy: Option<Strategy>,
    /// Whether the order of a list means nothing.
    pub unordered: bool,
    /// Where the value comes from.
    pub read: Option<ReadSection>,
    /// Names of a query's columns.
    pub fields: Vec<String>,
    /// The values that columns must have for a row to count.
    pub filter: BTreeMap<String, Accepted>,
    /// The column, or a part of it, that is the item of a set.
    pub item: Option<PartSection>,
    /// The column that keys an object of rows, or the items of a collection.
    pub key: Option<KeySection>,
    /// What the name of a collection's item looks like; others are left out.
    pub key_pattern: Option<String>,
    /// The values that columns must not have for a row to count.
    pub exclude: BTreeMap<String, Accepted>,
    /// The members of a collection's items.
    pub members: BTreeMap<String, MemberSection>,
    /// The order in which members are written; those not named come last.
    pub order: Vec<String>,
    /// How an item of a collection is made.
    pub create: Option<Operation>,
    /// How an item of a collection is written as a whole.
    pub update: Option<Operation>,
    /// How an item of a collection is deleted.
    pub delete: Option<Operation>,
    /// How long the service may take to show what was written, in milliseconds.
    pub settle_ms: Option<u64>,
    /// How a value is written.
    pub write: Option<Operation>,
    /// How items join a set.
    pub add: Option<Operation>,
    /// How items leave a set.
    pub remove: Option<Operation>,
    /// How the names people write become the identifiers the service wants.
    pub resolve: Option<ResolveSection>,
    /// Items that are never removed.
    pub protected: Vec<String>,
    /// The values of columns by which items of a collection are protected too.
    pub protected_if: BTreeMap<String, Accepted>,
    /// Paths of an item's value that null does not take away.
    pub required: Vec<String>,
    /// By path of an item's value, what no item is given.
    pub never: BTreeMap<String, Vec<Value>>,
    /// Methods called before the key's first change.
    pub before: Vec<Operation>,
    /// Methods called after the key's last change.
    pub after: Vec<Operation>,
    /// Type signatures of the values in a dictionary of variants, by key.
    pub variant_types: BTreeMap<String, String>,
    /// What a desired value must look like.
    pub validate: Rules,
    /// Whether the value must never be shown.
    pub secret: bool,
    /// The founding document's word for `read = { method = ... }`.
    pub query_method: Option<String>,
    /// The founding document's word for `add` or `write`.
    pub apply_method: Option<String>,
    /// The founding document's word for `remove`.
    pub remove_method: Option<String>,
}

/// The ways services work that a mapping can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// A property, written by `Properties.Set`.
    Property,
    /// A property, written by a method.
    Setter,
    /// A method that answers with rows.
    Query,
    /// A set with add and remove methods.
    Set,
    /// A set whose methods run as transactions.
    Transaction,
    /// Items with members.
    Collection,
    /// Items whose methods answer with jobs.
    Job,
}

/// `read = { ... }`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct ReadSection {
    /// A property.
    pub property: Option<String>,
    /// A method.
    pub method: Option<String>,
    /// The method's arguments.
    pub args: Option<Vec<Value>>,
    /// Object path of the property, when it is not the service's main one.
    pub path: Option<String>,
    /// Interface of the property, when it is not the service's main one; of the items' objects.
    pub interface: Option<String>,
    /// A method that answers with the items' objects.
    pub objects: Option<String>,
    /// The object below which the items' objects are introspected.
    pub children: Option<String>,
    /// The object manager that has the items' objects.
    pub manager: Option<String>,
    /// How an item that is named, and not listed, is looked for.
    pub find: Option<Query>,
    /// The method that answers with an item's value.
    pub get: Option<Query>,
    /// How the first source is asked when only some items matter.
    pub named: Option<Query>,
    /// More columns, joined by their key.
    pub join: Vec<JoinSection>,
    /// Paths of an item's value that are not shown.
    pub omit: Vec<String>,
    /// Paths of an item's value that the service does not tell in full.
    pub hidden: Vec<String>,
    /// Paths of an item's value that the service makes from others, and those others: neither shown nor written.
    pub derived: BTreeMap<String, String>,
    /// Paths that the service takes and never tells: a document does not have them.
    pub secret: Vec<String>,
    /// By path, what the service says by itself where it was told nothing; `*` stands for any text.
    pub filled_in: BTreeMap<String, Value>,
}

impl ReadSection {
    /// Whether what is read are objects.
    #[must_use]
    pub fn has_objects(&self) -> bool {
        self.objects.is_some() || self.children.is_some() || self.manager.is_some()
    }
}

/// A column, or a part of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct PartSection {
    /// The column.
    pub field: String,
    /// Where to split its text.
    pub split: Option<String>,
    /// Which part to take, from 0; negative from the end.
    #[serde(default)]
    pub part: isize,
    /// How it becomes the text that people write.
    #[serde(default)]
    pub convert: Vec<String>,
}

/// `write`, `add`, `remove`, `before`, `after`, `setup`: a call and what is said about it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Operation {
    /// A method, by its name in `[methods]` or as the member itself.
    pub method: Option<String>,
    /// A property to set.
    pub property: Option<String>,
    /// Object path of the property, when it is not the service's main one.
    pub path: Option<String>,
    /// Interface of the property, when it is not the service's main one.
    pub interface: Option<String>,
    /// Arguments that are not fixed: literals, `$value`, `$item`, `$items`, `$id`, `$ids`, or `$OTHER_KEY`.
    pub args: Option<Vec<Value>>,
    /// How names become identifiers for this call.
    pub resolve: Option<ResolveSection>,
    /// How the service is asked what the call would do.
    pub preview: Option<PreviewSection>,
    /// What the action does, for people: `Install {items}`.
    pub title: Option<String>,
    /// What was done to one item, for people: `Installed {item}`.
    pub done: Option<String>,
    /// Whether a merged object is written whole (`replace`) or only what changed (`patch`).
    pub merge: MergeWrite,
    /// Whether the service keeps what it does not tell, when it is not given that.
    pub keeps_hidden: bool,
    /// Other calls for other values, by the value as text.
    pub when: BTreeMap<String, Operation>,
    /// What members get that a document leaves out, when an item is made.
    pub defaults: BTreeMap<String, Value>,
    /// When the call must not be made.
    pub refuse_if: Option<RefuseSection>,
    /// Items in one call at most.
    pub batch_size: Option<usize>,
}

impl Operation {
    /// The calls it stands for: itself, or one for each value.
    pub fn choices(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        if self.when.is_empty() { Box::new(std::iter::once(self)) } else { Box::new(self.when.values()) }
    }
}

/// How a merged object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MergeWrite {
    /// The service replaces everything: send the merged object.
    #[default]
    Replace,
    /// The service merges: send what differs.
    Patch,
}

/// `resolve = { ... }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ResolveSection {
    /// The method that is asked.
    pub method: String,
    /// Its arguments; `$items` are the names.
    pub args: Option<Vec<Value>>,
    /// Names of the columns, when the method is no transaction's.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The column, or part of it, that must equal the name.
    pub r#match: PartSection,
    /// The column that is the identifier.
    pub result: String,
}

/// `preview = { ... }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct PreviewSection {
    /// The method that simulates.
    pub method: String,
    /// Its arguments.
    pub args: Option<Vec<Value>>,
    /// The values that columns must have for a row to count.
    #[serde(default)]
    pub filter: BTreeMap<String, Accepted>,
    /// The column that is the identifier.
    pub id: String,
    /// The column, or part of it, that is the item's name.
    pub item: PartSection,
    /// How sizes are asked for.
    pub sizes: Option<SizesSection>,
    /// Rows that mean the call must not be made, unless the item was asked for: by columns and their values.
    #[serde(default)]
    pub refuse: BTreeMap<String, Accepted>,
    /// Whether the call must not be made when it would touch anything that was not asked for.
    #[serde(default)]
    pub refuse_others: bool,
    /// The sentence for the confirmation; `{count}`, `{items}`, `{size}` are filled in.
    pub text: String,
}

/// `sizes = { ... }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct SizesSection {
    /// The method that is asked; `$ids` are the identifiers of the preview.
    pub method: String,
    /// Its arguments.
    pub args: Option<Vec<Value>>,
    /// The column that holds a dictionary, when sizes are in one.
    pub details: Option<String>,
    /// The column or dictionary key of the bytes to download.
    pub download: Option<String>,
    /// The column or dictionary key of the bytes on disk.
    pub installed: Option<String>,
}

/// `validate = { ... }`: what a desired value must look like, checked before anything is called.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Rules {
    /// One of these.
    pub one_of: Option<Vec<Value>>,
    /// None of these; in texts, `*` stands for any text.
    pub none_of: Vec<Value>,
    /// Whether a list has nothing twice.
    pub unique: bool,
    /// A regular expression the whole text, or each item, must match.
    pub pattern: Option<String>,
    /// Characters at most.
    pub max_length: Option<usize>,
    /// A number at least.
    pub min: Option<f64>,
    /// A number at most.
    pub max: Option<f64>,
    /// Whether the text names an executable file of this machine.
    pub executable: bool,
    /// Whether the text names a path of this machine at which nothing is.
    pub unused_path: bool,
    /// What a right value looks like, for people.
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_accepted() {
        let bytes = |text: &str| json!({"$bytes": text});
        let home = json!([bytes("L21udAA="), bytes("L2hvbWUA")]);
        for (accepted, value, is_so) in [
            (json!(1), json!(1), true),
            (json!([1, 2]), json!(3), false),
            (json!({"min": 1, "max": 9}), json!(10), false),
            (json!({"has": ["/"], "convert": ["bytestring"]}), home.clone(), false),
            (json!({"has": ["/", "/ho*"], "convert": ["bytestring"]}), home.clone(), true),
            (json!({"has": ["/home"]}), home, false),
            (json!({"has": ["/home"]}), json!("/home"), false),
            (json!({"has": ["/home"]}), json!([]), false),
        ] {
            let read: Accepted = serde_json::from_value(accepted.clone()).unwrap();
            assert_eq!(read.accepts(&value), is_so, "{accepted} of {value}");
        }
    }
}
