//! What is changed beside links: routes, name servers, files.

use super::super::wishes::item::list;
use super::super::{INTERFACES, NAME, PROFILES, ROUTES, ops, resolv};
use super::parts::{exact, updated};
use super::{Phase, Planner};
use crate::state::Change;
use serde_json::Value;

impl Planner<'_> {
    pub(super) fn routes(&mut self, to: &Value, change: &Change) {
        let is = list(self.current.get(ROUTES).unwrap_or(&Value::Null), "config").to_vec();
        let will = list(to, "config");
        let mut change = Some(change.clone());
        let words = |route: &Value| {
            let via = route["next-hop-address"].as_str().map(|ip| format!(" via {ip}")).unwrap_or_default();
            let text = |name: &str| route[name].as_str().unwrap_or_default().to_owned();
            format!("{}{via} over {}", text("destination"), text("next-hop-interface"))
        };
        for route in is.iter().filter(|route| !will.contains(route)) {
            let title = format!("Delete the route to {}", words(route));
            let undo = exact(ops::route(true, route));
            self.step((Phase::DeleteRoute, 0), "", title, ops::route(false, route), undo, change.take());
        }
        for route in will.iter().filter(|route| !is.contains(route)) {
            let title = format!("Add the route to {}", words(route));
            // A way that others lead over comes first.
            let rank = i64::from(route.get("next-hop-address").is_some());
            let undo = exact(ops::route(false, route));
            self.step((Phase::AddRoute, rank), "", title, ops::route(true, route), undo, change.take());
        }
        for step in &mut self.steps {
            if step.action.resources == [format!("{NAME}/{INTERFACES}/")] {
                step.action.resources = vec![format!("{NAME}/{ROUTES}")];
            }
        }
    }

    pub(super) fn dns(&mut self, from: &Value, to: &Value, change: &Change) {
        let contents =
            resolv::content(self.settings, to).and_then(|new| Ok((new, resolv::content(self.settings, from)?)));
        let path = self.settings.resolv_conf.display().to_string();
        match contents {
            Ok((new, old)) => {
                let undo = exact(ops::write(&path, Some(&old)));
                let title = format!("Write name servers and domains to {path}");
                self.step((Phase::Files, 1), "", title, ops::write(&path, Some(&new)), undo, Some(change.clone()));
            }
            Err(error) => self.errors.push(error),
        }
    }

    pub(super) fn profile(&mut self, change: &Change) {
        let Some(name) = change.item() else { return };
        let now = self.current.get(PROFILES).and_then(|all| all.get(name)).cloned().unwrap_or(Value::Null);
        let after = match change {
            Change::Create { to, .. } => to.clone(),
            Change::Update { from, to, .. } => updated(now.clone(), from, to),
            _ => Value::Null,
        };
        let files = |profile: &Value| profile["files"].as_object().cloned().unwrap_or_default();
        let (is, will) = (files(&now), files(&after));
        let mut change = Some(change.clone());
        for path in is.keys().chain(will.keys().filter(|path| !is.contains_key(*path))) {
            let (old, new) = (is.get(path).and_then(Value::as_str), will.get(path).and_then(Value::as_str));
            if old == new {
                continue;
            }
            let title = format!("{} {path}", if new.is_some() { "Write" } else { "Remove" });
            let undo = exact(ops::write(path, old));
            self.step((Phase::Files, 0), name, title, ops::write(path, new), undo, change.take());
        }
    }
}
