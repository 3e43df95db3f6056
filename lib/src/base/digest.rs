//! Digests of documents: SHA-256 over RFC 8785 canonical JSON, tagged with what is digested.

use super::canonical::{self, EXACT};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// `sha256:...` of `value` in the domain `tag`; the same value in another domain has another digest.
///
/// The bytes digested are the tag, a zero byte, and the canonical JSON. RFC 8785 writes every number as a double, which
/// would make neighbours of 2^53 one; integers beyond it count as their decimal text, the form they travel in.
#[must_use]
pub fn of_json(tag: &str, value: &Value) -> String {
    if let Some(plain) = canonical::plain(value) {
        return of_bytes(tag, &plain);
    }
    let mut value = value.clone();
    large_integers_as_text(&mut value);
    of_bytes(tag, &canonical(&value).unwrap_or_default())
}

/// The same of anything that can be written as JSON, which is put together for it only where it must be.
#[must_use]
pub fn of(tag: &str, value: &impl Serialize) -> String {
    match canonical::plain(value) {
        Some(plain) => of_bytes(tag, &plain),
        None => of_json(tag, &serde_json::to_value(value).unwrap_or_default()),
    }
}

/// The canonical JSON of `value`, as RFC 8785 writes it.
pub fn canonical(value: &Value) -> serde_json::Result<Vec<u8>> {
    // Most documents are plain, and writing them so takes a tenth of the time.
    canonical::plain(value).map_or_else(|| serde_json_canonicalizer::to_vec(value), Ok)
}

fn large_integers_as_text(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_some_and(|size| size > EXACT) {
                *value = Value::String(number.to_string());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(large_integers_as_text),
        Value::Object(map) => map.values_mut().for_each(large_integers_as_text),
        _ => {}
    }
}

/// `sha256:...` of `bytes` in the domain `tag`.
#[must_use]
pub fn of_bytes(tag: &str, bytes: &[u8]) -> String {
    let mut hasher = Plain::default();
    hasher.update(tag.as_bytes());
    hasher.update(&[0]);
    hasher.update(bytes);
    format!("sha256:{}", hasher.finish())
}

/// The SHA-256 of bytes as they are, in parts: what `sha256sum` prints.
#[derive(Debug, Clone, Default)]
pub struct Plain(Sha256);

impl Plain {
    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far, in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        let digit = |four: u8| char::from(b"0123456789abcdef"[usize::from(four)]);
        self.0.finalize().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// The digest of `bytes`, in hexadecimal.
    #[must_use]
    pub fn of(bytes: &[u8]) -> String {
        let mut plain = Self::default();
        plain.update(bytes);
        plain.finish()
    }
}

/// A digest over length-prefixed fields, begun: what many digests have in common is digested once.
#[derive(Clone)]
pub struct Fields(Sha256);

impl Fields {
    /// Begins in the domain `tag`.
    #[must_use]
    pub fn begin(tag: &str) -> Self {
        Self(Sha256::new()).with(tag.as_bytes())
    }

    /// With one more field. Each has its length before it, so no two lists of fields are the same bytes.
    #[must_use]
    pub fn with(mut self, field: &[u8]) -> Self {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
        self
    }

    /// The SHA-256 of all fields.
    #[must_use]
    pub fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_does_not_matter_and_the_domain_does() {
        let a: Value = serde_json::from_str(r#"{"b":1,"a":[1.0,"é"]}"#).unwrap();
        let b = json!({"a": [1.0, "é"], "b": 1});
        assert_eq!(of_json("plan", &a), of_json("plan", &b));
        assert_ne!(of_json("plan", &a), of_json("base", &a));
    }

    #[test]
    fn canonical_json_is_the_same_by_both_ways() {
        let plain = json!({"a": [1, -5, 9_007_199_254_740_992_u64, true, null, "é\u{7f}\u{1f}\n\"\\/\u{10000}"], "b": {"": {}}, "c": []});
        assert!(canonical::plain(&plain).is_some());
        assert_eq!(canonical(&plain).unwrap(), serde_json_canonicalizer::to_vec(&plain).unwrap());
        let others =
            [json!(1.0), json!(1.5e30), json!(9_007_199_254_740_993_u64), json!({"\u{ffff}": 1, "\u{10000}": 2})];
        for other in others {
            assert!(canonical::plain(&other).is_none(), "{other}");
            assert_eq!(canonical(&other).unwrap(), serde_json_canonicalizer::to_vec(&other).unwrap());
        }
        assert_eq!(String::from_utf8(canonical(&json!({"b": 1.0, "a": -0.0})).unwrap()).unwrap(), r#"{"a":0,"b":1}"#);
        assert_eq!(Plain::of(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let of = |fields: &[&str]| fields.iter().fold(Fields::begin("key"), |f, x| f.with(x.as_bytes())).end();
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        for other in [&["ab"][..], &["ab", ""], &["", "ab"], &["a", "b", ""], &["b", "a"]] {
            assert_ne!(of(&["a", "b"]), of(other), "{other:?}");
        }
        assert_ne!(Fields::begin("key").end(), Fields::begin("yek").end());
    }

    #[test]
    fn anything_is_digested_as_the_json_it_makes() {
        #[derive(Serialize)]
        struct Sample {
            large: u64,
            half: f64,
            after: Vec<&'static str>,
        }
        let sample = Sample { large: u64::MAX, half: 0.5, after: vec!["x"] };
        assert_eq!(
            of("t", &sample),
            of_json("t", &json!({"after": ["x"], "half": 0.5, "large": u64::MAX.to_string()}))
        );
        let plain = ("x", 1, [("y", ())]);
        assert_eq!(of("t", &plain), of_json("t", &json!(["x", 1, [["y", null]]])));
    }
}
