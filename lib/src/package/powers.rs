//! What a plugin may do: what a person wants to know before it is installed, and what a new version changes in it.

use crate::plugin::Mapping;
use crate::state::Writable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a mapping lets op-dbus do, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Powers {
    may: BTreeSet<String>,
    guards: BTreeSet<String>,
}

/// What changes in what a plugin may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PowersChange {
    /// What it may do and could not do before.
    pub gained: Vec<String>,
    /// What it could do before and may not do any more.
    pub lost: Vec<String>,
}

impl Powers {
    /// Those of a mapping; without one a plugin reads properties and nothing else.
    #[must_use]
    pub fn of(mapping: Option<&Mapping>) -> Self {
        let mut powers = Self::default();
        let Some(mapping) = mapping else { return powers };
        for (key, spec) in &mapping.specs {
            if spec.writable == Writable::Yes {
                powers.may.insert(format!("write {key}"));
            }
            powers.guards.extend(spec.protected.iter().map(|item| format!("remove {item} from {key}")));
        }
        for (name, section) in &mapping.file.methods {
            let Ok(method) = mapping.method(name) else { continue };
            let fixed = match section.fixed.is_empty() {
                true => String::new(),
                false => format!(" with {}", serde_json::to_string(&section.fixed).unwrap_or_default()),
            };
            let call = format!("{}.{}{fixed} of {}", method.interface, method.member, method.service);
            powers.may.insert(match (section.safe, section.requires_confirmation) {
                (true, _) => format!("call {call} while reading"),
                (false, true) => format!("call {call} when confirmed"),
                (false, false) => format!("call {call} without asking"),
            });
            let checks = section.pre_check.as_slice().iter();
            powers.guards.extend(checks.map(|check| format!("call {call} without {check}")));
        }
        powers
    }

    /// What it may do.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.may.iter().cloned().collect()
    }

    /// What changes when `self` takes the place of `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> PowersChange {
        // A call that is guarded by less is a power more; a guard on what could not be done before is none.
        let guards = |a: &Self, b: &Self| -> Vec<String> { a.guards.difference(&b.guards).cloned().collect() };
        let may = |a: &Self, b: &Self| -> Vec<String> { a.may.difference(&b.may).cloned().collect() };
        let loosened = guards(before, self).into_iter().filter(|guard| self.is_about(guard));
        let tightened = guards(self, before).into_iter().filter(|guard| before.is_about(guard));
        PowersChange {
            gained: may(self, before).into_iter().chain(loosened).collect(),
            lost: may(before, self).into_iter().chain(tightened).collect(),
        }
    }

    /// Whether what a guard is about can be done at all.
    fn is_about(&self, guard: &str) -> bool {
        match guard.strip_prefix("remove ").and_then(|rest| rest.rsplit_once(" from ")) {
            Some((_, key)) => self.may.contains(&format!("write {key}")),
            None => {
                let call = guard.rsplit_once(" without ").map_or(guard, |(call, _)| call);
                self.may.iter().any(|may| may.starts_with(call))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn powers(mapping: &str) -> Powers {
        Powers::of(Some(&Mapping::parse(mapping, "test", "org.example.Lamp").unwrap()))
    }

    const BEFORE: &str = r#"
        [methods.set_color]
        pre_check = ["check_root"]
        [methods.list]
        safe = true
        [state_mapping.color]
        read = { property = "Color" }
        write = { method = "set_color" }
        [state_mapping.lamps]
        read = { method = "list" }
        fields = ["name"]
        add = { method = "add" }
        remove = { method = "remove" }
        protected = ["hall"]
    "#;

    #[test]
    fn what_a_new_version_changes() {
        let before = powers(BEFORE);
        assert_eq!(before.since(&before), PowersChange::default());
        assert_eq!(Powers::of(None).lines(), [""; 0]);
        let first = before.since(&Powers::of(None));
        assert_eq!((first.gained, first.lost.len()), (before.lines(), 0));
        let change = |from: &str, to: &str| powers(&BEFORE.replace(from, to)).since(&before);
        let bolder = change("pre_check = [\"check_root\"]", "requires_confirmation = false");
        assert_eq!(
            bolder.gained,
            [
                "call org.example.Lamp.SetColor of org.example.Lamp without asking",
                "call org.example.Lamp.SetColor of org.example.Lamp without check_root",
            ]
        );
        assert_eq!(bolder.lost, ["call org.example.Lamp.SetColor of org.example.Lamp when confirmed"]);
        assert_eq!(change("\"hall\"", "").gained, ["remove hall from lamps"]);
        assert_eq!(change("\"hall\"", "\"hall\", \"door\"").lost, ["remove door from lamps"]);
        let switch = format!("{BEFORE}\n[methods.explode]\nfixed = {{ 0 = true }}\n");
        let more = powers(&switch).since(&before);
        assert_eq!(
            more.gained,
            [r#"call org.example.Lamp.Explode with {"0":true} of org.example.Lamp when confirmed"#]
        );
    }
}
