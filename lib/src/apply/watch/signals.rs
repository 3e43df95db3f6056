//! What is made of what happens: new values, reasons to read, and a service that goes or comes.

use super::cells::Cell;
use super::record::{Freshness, Presence};
use super::worker::Watched;
use super::{Part, reading};
use crate::bus::{Happening, Signal};
use crate::plugin::Source;
use serde_json::Value;
use std::time::Instant;

impl Watched<'_> {
    /// Takes note of what happened. What came in while something was read is not to be `trusted` with a value: what was
    /// read may be newer.
    pub fn on(&mut self, happening: &Happening, is_trusted: bool) {
        match happening {
            Happening::Came => {
                self.is_there = true;
                self.told.clear();
                self.return_at = Some((Instant::now(), 0));
                self.tell_of_service(Presence::Back);
            }
            Happening::Left => {
                if std::mem::replace(&mut self.is_there, false) {
                    self.tell_of_service(Presence::Gone);
                }
                self.return_at = None;
                self.doubted = None;
                self.stale.clear();
                self.hinted.clear();
                self.hints.forget();
            }
            Happening::Signal(signal) => self.on_signal(signal, is_trusted),
        }
    }

    fn on_signal(&mut self, signal: &Signal, is_trusted: bool) {
        // What an object says that was made to answer a question is the answer, and no reason to ask again.
        if self.is_refused || (self.part == Part::Answers && self.context.bus.is_own(&signal.path)) {
            return;
        }
        let kind = match (signal.member.as_str(), &signal.args[..]) {
            ("PropertiesChanged", [Value::String(interface), Value::Object(changed), invalidated, ..]) => {
                for (name, value) in changed {
                    self.property_changed(signal, interface, name, is_trusted.then_some(value));
                }
                for name in invalidated.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    self.property_changed(signal, interface, name, None);
                }
                format!("PropertiesChanged of {interface}")
            }
            ("InterfacesAdded", [Value::String(path), Value::Object(interfaces), ..])
                if self.part == Part::Observed =>
            {
                for (interface, properties) in interfaces {
                    for (name, value) in properties.as_object().into_iter().flatten() {
                        let place = Signal { path: path.clone(), ..signal.clone() };
                        self.property_changed(&place, interface, name, is_trusted.then_some(value));
                    }
                }
                return;
            }
            ("InterfacesRemoved", [Value::String(path), Value::Array(interfaces), ..])
                if self.part == Part::Observed =>
            {
                for position in 0..self.cells.len() {
                    let names = &self.cells[position].names;
                    if names[2] == *path && interfaces.iter().any(|interface| *interface == names[3]) {
                        self.becomes(position, None, Freshness::Signal);
                    }
                }
                return;
            }
            (member, _) => format!("{}.{member}", signal.interface),
        };
        if self.part == Part::Observed && signal.member == "PropertiesChanged" {
            return;
        }
        let is_about = |cell: &Cell| match &cell.source {
            Source::Property { .. } => self.part == Part::Observed,
            Source::Answer { path: None } => true,
            Source::Answer { path: Some(path) } => {
                let below = signal.path.strip_prefix(path.as_str());
                signal.interface == "org.freedesktop.DBus.ObjectManager"
                    || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path == "/")
            }
        };
        let about: Vec<usize> = (0..self.cells.len()).filter(|position| is_about(&self.cells[*position])).collect();
        if !about.is_empty() || self.part == Part::Observed {
            self.hinted.extend(about);
            self.hints.came(&kind, Instant::now());
        }
    }

    fn property_changed(&mut self, signal: &Signal, interface: &str, name: &str, value: Option<&Value>) {
        let place = (signal.path.clone(), interface.to_owned(), name.to_owned());
        let mut positions = self.index.get(&place).cloned().unwrap_or_default();
        if positions.is_empty() && self.part == Part::Observed && !self.plugin.is_secret(&signal.path, interface, name)
        {
            positions.push(self.add(reading::observed_cell(&*self.plugin, place, Freshness::Signal)));
        }
        for position in positions {
            match value {
                Some(value) => self.becomes(position, Some(value.clone()), Freshness::Signal),
                None => drop(self.stale.insert(position)),
            }
        }
    }
}
