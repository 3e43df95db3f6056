//! Paths into a state document: which values they name, and what was probably meant by one that names none. Pure.
//!
//! A path is written in one of two ways. `/plugins/hostname/static_hostname` is a JSON pointer (RFC 6901) and names at
//! most one value. `hostname.static_hostname` names plugin, key and what is below by segments between dots:
//!
//! | segment | matches |
//! |---|---|
//! | `location` | the member of that name; a number is also the place in a list, from 0 |
//! | `"web1.service"` | the same, whatever characters are in it, written as a JSON text; nothing in it is special |
//! | `web1\.service` | the same: a backslash takes the meaning from the character after it |
//! | `*`, `eth*`, `?` | any member, or any place in a list: `*` is any characters, `?` is one |
//! | `**` | any number of segments, none included; at the end it names every value that holds no others |

mod nearest;
mod parse;

pub use nearest::nothing_named;
pub use parse::written;

use crate::base::{Error, Result};
use serde_json::Value;
use std::borrow::Cow;

/// No path is longer.
const MAX_LENGTH: usize = 4096;

/// A path that names values of a state document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// Exactly this name.
    Name(String),
    /// A name of this form.
    Form(Vec<Piece>),
    /// Any number of names.
    Deep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    One,
    Many,
}

/// A value that was named, and its path: the shortest way to write it that names it alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Match<'a> {
    /// Path of the value, as [`Path::parse`] reads it.
    pub path: String,
    /// The names on the way: plugin, key, and what is below.
    pub names: Vec<String>,
    /// The value.
    pub value: &'a Value,
}

impl Path {
    /// Reads a path; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str, hint: &str| Err(Error::usage(what).on(format!("{text:?}")).hint(hint));
        if text.is_empty() {
            return wrong(
                "a path names at least a plugin",
                "for example hostname.static_hostname, or ** for everything",
            );
        }
        if text.len() > MAX_LENGTH {
            return Err(Error::usage(format!("no path is longer than {MAX_LENGTH} bytes")));
        }
        let segments = parse::segments(text).map_err(|e| e.on(format!("{text:?}")))?;
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The path as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The plugin's name, when the path names one plugin alone.
    #[must_use]
    pub fn plugin(&self) -> Option<&str> {
        match self.segments.first() {
            Some(Segment::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// The key's name, when the path names one plugin and one key of it alone.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match &self.segments[..] {
            [Segment::Name(_), Segment::Name(key), ..] => Some(key),
            _ => None,
        }
    }

    /// The one name that this path has below a key; nothing when it has none there, or may have several.
    #[must_use]
    pub fn item(&self) -> Option<&str> {
        match &self.segments[..] {
            [Segment::Name(_) | Segment::Form(_), Segment::Name(_) | Segment::Form(_), Segment::Name(item), ..] => {
                Some(item)
            }
            _ => None,
        }
    }

    /// Whether the value at `names` is needed to know what this path names: it is named, or holds or is part of what is.
    #[must_use]
    pub fn concerns(&self, names: &[&str]) -> bool {
        let mut at = self.start();
        for name in names {
            at = self.step(&at, name);
            if at.contains(&self.segments.len()) {
                return true;
            }
        }
        !at.is_empty()
    }

    /// The places in the path before anything was matched.
    fn start(&self) -> Vec<usize> {
        self.closed(vec![0])
    }

    /// The places in the path after one more name.
    fn step(&self, at: &[usize], name: &str) -> Vec<usize> {
        let mut next = Vec::new();
        for &place in at {
            match self.segments.get(place) {
                Some(Segment::Deep) => next.push(place),
                Some(segment) if segment.matches(name) => next.push(place + 1),
                _ => {}
            }
        }
        self.closed(next)
    }

    /// What `**` stands for may be nothing: the place after it is reached with it, unless it is the last.
    fn closed(&self, mut places: Vec<usize>) -> Vec<usize> {
        let mut i = 0;
        while i < places.len() {
            let place = places[i];
            if self.segments.get(place) == Some(&Segment::Deep) && place + 1 < self.segments.len() {
                places.push(place + 1);
            }
            i += 1;
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    fn names(&self, at: &[usize], value: &Value) -> bool {
        let last = self.segments.len() - 1;
        let is_leaf = match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => true,
        };
        at.iter().any(|&place| place > last || (place == last && is_leaf && self.segments[last] == Segment::Deep))
    }
}

/// The values of `plugins` (the object of that name in a state document) that `paths` name: in the document's order,
/// each once. The second list says of each path whether it named anything.
pub fn select<'a>(plugins: &'a Value, paths: &[Path]) -> (Vec<Match<'a>>, Vec<bool>) {
    let mut found = Found { paths, matches: Vec::new(), has_matched: vec![false; paths.len()] };
    let start: Vec<Vec<usize>> = paths.iter().map(Path::start).collect();
    for (name, value) in members(plugins) {
        found.visit(&start, &mut Vec::new(), &name, value);
    }
    (found.matches, found.has_matched)
}

struct Found<'a, 'p> {
    paths: &'p [Path],
    matches: Vec<Match<'a>>,
    has_matched: Vec<bool>,
}

impl<'a> Found<'a, '_> {
    fn visit(&mut self, at: &[Vec<usize>], above: &mut Vec<String>, name: &str, value: &'a Value) {
        let at: Vec<Vec<usize>> = self.paths.iter().zip(at).map(|(path, at)| path.step(at, name)).collect();
        if at.iter().all(Vec::is_empty) {
            return;
        }
        above.push(name.to_owned());
        let mut is_named = false;
        for ((path, at), has_matched) in self.paths.iter().zip(&at).zip(&mut self.has_matched) {
            if path.names(at, value) {
                is_named = true;
                *has_matched = true;
            }
        }
        if is_named {
            self.matches.push(Match { path: written(above), names: above.clone(), value });
        }
        for (name, value) in members(value) {
            self.visit(&at, above, &name, value);
        }
        above.pop();
    }
}

/// What a value holds: the members of an object by name, those of a list by place.
fn members(value: &Value) -> Vec<(Cow<'_, str>, &Value)> {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, value)| (Cow::Owned(i.to_string()), value)).collect(),
        _ => Vec::new(),
    }
}

impl Segment {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(exact) => exact == name,
            Self::Form(form) => fits(form, name),
            Self::Deep => true,
        }
    }

    /// What a person probably had in mind: the letters that are no wildcards.
    fn words(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Form(form) => {
                form.iter().filter_map(|piece| if let Piece::Char(c) = piece { Some(*c) } else { None }).collect()
            }
            Self::Deep => String::new(),
        }
    }
}

/// Whether the whole `name` has the form; in time linear to both but for the last `*`, which alone is tried again.
fn fits(form: &[Piece], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut i, mut j) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while j < name.len() {
        match form.get(i) {
            Some(Piece::Many) => {
                again = Some((i + 1, j));
                i += 1;
            }
            Some(Piece::Char(c)) if *c == name[j] => (i, j) = (i + 1, j + 1),
            Some(Piece::One) => (i, j) = (i + 1, j + 1),
            _ => match again {
                Some((after, from)) => {
                    again = Some((after, from + 1));
                    (i, j) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    form[i..].iter().all(|piece| *piece == Piece::Many)
}
