//! Arguments with places to fill: `$value`, `$items`, `$OTHER_KEY` become values, `$$x` the text `$x`.

use crate::base::{Error, Result};
use serde_json::Value;

/// Fills the places in `args`; `find` knows what a word stands for.
pub fn fill(args: &[Value], find: &dyn Fn(&str) -> Option<Value>) -> Result<Vec<Value>> {
    args.iter().map(|arg| fill_one(arg, find)).collect()
}

fn fill_one(arg: &Value, find: &dyn Fn(&str) -> Option<Value>) -> Result<Value> {
    match arg {
        Value::String(text) => match text.strip_prefix('$') {
            Some(literal) if literal.starts_with('$') => Ok(Value::String(literal.to_owned())),
            Some(word) => find(word).ok_or_else(|| {
                Error::bad_input(format!("the mapping asks for ${word}, which has no value here"))
                    .hint("known are $value, $item, $items, $id, $ids and, for other keys of the state, $KEY")
            }),
            None => Ok(arg.clone()),
        },
        Value::Array(items) => items.iter().map(|item| fill_one(item, find)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| Ok((key.clone(), fill_one(value, find)?)))
            .collect::<Result<_>>()
            .map(Value::Object),
        other => Ok(other.clone()),
    }
}

/// Whether `word` occurs in `args`.
#[must_use]
pub fn mentions(args: &[Value], word: &str) -> bool {
    args.iter().any(|arg| match arg {
        Value::String(text) => text.strip_prefix('$') == Some(word),
        Value::Array(items) => mentions(items, word),
        Value::Object(map) => map.values().any(|value| mentions(std::slice::from_ref(value), word)),
        _ => false,
    })
}

/// Puts the fixed arguments at their positions among the `free` ones.
pub fn with_fixed(free: Vec<Value>, fixed: &[(usize, Value)]) -> Result<Vec<Value>> {
    let total = free.len() + fixed.len();
    let mut free = free.into_iter();
    (0..total)
        .map(|position| {
            let constant = fixed.iter().find(|(at, _)| *at == position).map(|(_, value)| value.clone());
            constant.or_else(|| free.next()).ok_or_else(|| {
                Error::bad_input(format!("a fixed argument stands at a position beyond the {total} arguments"))
            })
        })
        .collect()
}

/// `Install nginx, postgresql` for `Install {items}`.
#[must_use]
pub fn text(template: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_filled_and_dollars_kept() {
        let find = |word: &str| (word == "value").then(|| json!(["x"]));
        assert_eq!(fill(&[json!("$value"), json!([["$$value"]])], &find).unwrap(), [json!(["x"]), json!([["$value"]])]);
        assert!(fill(&[json!("$other")], &find).is_err());
    }

    #[test]
    fn fixed_arguments_take_their_places() {
        let fixed = [(0, json!(4)), (2, json!(false))];
        assert_eq!(with_fixed(vec![json!("a")], &fixed).unwrap(), [json!(4), json!("a"), json!(false)]);
        assert!(with_fixed(vec![], &[(3, json!(1))]).is_err());
    }
}
