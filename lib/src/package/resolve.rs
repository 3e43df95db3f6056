//! Which versions to install, so that everything that needs something finds it: pure, over what registries offer.
//!
//! The newest version that fits is taken; what is installed and fits stays. Yanked versions are taken only where a lock
//! file names them. What is installed already may not be broken. When nothing fits, the answer names who needs what.

use crate::base::{Error, Result};
use semver::{Version, VersionReq};
use std::collections::{BTreeMap, BTreeSet};

/// The name that stands for these programs among dependencies.
pub const PROGRAM: &str = "op-dbus";
/// How often a choice may be taken back before it is given up.
const STEPS: u32 = 20_000;

/// What plugins need, by name: other plugins, bus names, `op-dbus`.
pub type Dependencies = BTreeMap<String, String>;

/// One version that could be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// What it needs.
    pub dependencies: Dependencies,
    /// Whether its publisher took it back.
    pub is_yanked: bool,
}

/// What is there to choose from.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What registries offer, by name.
    pub offers: BTreeMap<String, Vec<Candidate>>,
    /// What is installed or shipped, and what it needs.
    pub present: BTreeMap<String, Candidate>,
    /// The services of the bus, where one was asked.
    pub services: Option<BTreeSet<String>>,
    /// The versions a lock file names: those, and no others.
    pub locked: Option<BTreeMap<String, Version>>,
    /// Plugins that are to be as new as can be, though what is there would do.
    pub upgraded: BTreeSet<String>,
}

/// One requirement, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Need {
    by: String,
    requirement: VersionReq,
}

/// A version that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The plugin.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Whether it is not there yet.
    pub is_new: bool,
}

/// What is to be there, each after what it needs.
pub fn resolve(wanted: &[(String, VersionReq)], world: &World) -> Result<Vec<Chosen>> {
    let mut search = Search { world, needs: BTreeMap::new(), chosen: BTreeMap::new(), conflict: None, steps: 0 };
    // Nothing that is there may be broken by what comes.
    for (name, present) in &world.present {
        search.note(&format!("the installed {name} {}", present.version), &present.dependencies);
    }
    for (name, requirement) in wanted {
        search.need(name, Need { by: "what is asked for".into(), requirement: requirement.clone() });
    }
    let pending: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    if !search.choose(&pending)? {
        return Err(search.conflict.unwrap_or_else(|| Error::refused("no versions fit together")));
    }
    let chosen = std::mem::take(&mut search.chosen);
    order(&chosen, world)
}

struct Search<'w> {
    world: &'w World,
    needs: BTreeMap<String, Vec<Need>>,
    chosen: BTreeMap<String, Candidate>,
    /// The first thing that did not fit: with what is preferred most.
    conflict: Option<Error>,
    steps: u32,
}

