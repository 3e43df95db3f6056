//! Transaction objects: each runs one method, whose results are signals in a random but legal order, with others that
//! nobody asked for in between.

use super::fault::Class;
use super::service::{Due, Outcome, Service};
use super::spec::{Column, Method, SetKind, Signal, Use};
use super::state::names_of;
use super::value::Val;
use super::wire::{Connection, Message};
use std::time::Duration;

/// One object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// Just made: it wants its setup.
    Made,
    /// Set up: it wants its method.
    Ready,
    /// Running, or done.
    Used,
}

/// A step of a run.
#[derive(Debug, Clone)]
enum Step {
    Emit(Signal, Vec<Val>),
    /// The same signal, from another object or interface: none of the caller's business.
    Elsewhere(Signal, Vec<Val>),
    Change(Vec<String>, Vec<String>),
    Reply,
    Exit,
}

/// The set that transactions change.
const SET: usize = 3;

impl Service {
    pub(super) fn make_object(&mut self) -> String {
        self.made += 1;
        let path = format!("{}{}", self.spec.transaction.prefix, self.made);
        self.objects.insert(path.clone(), Object::Made);
        path
    }

    /// Runs a method of a transaction object. `None` when everything was sent, or queued, already.
    pub(super) fn transact(&mut self, call: &Message, method: &Method, delay: Duration) -> Option<Outcome> {
        let refuse = |text: &str| Some(Err(("org.freedesktop.DBus.Error.Failed".to_owned(), text.to_owned())));
        let simulates = self.is_simulation(method, &call.body);
        let mut expected = method.clone();
        if simulates {
            let t = &self.spec.transaction;
            let at = if method.member == t.install.member { t.flag_at.0 } else { t.flag_at.1 };
            expected.fixed.iter_mut().filter(|(position, _)| *position == at).for_each(|f| f.1 = t.flags.1.clone());
        }
        if let Err(error) = Self::check_args(&expected, call) {
            return Some(Err(error));
        }
        let object = self.objects.get_mut(&call.path)?;
        let is_setup = method.member == self.spec.transaction.setup.member;
        match (*object, is_setup) {
            (Object::Made, true) => {
                *object = Object::Ready;
                return Some(Ok(Vec::new()));
            }
            (Object::Made, false) => return refuse("the object was not set up"),
            (Object::Ready, false) => *object = Object::Used,
            _ => return refuse("the object was used already"),
        }
        let ids = expected.free(&call.body).first().map(|ids| ids.items().to_vec()).unwrap_or_default();
        let steps = self.script(&expected, &ids, simulates);
        self.play(call, steps, delay);
        None
    }

