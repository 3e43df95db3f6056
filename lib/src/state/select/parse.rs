//! Reading and writing paths.

use super::{Piece, Segment};
use crate::base::{Error, Result};
use serde_json::Value;
use std::borrow::Cow;

/// The word for what all paths begin with; it may be left out where segments are between dots.
const PLUGINS: &str = "plugins";

/// The segments of a path of either form.
pub(super) fn segments(text: &str) -> Result<Vec<Segment>> {
    if text.starts_with('/') { pointer(text) } else { dotted(text) }
}

/// The path that names exactly the value `names` lead to.
#[must_use]
pub fn written<S: AsRef<str>>(names: &[S]) -> String {
    let segments: Vec<Cow<'_, str>> = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let name = name.as_ref();
            let is_special = |c: char| matches!(c, '.' | '*' | '?' | '"' | '\\') || c.is_whitespace() || c.is_control();
            let misleads = i == 0 && (name.starts_with(['/', '-']) || (name == PLUGINS && names.len() > 1));
            if name.is_empty() || misleads || name.contains(is_special) {
                Cow::Owned(Value::from(name).to_string())
            } else {
                Cow::Borrowed(name)
            }
        })
        .collect();
    segments.join(".")
}

/// RFC 6901, from the top of a state document.
fn pointer(text: &str) -> Result<Vec<Segment>> {
    let mut names = Vec::new();
    for token in text.split('/').skip(1) {
        let mut name = String::with_capacity(token.len());
        let mut chars = token.chars();
        while let Some(c) = chars.next() {
            match (c, c == '~').1.then(|| chars.next()) {
                None => name.push(c),
                Some(Some('0')) => name.push('~'),
                Some(Some('1')) => name.push('/'),
                Some(_) => {
                    return Err(Error::usage("in a JSON pointer a ~ is written ~0, and a / in a name ~1"));
                }
            }
        }
        names.push(name);
    }
    if names.first().is_none_or(|first| first != PLUGINS) || names.len() < 2 {
        return Err(Error::usage("a JSON pointer leads to a plugin's state from the top of the document")
            .hint("it begins with /plugins/NAME; without the first / segments are between dots: NAME.KEY"));
    }
    Ok(names.into_iter().skip(1).map(Segment::Name).collect())
}

fn dotted(text: &str) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut rest = text;
    loop {
        let (segment, was_quoted, after) = segment(rest)?;
        let is_prefix = segments.is_empty() && !was_quoted && after.is_some();
        if !(is_prefix && segment == Segment::Name(PLUGINS.into())) {
            segments.push(segment);
        }
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    // A second ** says nothing that the first did not.
    segments.dedup_by(|a, b| *a == Segment::Deep && *b == Segment::Deep);
    Ok(segments)
}

/// One segment, whether it was in quotes, and what follows the dot after it.
fn segment(text: &str) -> Result<(Segment, bool, Option<&str>)> {
    if let Some(inside) = text.strip_prefix('"') {
        let mut is_escaped = false;
        let end = inside.find(|c| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let unclosed = || Error::usage("a quoted segment does not end").hint("it is a JSON text: \"web1.service\"");
        let (quoted, rest) = text.split_at(end.ok_or_else(unclosed)? + 2);
        let name: String = serde_json::from_str(quoted)
            .map_err(|e| Error::usage(format!("a quoted segment is a JSON text, and {quoted} is none: {e}")))?;
        return match (rest, rest.strip_prefix('.')) {
            ("", _) => Ok((Segment::Name(name), true, None)),
            (_, Some(after)) => Ok((Segment::Name(name), true, Some(after))),
            _ => {
                Err(Error::usage("a quoted segment is a whole segment").hint("a dot or nothing follows the last quote"))
            }
        };
    }
    let mut pieces = Vec::new();
    let mut after = None;
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '.' => {
                after = Some(&text[i + 1..]);
                break;
            }
            '*' => pieces.push(Piece::Many),
            '?' => pieces.push(Piece::One),
            '"' => {
                return Err(
                    Error::usage("a quote stands in the middle of a segment").hint("quote all of it, or write \\\"")
                );
            }
            '\\' => match chars.next() {
                Some((_, c)) => pieces.push(Piece::Char(c)),
                None => return Err(Error::usage("a backslash at the end means nothing")),
            },
            c => pieces.push(Piece::Char(c)),
        }
    }
    if pieces.is_empty() {
        return Err(Error::usage("a segment is empty")
            .hint("one dot is between two segments, none before the first or after the last"));
    }
    if pieces == [Piece::Many, Piece::Many] {
        return Ok((Segment::Deep, false, after));
    }
    let name: Option<String> =
        pieces.iter().map(|piece| if let Piece::Char(c) = piece { Some(*c) } else { None }).collect();
    let segment = name.map_or_else(
        || {
            pieces.dedup_by(|a, b| *a == Piece::Many && *b == Piece::Many);
            Segment::Form(pieces)
        },
        Segment::Name,
    );
    Ok((segment, false, after))
}