impl Search<'_> {
    fn need(&mut self, name: &str, need: Need) {
        self.needs.entry(name.to_owned()).or_default().push(need);
    }

    /// Notes what `by` needs of other plugins.
    fn note(&mut self, by: &str, dependencies: &Dependencies) {
        for (name, requirement) in dependencies.iter().filter(|(name, _)| is_plugin(name)) {
            let requirement = VersionReq::parse(requirement).unwrap_or_default();
            self.need(name, Need { by: by.to_owned(), requirement });
        }
    }

    /// Chooses a version of the first name that has none, then of the others.
    fn choose(&mut self, pending: &[String]) -> Result<bool> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(Error::refused("the dependencies are too entangled to find versions that fit")
                .hint("name versions yourself: NAME@VERSION"));
        }
        let Some((name, rest)) = pending.split_first() else { return Ok(true) };
        if let Some(chosen) = self.chosen.get(name) {
            return if self.fits(name, &chosen.version.clone()) { self.choose(rest) } else { self.fail(name) };
        }
        let options: Vec<Candidate> =
            self.options(name).into_iter().filter(|option| self.fits(name, &option.version)).collect();
        if options.is_empty() {
            return self.fail(name);
        }
        for option in options {
            if let Some(error) = self.unmet(name, &option) {
                self.conflict.get_or_insert(error);
                continue;
            }
            let before = self.needs.clone();
            // What was there of it needs nothing any more.
            let old = self.world.present.get(name).map(|old| format!("the installed {name} {}", old.version));
            if let Some(old) = old {
                self.needs.values_mut().for_each(|needs| needs.retain(|need| need.by != old));
            }
            self.note(&format!("{name} {}", option.version), &option.dependencies);
            let plugins = option.dependencies.keys().filter(|name| is_plugin(name)).cloned();
            let next: Vec<String> = rest.iter().cloned().chain(plugins).collect();
            self.chosen.insert(name.clone(), option);
            if self.choose(&next)? {
                return Ok(true);
            }
            self.chosen.remove(name);
            self.needs = before;
        }
        Ok(false)
    }

    /// The versions of `name`, the one that is wanted most first.
    fn options(&self, name: &str) -> Vec<Candidate> {
        let locked = self.world.locked.as_ref().map(|locked| locked.get(name));
        let mut offers: Vec<Candidate> = self.world.offers.get(name).cloned().unwrap_or_default();
        let present = self.world.present.get(name);
        match locked {
            Some(Some(version)) => offers.retain(|offer| offer.version == *version),
            // What is not in the lock file is there already, or nowhere.
            Some(None) => offers.clear(),
            None => offers.retain(|offer| !offer.is_yanked),
        }
        offers.sort_by(|a, b| b.version.cmp(&a.version));
        let wants_newer = self.world.upgraded.contains(name);
        // An older version than the one that is there comes by its own name only.
        if let Some(present) = present {
            offers.retain(|offer| offer.version != present.version);
            let at = match wants_newer {
                true => offers.iter().take_while(|offer| offer.version > present.version).count(),
                false => 0,
            };
            let is_locked_out = matches!(locked, Some(Some(version)) if *version != present.version);
            if !is_locked_out {
                offers.insert(at, present.clone());
            }
        }
        offers
    }

    fn fits(&self, name: &str, version: &Version) -> bool {
        self.needs.get(name).is_none_or(|needs| needs.iter().all(|need| need.requirement.matches(version)))
    }

    /// What a version needs beside plugins and does not find.
    fn unmet(&self, name: &str, option: &Candidate) -> Option<Error> {
        let by = format!("{name} {}", option.version);
        option.dependencies.iter().find_map(|(needed, requirement)| {
            let parsed = VersionReq::parse(requirement).unwrap_or_default();
            if needed == PROGRAM {
                let own = Version::parse(env!("CARGO_PKG_VERSION")).ok()?;
                let what = format!("{by} needs op-dbus {requirement}, and this is {own}");
                return (!parsed.matches(&own)).then(|| Error::refused(what).hint("install another op-dbus first"));
            }
            let services = self.world.services.as_ref().filter(|_| !is_plugin(needed))?;
            let what = format!("{by} needs the service {needed}, and this bus has none");
            (!services.contains(needed)).then(|| Error::refused(what).hint("install what brings that service first"))
        })
    }

    fn fail(&mut self, name: &str) -> Result<bool> {
        if self.conflict.is_some() {
            return Ok(false);
        }
        let needs: Vec<String> = self
            .needs
            .get(name)
            .into_iter()
            .flatten()
            .map(|n| format!("{} needs {name} {}", n.by, n.requirement))
            .collect();
        let there = self.options(name);
        let mut versions: Vec<&Version> = there.iter().map(|option| &option.version).collect();
        versions.sort();
        let list = versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let all = self.world.offers.get(name);
        let yanked: Vec<String> =
            all.into_iter().flatten().filter(|o| o.is_yanked).map(|o| o.version.to_string()).collect();
        let needs = needs.join(", and ");
        let error = if versions.is_empty() && yanked.is_empty() {
            let registries = "op-install registry list shows where was looked; op-install registry refresh looks again";
            Error::refused(format!("{needs}, which no registry has")).hint(registries)
        } else if versions.is_empty() || !yanked.is_empty() && there.iter().all(|o| !self.fits(name, &o.version)) {
            Error::refused(format!(
                "{needs}: no version fits; there are {list}, and taken back were {}",
                yanked.join(", ")
            ))
            .hint("what was taken back is installed by a lock file alone, or by its URL")
        } else {
            Error::refused(format!("{needs}: no version fits; there are {list}"))
                .hint("ask for other versions: NAME@VERSION")
        };
        self.conflict = Some(error.on(name));
        Ok(false)
    }
}

fn is_plugin(name: &str) -> bool {
    name != PROGRAM && !name.contains('.')
}

/// What was chosen, each after what it needs.
fn order(chosen: &BTreeMap<String, Candidate>, world: &World) -> Result<Vec<Chosen>> {
    fn visit<'c>(
        name: &'c str,
        chosen: &'c BTreeMap<String, Candidate>,
        way: &mut Vec<&'c str>,
        done: &mut Vec<&'c str>,
    ) -> Result<()> {
        if done.contains(&name) {
            return Ok(());
        }
        if let Some(at) = way.iter().position(|other| *other == name) {
            let circle = [&way[at..], &[name]].concat().join(" needs ");
            return Err(Error::refused(format!("these need each other in a circle: {circle}"))
                .on(name)
                .hint("their publishers have to take one of these dependencies away"));
        }
        let Some(candidate) = chosen.get(name) else { return Ok(()) };
        way.push(name);
        candidate
            .dependencies
            .keys()
            .filter(|name| is_plugin(name))
            .try_for_each(|needed| visit(needed, chosen, way, done))?;
        way.pop();
        done.push(name);
        Ok(())
    }
    let mut done = Vec::new();
    chosen.keys().try_for_each(|name| visit(name, chosen, &mut Vec::new(), &mut done))?;
    let choose = |name: &str| Chosen {
        name: name.to_owned(),
        version: chosen[name].version.clone(),
        is_new: world.present.get(name).is_none_or(|present| present.version != chosen[name].version),
    };
    Ok(done.into_iter().map(choose).collect())
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
