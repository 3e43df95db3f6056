//! What a person has to finish: transactions, jobs and checkpoints are found by their shapes, and written as comments.

use super::{Drafter, Entry, Kind, Safe, Sureness, Table};
use crate::base::name::snake_case;
use crate::bus::introspection::{Interface, Signal};
use crate::plugin::author::words;
use serde_json::json;

impl Drafter<'_> {
    /// Drafts what can only be begun.
    pub(super) fn others(&mut self) {
        for (path, name) in self.singles.clone() {
            let interface = self.interface(&name);
            self.transactions(&path, &name, &interface);
            self.jobs(&name, &interface);
            self.checkpoint(&path, &name, &interface);
        }
    }

    /// `CreateTransaction() -> o`, and an interface of that name whose objects end with a signal.
    fn transactions(&mut self, path: &str, name: &str, interface: &Interface) {
        for (member, method) in &interface.methods {
            let parts = words::words(member);
            let Some((verb, rest)) = parts.split_first() else { continue };
            let makes = ["create", "new", "make", "get"].contains(&verb.as_str())
                && method.output_signature() == "o"
                && !rest.is_empty();
            let noun = rest.join("_");
            let found = self.surface.interfaces.iter().find(|(other, known)| {
                other.rsplit('.').next().is_some_and(|last| snake_case(last) == noun) && ended(known).is_some()
            });
            let (true, Some((other, known))) = (makes, found) else { continue };
            let (other, known) = (other.clone(), known.clone());
            let Some((done, signal)) = ended(&known) else { continue };
            let mut factory = self.method(Some(path), name, member, method);
            factory.safe = Safe::No;
            let fields = fields(signal);
            let mut table = Table::new(&["transactions", &noun])
                .line("create", &json!(factory.name))
                .line("interface", &json!(other));
            let first = fields.first().cloned().unwrap_or_default();
            table = table.line("done", &json!({"signal": done, "fields": fields, "match": {first: 0}}));
            let is_named = |signal: &str, wanted: &[&str]| {
                words::words(signal).iter().any(|part| wanted.contains(&part.as_str())) && signal != done.as_str()
            };
            for (word, wanted) in [("error", &["error", "failed"][..]), ("progress", &["progress"])] {
                if let Some((signal, known)) = known.signals.iter().find(|(signal, _)| is_named(signal, wanted)) {
                    table = table.line(word, &json!({"signal": signal, "fields": self::fields(known)}));
                }
            }
            let brings = |(signal, known): &(&String, &Signal)| {
                let has_id = known.args.iter().filter_map(|arg| arg.name.as_deref()).any(|name| name.ends_with("id"));
                has_id && *signal != done && !is_named(signal, &["error", "failed", "progress", "required"])
            };
            // The one that most methods speak of: Package, when there are GetPackages and InstallPackages.
            let spoken_of = |signal: &str| {
                let many = words::plural(&words::words(signal).join("_"));
                known.methods.keys().filter(|member| words::words(member).join("_").ends_with(&many)).count()
            };
            let item = known.signals.iter().filter(brings).max_by_key(|(signal, _)| spoken_of(signal));
            if let Some((signal, known)) = item {
                table = table.line("item", &json!({"signal": signal, "fields": self::fields(known)}));
            }
            let calls: Vec<&String> = known.methods.keys().collect();
            let why = vec![
                format!("{member} makes an object for each call, and {done} ends it: call pattern 5"),
                "which value of its first field means success, and which signals bring items, its documentation says"
                    .into(),
                format!("its methods ({}) need transaction = {noun:?}", list(&calls)),
                format!("{member} has to be called safe: it makes an object of your own, if nothing else"),
            ];
            self.take(name, member);
            self.skeleton(&noun, why, vec![factory], vec![table]);
        }
    }

    /// Methods that answer with an object that a signal of the same object names.
    fn jobs(&mut self, name: &str, interface: &Interface) {
        let is_end = |signal: &str| {
            let parts = words::words(signal);
            let ends = ["removed", "finished", "done", "completed", "ended"];
            parts.len() > 1 && parts.last().is_some_and(|last| ends.contains(&last.as_str()))
        };
        const NOUNS: [&str; 5] = ["job", "task", "operation", "request", "action"];
        for (signal, known) in interface.signals.iter().filter(|(signal, _)| is_end(signal)) {
            let noun = words::words(signal)[0].clone();
            if !NOUNS.contains(&noun.as_str()) {
                continue;
            }
            let id = known.args.iter().position(|arg| {
                arg.type_signature == "o" && arg.name.as_deref().is_none_or(|arg| words::words(arg).contains(&noun))
            });
            let outcome = known.args.iter().rposition(|arg| arg.type_signature == "s");
            let starts = |inputs: usize, outputs: &str| inputs > 0 && outputs == "o";
            let methods: Vec<&String> = interface
                .methods
                .iter()
                .filter(|(member, method)| {
                    let verb = words::writing_word(member);
                    starts(method.inputs.len(), &method.output_signature())
                        && verb.is_some_and(|v| v != "create" && v != "add")
                })
                .map(|(member, _)| member)
                .collect();
            let (Some(id), Some(outcome), true) = (id, outcome, methods.len() > 1) else { continue };
            let fields = fields(known);
            let done = json!({"signal": signal, "fields": fields, "match": {fields[outcome].clone(): ["done"]}, "text": fields[outcome]});
            let mut table = Table::new(&["jobs", &noun]).line("done", &done).line("id", &json!(fields[id]));
            if name != self.main.1 {
                table = table.line("interface", &json!(name));
            }
            let why = vec![
                format!("{signal} names an object, as these methods answer with: {}", list(&methods)),
                format!(
                    "say job = {noun:?} in their tables: call pattern 6; which outcomes are good, its documentation says"
                ),
            ];
            self.skeleton(&noun, why, Vec::new(), vec![table]);
        }
    }

    /// What keeps the service's state, lets it go, and goes back to it.
    fn checkpoint(&mut self, path: &str, name: &str, interface: &Interface) {
        let of = |verbs: &[&str], takes: bool| {
            interface.methods.iter().find(|(member, method)| {
                let parts = words::words(member);
                let is_about = parts.iter().any(|part| part == "checkpoint");
                let has_verb = parts.iter().any(|part| verbs.contains(&part.as_str()));
                is_about && has_verb && (method.input_signature() == "o") == takes
            })
        };
        let create = of(&["create", "make", "new"], false);
        let commit = of(&["destroy", "commit", "delete", "release"], true);
        let (Some((create, made)), Some((commit, let_go)), Some((rollback, gone_back))) =
            (create, commit, of(&["rollback", "restore", "revert"], true))
        else {
            return;
        };
        let methods = [(create, made), (commit, let_go), (rollback, gone_back)]
            .map(|(m, method)| self.method(Some(path), name, m, method));
        let nothing: Vec<_> = made.inputs.iter().map(|arg| super::pairs::nothing_of(&arg.type_signature)).collect();
        let table = Table::new(&["checkpoint"])
            .line("create", &json!({"method": methods[0].name, "args": nothing}))
            .line("commit", &json!({"method": methods[1].name, "args": ["$checkpoint"]}))
            .line("rollback", &json!({"method": methods[2].name, "args": ["$checkpoint"]}));
        let why = vec![
            format!("{create} keeps the service's state, {rollback} goes back to it"),
            format!("what {} takes, its documentation says", methods[0].signature()),
        ];
        [create, commit, rollback].into_iter().for_each(|member| self.take(name, member));
        self.skeleton("checkpoint", why, methods.into(), vec![table]);
    }

    fn skeleton(&mut self, key: &str, why: Vec<String>, methods: Vec<super::MethodDraft>, tables: Vec<Table>) {
        let key = key.to_owned();
        let (kind, sureness) = (Kind::Skeleton, Sureness::Guess);
        self.entries.push(Entry { key, kind, sureness, why, methods, tables, is_taken: false, choice: None });
    }
}

/// The signal that ends a transaction.
fn ended(interface: &Interface) -> Option<(&String, &Signal)> {
    interface.signals.iter().find(|(signal, _)| {
        ["finished", "done", "completed", "ended"].contains(&words::words(signal).join("_").as_str())
    })
}

/// Names for a signal's arguments.
fn fields(signal: &Signal) -> Vec<String> {
    let name = |(i, arg): (usize, &crate::bus::introspection::Arg)| {
        arg.name.as_deref().map_or_else(|| format!("field_{i}"), snake_case)
    };
    signal.args.iter().enumerate().map(name).collect()
}

fn list(names: &[&String]) -> String {
    let mut text = names.iter().take(6).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if names.len() > 6 {
        text.push_str(", ...");
    }
    text
}