    fn script(&mut self, method: &Method, ids: &[Val], simulates: bool) -> Vec<Step> {
        let t = self.spec.transaction.clone();
        let set = self.spec.set(SetKind::Transaction).clone();
        let class = if method.safe || simulates { Class::Read } else { Class::Change };
        if self.struck("transaction-stalls", &method.member, class).is_some() {
            return vec![Step::Reply];
        }
        let item = |id: &str, counts: bool| {
            let state = if counts { &set.states.0 } else { &set.states.1 };
            Step::Emit(t.item.clone(), fill(&t.item.columns, &[(Use::Id, Val::s(id)), (Use::State, state.clone())]))
        };
        let now = self.state.sets[SET].clone();
        let id_of = |name: &String| set.universe.iter().find(|item| item.name == *name).map(|item| item.id.clone());
        let mut rows = Vec::new();
        let mut change = None;
        let mut failure = None;
        if method.member == t.list.member {
            rows.extend(set.universe.iter().map(|i| item(&i.id, now.contains(&i.name))));
        } else if method.member == t.resolve.member {
            let asked: Vec<&str> = ids.iter().filter_map(Val::text).collect();
            let found = set.universe.iter().filter(|item| asked.contains(&item.name.as_str()));
            rows.extend(found.map(|i| item(&i.id, now.contains(&i.name))));
            // Searching finds more than was asked for, and some of it twice.
            let other = &set.universe[self.rng.below(set.universe.len())];
            rows.push(item(&other.id, true));
        } else if let Some(names) = names_of(&set, ids) {
            if method.member == t.sizes.member {
                rows.extend(names.iter().filter_map(|name| self.size(name)));
            } else {
                let is_install = method.member == t.install.member;
                let mut touched = names.clone();
                for name in &names {
                    let with = set.universe.iter().filter(|item| {
                        let needed = set.universe.iter().any(|of| of.name == *name && of.needs.contains(&item.name));
                        if is_install { needed } else { item.needs.contains(name) }
                    });
                    touched.extend(with.map(|item| item.name.clone()));
                }
                touched.sort();
                touched.dedup();
                if names.iter().any(|name| now.contains(name) == is_install) {
                    failure = Some("one of them is so already".to_owned());
                }
                touched.retain(|name| now.contains(name) != is_install);
                rows.extend(touched.iter().filter_map(|name| Some(item(&id_of(name)?, true))));
                rows.extend(set.universe.iter().take(2).map(|i| item(&i.id, false)));
                if !simulates {
                    change = Some(if is_install { (touched, Vec::new()) } else { (Vec::new(), touched) });
                }
            }
        } else {
            failure = Some("an identifier is unknown".to_owned());
        }
        self.rng.shuffle(&mut rows);
        failure = self.struck("transaction-error", &method.member, class).or(failure);
        if failure.is_some() || self.struck("lie", &method.member, class).is_some() {
            change = None;
        }
        let late = self.struck("transaction-error-late", &method.member, class);
        let vanish = self.struck("transaction-vanish", &method.member, class);
        let is_silent = self.struck("transaction-silent", &method.member, class).is_some();

        // What must be in order: the rows before, that it begins, the change, the rows after, why it failed, the end.
        let after = rows.split_off(self.rng.below(rows.len() + 1));
        let mut steps = rows;
        if vanish.as_deref() == Some("before") {
            steps.push(Step::Exit);
        }
        if let Some((add, remove)) = change {
            steps.push(Step::Emit(t.touched.clone(), fill(&t.touched.columns, &[(Use::State, t.phases.0.clone())])));
            steps.push(Step::Change(add, remove));
        }
        if vanish.is_some() {
            steps.push(Step::Exit);
        }
        steps.extend(after);
        let reason = late.or(failure);
        let outcome = if reason.is_some() { &t.outcomes.1 } else { &t.outcomes.0 };
        if let Some(reason) = &reason {
            steps.push(Step::Emit(t.error.clone(), fill(&t.error.columns, &[(Use::Text, Val::s(reason))])));
        }
        let mut steps = self.mix_in(steps);
        if !is_silent {
            steps.push(Step::Emit(t.done.clone(), fill(&t.done.columns, &[(Use::Outcome, outcome.clone())])));
        }
        let reply_at = if t.signals_first { self.rng.below(steps.len() + 1) } else { 0 };
        steps.insert(reply_at, Step::Reply);
        steps
    }

    /// Puts progress, phases that change nothing, noise, and the signals of others between the steps.
    fn mix_in(&mut self, steps: Vec<Step>) -> Vec<Step> {
        let t = self.spec.transaction.clone();
        let mut percent = 0;
        let mut mixed = Vec::new();
        for step in steps {
            for _ in 0..self.rng.below(3) {
                mixed.push(match self.rng.below(5) {
                    0 => {
                        percent = (percent + u32::try_from(self.rng.below(20)).unwrap_or(0)).min(101);
                        let values = [(Use::Percent, Val::U(percent)), (Use::Text, Val::s("working"))];
                        Step::Emit(t.progress.clone(), fill(&t.progress.columns, &values))
                    }
                    1 => Step::Emit(t.touched.clone(), fill(&t.touched.columns, &[(Use::State, t.phases.1.clone())])),
                    2 => Step::Emit(t.noise.clone(), fill(&t.noise.columns, &[])),
                    3 => {
                        Step::Elsewhere(t.done.clone(), fill(&t.done.columns, &[(Use::Outcome, t.outcomes.1.clone())]))
                    }
                    _ => Step::Elsewhere(t.error.clone(), fill(&t.error.columns, &[])),
                });
            }
            mixed.push(step);
        }
        mixed
    }

