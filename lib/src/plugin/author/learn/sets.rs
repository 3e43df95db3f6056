//! A set that a call put something into, or took something out of, with what else it was given pinned as it was seen:
//! `addService("", "http", 0)`, beside `removeService(zone, service)` and `getServices(zone)`.

use super::calls::Learner;
use crate::base::name::snake_case;
use crate::bus::SeenCall;
use crate::bus::introspection::Method;
use crate::plugin::author::draft::{Entry, Kind, MethodDraft, OPPOSITES, Safe, Sureness, Table, described};
use crate::plugin::author::words::{self, plural, singular};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Learner<'_> {
    /// The set that the call is about, when names say that there is one.
    pub(super) fn set_of(
        &mut self,
        call: &SeenCall,
        interface: &str,
        is_secret: &dyn Fn(usize) -> bool,
    ) -> Option<String> {
        let methods = &self.after.interfaces.get(interface)?.methods;
        let parts = words::words(&call.member);
        let (verb, noun) = parts.split_first()?;
        let one = singular(&noun.join("_"));
        let many = plural(&one);
        let (add_verb, removes) =
            OPPOSITES.iter().find(|(add, removes)| add == verb || removes.contains(&verb.as_str()))?;
        let named = |verbs: &[&str]| {
            let is_it = |(member, _): &(&String, &Method)| {
                let parts = words::words(member);
                let about = parts.split_first().map(|(verb, rest)| (verbs.contains(&verb.as_str()), rest.join("_")));
                about.is_some_and(|(is_verb, noun)| is_verb && (noun == one || noun == many))
            };
            methods.iter().find(is_it).map(|(member, method)| (member.clone(), method.clone()))
        };
        let add = named(&[add_verb])?;
        let remove = named(removes)?;
        let reader = named(&["get", "list"])?;
        if reader.1.output_signature() != "as" || words::is_secret(&reader.0) {
            return None;
        }
        // What the reader asks for too says where the set is; the last text that it does not ask for is the item.
        let selectors: Vec<String> = reader.1.inputs.iter().filter_map(|arg| arg.name.clone()).collect();
        let own = methods.get(&call.member)?;
        let seen: BTreeMap<String, Value> = own
            .inputs
            .iter()
            .zip(&call.args)
            .filter_map(|(arg, value)| Some((arg.name.clone()?, value.clone())))
            .collect();
        if selectors.len() != reader.1.inputs.len() || (0..call.args.len()).any(is_secret) {
            return None;
        }
        let draft = |(member, method): &(String, Method), is_reader: bool| -> Option<MethodDraft> {
            let mut fixed = BTreeMap::new();
            let is_item = |name: &str, types: &str| types == "s" && !selectors.iter().any(|s| s == name);
            for (at, arg) in method.inputs.iter().enumerate() {
                let name = arg.name.as_deref()?;
                if is_reader || !is_item(name, &arg.type_signature) {
                    fixed.insert(at, seen.get(name)?.clone());
                }
            }
            let is_one = is_reader || method.inputs.len() == fixed.len() + 1;
            is_one.then(|| MethodDraft {
                name: snake_case(member),
                member: member.clone(),
                interface: Some(interface.to_owned()).filter(|name| *name != self.draft.interface),
                path: Some(call.path.clone()).filter(|path| *path != self.draft.path),
                is_on_item: false,
                inputs: method.inputs.clone(),
                outputs: method.output_signature(),
                fixed,
                safe: if is_reader { Safe::Unasked } else { Safe::No },
                more: Vec::new(),
            })
        };
        let (reader, add, remove) = (draft(&reader, true)?, draft(&add, false)?, draft(&remove, false)?);
        let mut why = vec![format!(
            "{} was called; {} and {} put in and take out, and {} has all of them",
            call.member, add.member, remove.member, reader.member
        )];
        why.extend(
            seen.iter()
                .filter(|(name, _)| selectors.contains(name))
                .map(|(name, value)| format!("{name} = {value}, as the command said: this key is about that one")),
        );
        let table = Table::new(&["state_mapping", &many])
            .line("description", &json!(described(&many)))
            .line("read", &json!({"method": reader.name}))
            .line("add", &json!({"method": add.name}))
            .line("remove", &json!({"method": remove.name}));
        self.push(Entry {
            key: many.clone(),
            kind: Kind::Writable,
            sureness: Sureness::Likely,
            why,
            methods: vec![reader, add, remove],
            tables: vec![table],
            is_taken: true,
            choice: None,
        });
        Some(many)
    }
}
