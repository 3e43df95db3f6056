//! Validation rules: what a desired value must look like, checked before anything is called.

use super::file::Rules;
use crate::base::name::matches;
use crate::base::{Error, Result};
use serde_json::Value;

/// The rule's regular expression, anchored at both ends.
pub(super) fn compile(rules: &Rules) -> Result<Option<regex_lite::Regex>> {
    let Some(pattern) = &rules.pattern else { return Ok(None) };
    regex_lite::Regex::new(&format!("^(?:{pattern})$"))
        .map(Some)
        .map_err(|error| Error::bad_input(format!("{pattern:?} is no regular expression: {error}")))
}

/// Checks `value`, or each item of a list, against the rules; `at` is its place in the document.
pub fn check_value(at: &str, value: &Value, rules: &Rules) -> Result<()> {
    if let Value::Array(items) = value {
        let again = |(i, item): (usize, &Value)| (rules.unique && items[..i].contains(item)).then_some(i);
        let again = items.iter().enumerate().filter_map(again).map(|i| twice(&format!("{at}[{i}]"), &items[i]));
        let wrong = |(i, item): (usize, &Value)| check_one(&format!("{at}[{i}]"), item, rules).err();
        let errors = items.iter().enumerate().filter_map(wrong).chain(again);
        return Error::all(errors.collect()).map_or(Ok(()), Err);
    }
    check_one(at, value, rules)
}

fn twice(at: &str, item: &Value) -> Error {
    Error::bad_input(format!("{item} is there twice, and the service would keep one")).on(at).hint("say it once")
}

fn check_one(at: &str, value: &Value, rules: &Rules) -> Result<()> {
    let fail = |what: String| {
        let error = Error::bad_input(format!("{value} {what}")).on(at);
        Err(match &rules.hint {
            Some(hint) => error.hint(hint),
            None => error,
        })
    };
    if let Some(allowed) = rules.one_of.as_ref().filter(|allowed| !allowed.contains(value)) {
        let list = allowed.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        return fail(format!("is none of {list}"));
    }
    if rules.none_of.iter().any(|other| is_forbidden(other, value)) {
        return fail("is not allowed".into());
    }
    let text = value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string));
    if let (Some(regex), Some(text)) = (compile(rules)?, text)
        && !regex.is_match(&text)
    {
        return fail(format!("does not look like {}", rules.pattern.as_deref().unwrap_or_default()));
    }
    if let (Some(most), Some(text)) = (rules.max_length, value.as_str())
        && text.chars().count() > most
    {
        return fail(format!("is longer than {most} characters"));
    }
    if let Some(path) = value.as_str().filter(|_| rules.executable)
        && !is_executable(path)
    {
        return fail("is no executable file of this machine".into());
    }
    if let Some(path) = value.as_str().filter(|_| rules.unused_path)
        && (!path.starts_with('/') || std::fs::symlink_metadata(path).is_ok())
    {
        return fail("is no path of this machine at which nothing is yet".into());
    }
    if let Some(number) = value.as_f64() {
        if let Some(min) = rules.min.filter(|min| number < *min) {
            return fail(format!("is less than {min}"));
        }
        if let Some(max) = rules.max.filter(|max| number > *max) {
            return fail(format!("is more than {max}"));
        }
    }
    Ok(())
}

/// Whether a value is the forbidden one, or a text that its `*` stands for.
fn is_forbidden(forbidden: &Value, value: &Value) -> bool {
    match (forbidden, value) {
        (Value::String(pattern), Value::String(text)) => matches(pattern, text),
        _ => forbidden == value,
    }
}

fn is_executable(path: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let path = std::path::Path::new(path);
    path.is_absolute() && path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_rule_refuses_and_accepts() {
        let rules = |text: &str| -> Rules { toml::from_str(text).unwrap() };
        for (rule, good, bad) in [
            ("one_of = ['', 'vm']", json!("vm"), json!("cat")),
            ("none_of = ['cat']", json!("vm"), json!("cat")),
            ("none_of = ['cat*']", json!("my-cat"), json!("cats")),
            ("none_of = [false]", json!(true), json!(false)),
            ("unique = true", json!(["a", "b"]), json!(["a", "b", "a"])),
            ("pattern = '[0-9]+/tcp'", json!("80/tcp"), json!(80)),
            ("pattern = '[0-9]+'", json!(80), json!(-80)),
            ("pattern = '[a-z]+'", json!("abc"), json!("abc1")),
            ("max_length = 2", json!("äb"), json!("abc")),
            ("executable = true", json!("/bin/sh"), json!("/etc/passwd")),
            ("executable = true", json!("/bin/sh"), json!("sh")),
            ("unused_path = true", json!("/nothing-is-here"), json!("/etc")),
            ("unused_path = true", json!("/nothing-is-here"), json!("nothing-is-here")),
            ("min = 1", json!(1), json!(0)),
            ("max = 1", json!(1), json!(2)),
            ("pattern = '[a-z]+'", json!(["a", "b"]), json!(["a", "1"])),
        ] {
            assert!(check_value("at", &good, &rules(rule)).is_ok(), "{rule} {good}");
            assert!(check_value("at", &bad, &rules(rule)).is_err(), "{rule} {bad}");
        }
    }
}