    fn size(&self, name: &str) -> Option<Step> {
        let t = &self.spec.transaction;
        let item = self.spec.set(SetKind::Transaction).universe.iter().find(|item| item.name == name)?;
        let (details, download, installed) = t.size_columns();
        let values = if details.is_some() {
            let entry = |key: &str, value| Val::entry(Val::s(key), Val::V(Box::new(value)));
            let entries = vec![
                entry(&download, Val::T(item.download)),
                entry(&installed, Val::T(item.installed)),
                entry("id", Val::s(&item.id)),
            ];
            vec![Val::A("{sv}".into(), entries)]
        } else {
            let values = [
                (Use::Id, Val::s(&item.id)),
                (Use::Download, Val::T(item.download)),
                (Use::Installed, Val::T(item.installed)),
            ];
            fill(&t.size.columns, &values)
        };
        Some(Step::Emit(t.size.clone(), values))
    }

    fn play(&mut self, call: &Message, steps: Vec<Step>, delay: Duration) {
        let interface = self.spec.transaction.interface.clone();
        if self.struck("forge", &call.member, Class::Change).is_some() {
            self.forge(call);
        }
        for (number, step) in steps.into_iter().enumerate() {
            let at = delay + self.pace * u32::try_from(number).unwrap_or(0);
            let due = match step {
                Step::Emit(signal, body) => Due::Send(Message::signal(&call.path, &interface, &signal.name, body)),
                Step::Elsewhere(signal, body) if number % 2 == 0 => {
                    let other = format!("{}_other", call.path);
                    Due::Send(Message::signal(&other, &interface, &signal.name, body))
                }
                Step::Elsewhere(signal, body) => {
                    let other = format!("{interface}Other");
                    Due::Send(Message::signal(&call.path, &other, &signal.name, body))
                }
                Step::Change(add, remove) => Due::Change(add, remove),
                Step::Reply => Due::Send(call.reply(Vec::new())),
                Step::Exit => Due::Exit,
            };
            self.later(at, due);
        }
    }

    pub(super) fn change_transactional(&mut self, add: &[String], remove: &[String]) {
        self.state.sets[SET].extend(add.iter().cloned());
        self.state.sets[SET].retain(|name| !remove.contains(name));
        self.state.save();
    }

    /// Somebody else, on a connection of their own, pretends to be the transaction: to everyone, and to the caller.
    fn forge(&mut self, call: &Message) {
        if self.forger.is_none() {
            self.forger = Connection::open(&self.address).ok();
        }
        let t = self.spec.transaction.clone();
        let set = self.spec.set(SetKind::Transaction);
        let forged = [
            (
                &t.item,
                fill(&t.item.columns, &[(Use::Id, Val::s("forged;1;any;x")), (Use::State, set.states.0.clone())]),
            ),
            (&t.touched, fill(&t.touched.columns, &[(Use::State, t.phases.0.clone())])),
            (&t.done, fill(&t.done.columns, &[(Use::Outcome, t.outcomes.0.clone())])),
        ];
        let Some(forger) = &mut self.forger else { return };
        for (signal, body) in forged {
            let mut message = Message::signal(&call.path, &t.interface, &signal.name, body);
            forger.queue(message.clone());
            message.destination.clone_from(&call.sender);
            forger.queue(message);
        }
        // A caller that believes them must have them before the service's own signals.
        let sent = forger.flush().and_then(|()| forger.bus("GetId", Vec::new()));
        drop(sent);
    }
}

/// The arguments of a signal: the given ones, and something of the right type.
fn fill(columns: &[Column], values: &[(Use, Val)]) -> Vec<Val> {
    let value = |column: &Column| {
        let given = values.iter().find(|(usage, value)| *usage == column.usage && value.sig() == column.arg.sig);
        given.map(|(_, value)| value.clone()).unwrap_or_else(|| match column.arg.sig.as_str() {
            "u" => Val::U(0),
            "t" => Val::T(0),
            "a{sv}" => Val::A("{sv}".into(), Vec::new()),
            _ => Val::s("-"),
        })
    };
    columns.iter().map(value).collect()
}
