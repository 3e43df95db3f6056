//! What was probably meant by a path that names nothing.

use super::{Path, Segment, members, written};
use crate::base::nearest::closest;
use crate::base::{Error, Kind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Paths that a hint names at most.
const SHOWN: usize = 4;
/// Names that are looked at, at most, for what comes near.
const MOST: usize = 10_000;

/// The error of a path that names nothing in `known`, an object of plugins, with what is there that comes nearest.
#[must_use]
pub fn nothing_named(path: &Path, known: &Value) -> Error {
    let error = Error::new(Kind::Partial, "nothing has this path").on(path.text());
    let mut deepest = Deepest { path, depth: 0, beside: BTreeMap::new(), count: 0 };
    deepest.visit(&path.start(), &mut Vec::new(), known);
    let wanted = path.segments.get(deepest.depth).map(Segment::words).unwrap_or_default();
    let names = closest(&wanted, deepest.beside.keys().map(String::as_str), SHOWN);
    let nearest: Vec<String> = names.into_iter().flat_map(|name| &deepest.beside[name]).take(SHOWN).cloned().collect();
    match nearest.is_empty() {
        true => error.hint("there is nothing to select from; see op-install list"),
        false => error.hint(format!("the nearest there are: {}", nearest.join(", "))),
    }
}

/// What lies where a path leads nowhere any more, at the greatest depth: paths by their last name.
struct Deepest<'p> {
    path: &'p Path,
    depth: usize,
    beside: BTreeMap<String, BTreeSet<String>>,
    count: usize,
}

impl Deepest<'_> {
    fn visit(&mut self, at: &[usize], above: &mut Vec<String>, value: &Value) {
        let depth = at.iter().copied().max().unwrap_or_default();
        for (name, value) in members(value) {
            above.push(name.to_string());
            if depth > self.depth {
                (self.depth, self.count) = (depth, 0);
                self.beside.clear();
            }
            if depth == self.depth && self.count < MOST {
                self.count += 1;
                self.beside.entry(name.to_string()).or_default().insert(written(above));
            }
            let next = self.path.step(at, &name);
            if !next.is_empty() {
                self.visit(&next, above, value);
            }
            above.pop();
        }
    }
}
