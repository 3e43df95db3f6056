//! Items without objects of their own: a method lists their names, another answers with the settings of one.

use super::{Drafter, Entry, Kind, MethodDraft, Sureness, Table, described};
use crate::bus::introspection::{Interface, Method};
use crate::plugin::author::words::{self, plural};
use serde_json::{Value, json};

const ABOUT: [&str; 4] = ["settings", "config", "configuration", "properties"];

impl Drafter<'_> {
    /// `getZones() -> as`, `getZoneSettings(s zone) -> a{sv}`, `setZoneSettings(s zone, a{sv} settings)`.
    pub(super) fn named_items(&mut self) {
        for (path, name) in self.singles.clone() {
            let interface = self.interface(&name);
            let mut done: Vec<String> = Vec::new();
            // Of several versions of a method, the last: getZoneSettings2.
            for (member, method) in interface.methods.iter().rev() {
                let Some(noun) = noun(member, method) else { continue };
                if !done.contains(&noun) && self.named_collection(&path, &name, &interface, (member, method), &noun) {
                    done.push(noun);
                }
            }
        }
    }

    fn named_collection(
        &mut self,
        path: &str,
        name: &str,
        interface: &Interface,
        (member, method): (&String, &Method),
        noun: &str,
    ) -> bool {
        let many = plural(noun);
        let lists = |(other, lister): &(&String, &Method)| {
            let text = words::words(other).join("_");
            (text == format!("get_{many}") || text == format!("list_{many}"))
                && lister.inputs.is_empty()
                && lister.output_signature() == "as"
        };
        let Some((lister_name, lister)) = interface.methods.iter().find(lists) else { return false };
        let readers =
            (self.reader(Some(path), name, lister_name, lister), self.reader(Some(path), name, member, method));
        let (Some(lister), Some(get)) = readers else { return false };
        let key = self.key(&many, name);
        let mut why = vec![format!("{lister_name} answers with names, and {member} with the settings of one")];
        let table = Table::new(&["state_mapping", &key])
            .line("description", &json!(described(&many)))
            .line("key", &json!(noun));
        let read = Table::new(&["state_mapping", &key, "read"])
            .line("method", &json!(lister.name))
            .line("get", &json!({"method": get.name, "args": ["$item"]}));
        let mut tables = vec![table, read];
        let mut methods = vec![lister, get];
        let mut take = |this: &mut Self, member: &str, method: &Method, word: &str, args: Value, note: &str| {
            let drafted = MethodDraft { ..this.method(Some(path), name, member, method) };
            let mut table = Table::new(&["state_mapping", &key, word]).line("method", &json!(drafted.name));
            table = table.line("args", &args);
            table.note = Some(note.to_owned());
            tables.push(table);
            methods.push(drafted);
            this.take(name, member);
        };
        let rest = words::words(member)[1..].join("_");
        let by_name = |wanted: &str, inputs: &str| {
            interface.methods.iter().find(|(other, method)| {
                words::words(other).join("_") == wanted
                    && method.input_signature() == inputs
                    && self.is_free(name, other)
            })
        };
        let answer = method.output_signature();
        let setter = by_name(&format!("set_{rest}"), &format!("s{answer}")).map(|(m, x)| (m.clone(), x.clone()));
        let verbs = ["add", "create", "new"];
        let create = verbs.iter().find_map(|verb| by_name(&format!("{verb}_{noun}"), &format!("s{answer}")));
        let create = create.map(|(m, x)| (m.clone(), x.clone()));
        let verbs = ["remove", "delete"];
        let delete = verbs.iter().find_map(|verb| by_name(&format!("{verb}_{noun}"), "s"));
        let delete = delete.map(|(m, x)| (m.clone(), x.clone()));
        if let Some((member, method)) = &setter {
            let note = format!(
                "likely: {member} is given all of the settings, which is right whether it replaces or merges; if it \
                 merges, merge = \"patch\" sends only what differs"
            );
            take(self, member, method, "update", json!(["$item", "$value"]), &note);
        }
        if let Some((member, method)) = &create {
            take(self, member, method, "create", json!(["$item", "$value"]), "likely: it has the name of an item");
        }
        if let Some((member, method)) = &delete {
            let note = "likely: it has the name of an item. Is there one that must never go? See protected";
            take(self, member, method, "delete", json!(["$item"]), note);
        }
        self.take(name, member);
        self.take(name, lister_name);
        why.push("the settings are shown whole; members would name those that count and say what they are".into());
        self.entries.push(Entry {
            key,
            kind: Kind::Collection,
            sureness: Sureness::Likely,
            why,
            methods,
            tables,
            is_taken: true,
            choice: None,
        });
        true
    }
}

/// `zone` for `getZoneSettings2(s) -> a{sv}`.
fn noun(member: &str, method: &Method) -> Option<String> {
    let output = method.output_signature();
    if method.input_signature() != "s" || !(output == "a{sv}" || output == "a{sa{sv}}") {
        return None;
    }
    let parts = words::words(member);
    let (verb, rest) = parts.split_first()?;
    let (last, noun) = rest.split_last()?;
    let is_about = ABOUT.contains(&last.trim_end_matches(|c: char| c.is_ascii_digit()));
    (verb == "get" && is_about && !noun.is_empty()).then(|| noun.join("_"))
}
