//! What the words of a mapping stand for when an item is written: methods, types, dollar words, texts for people.

use super::super::convert;
use super::super::planning::Planner;
use super::changes::Wish;
use super::items::Item;
use super::shape::{raw_member, to_raw};
use crate::base::Result;
use crate::bus::value::{self, VariantTypes};
use crate::plugin::mapping::file::StateSection;
use crate::plugin::mapping::{KeySection, Method, Operation, Target, template};
use serde_json::{Map, Value, json};

impl Planner<'_> {
    /// The method of an operation, on the item's object where it is one of those.
    pub(super) fn method_on<'m>(&'m self, operation: &Operation, path: Option<&str>) -> Result<Method<'m>> {
        let mut method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
        if let (Some(Target::Item), Some(path)) = (method.section.on, path) {
            path.clone_into(&mut method.path);
        }
        Ok(method)
    }

    /// The types of the variants in an item's value: the mapping's, then those it has now.
    pub(super) fn types_of(&self, section: &StateSection, now: Option<&Item>) -> Result<VariantTypes> {
        let mut types = VariantTypes::none();
        for (key, text) in &section.variant_types {
            types
                .by_key
                .insert(key.clone(), value::single_type(text).map_err(|e| e.or_on(self.mapping.source.clone()))?);
        }
        Ok(match now {
            Some(item) => types.or(item.types.clone()),
            None => types,
        })
    }

    /// What a mapping's dollar words stand for: the name, the value, the members as wanted or as they are, the columns.
    pub(super) fn words<'w>(
        &self,
        key: &'w str,
        section: &'w StateSection,
        wish: &'w Wish<'_>,
        to: &'w Map<String, Value>,
        value: Option<&'w Value>,
    ) -> impl Fn(&str) -> Option<Value> + use<'w> {
        let own = section.read.as_ref().and_then(|read| read.interface.as_deref());
        move |word: &str| match word {
            "item" => Some(json!(wish.name)),
            "items" => Some(json!([wish.name])),
            "id" => match &section.key {
                Some(KeySection::Part(part)) => {
                    let codecs: Vec<String> = part.convert.iter().filter(|c| *c != "label").cloned().collect();
                    convert::write(json!(wish.name), &codecs).ok()
                }
                _ => Some(json!(wish.name)),
            },
            "value" => value.cloned(),
            "key" => Some(json!(key)),
            "path" => wish.now.and_then(|item| item.path.clone()).map(Value::String),
            word => {
                if let Some(member) = section.members.get(word) {
                    let wanted = to.get(word).and_then(|wanted| to_raw(wanted, member).ok());
                    return wanted.or_else(|| raw_member(wish.now?, member, own).cloned());
                }
                to.get(word).cloned().or_else(|| wish.now?.columns.get(word).cloned())
            }
        }
    }
}

/// What an action does, for people.
pub(super) fn title(
    operation: &Operation,
    default: &str,
    key: &str,
    item: &str,
    member: &str,
    value: &Value,
) -> String {
    let words = [("item", item), ("key", key), ("member", member), ("value", &super::super::planning::short(value))];
    template::text(operation.title.as_deref().unwrap_or(default), &words)
}

/// What was done, for people.
pub(super) fn done(operation: &Operation, key: &str, item: &str) -> Vec<String> {
    operation.done.iter().map(|done| template::text(done, &[("item", item), ("items", item), ("key", key)])).collect()
}
