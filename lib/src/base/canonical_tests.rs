//! What is written is what others write, or left.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Inner {
    zebra: Option<u8>,
    apple: Vec<(i64, char)>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tagged {
    Small { to: Inner, from: () },
    Unit,
}

#[derive(Serialize)]
enum Plain {
    One,
    Two(u16),
}

#[test]
fn what_is_plain_is_as_others_write_it() {
    let inner = |text: &str| Inner {
        zebra: None,
        apple: vec![(-5, '"'), (9_007_199_254_740_992, '\u{10000}')],
        rest: [("b".to_owned(), json!({"a!": 1, "a": [text]})), ("a b".to_owned(), json!("é\u{7f}\u{1f}\n\\/"))].into(),
    };
    let all = (
        vec![Tagged::Small { to: inner("x"), from: () }, Tagged::Unit],
        [Plain::One, Plain::Two(7)],
        BTreeMap::from([("", true), ("~", false)]),
    );
    let written = plain(&all).unwrap();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        String::from_utf8(serde_json_canonicalizer::to_vec(&all).unwrap()).unwrap()
    );
}

/// Any document, as far as `next` leads.
fn any(next: &mut dyn FnMut(usize) -> usize, depth: usize) -> Value {
    const TEXTS: [&str; 12] =
        ["", "a", "a!", "a b", "ab", "A", "~", "\u{7f}", "\"", "\\", "\n\u{1f}\t", "\u{e9}\u{ffff}\u{10000}"];
    const NUMBERS: [i64; 8] = [0, -1, 10, 255, 1 << 53, -(1 << 53), (1 << 53) + 1, i64::MIN];
    match next(if depth == 0 { 5 } else { 8 }) {
        0 => Value::Null,
        1 => Value::Bool(next(2) == 0),
        2 => json!(NUMBERS[next(NUMBERS.len())]),
        3 => json!(TEXTS[next(TEXTS.len())]),
        4 => [json!(0.5), json!(-0.0), json!(1e21), json!(u64::MAX)][next(4)].clone(),
        5 => (0..next(4)).map(|_| any(next, depth - 1)).collect(),
        _ => (0..next(5)).map(|_| (TEXTS[next(TEXTS.len())].to_owned(), any(next, depth - 1))).collect(),
    }
}

#[test]
fn any_document_is_as_others_write_it_or_left() {
    let (mut state, mut written, mut left) = (1_u64, 0, 0);
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..20_000 {
        let value = any(&mut next, 3);
        match plain(&value) {
            Some(bytes) => {
                assert_eq!(bytes, serde_json_canonicalizer::to_vec(&value).unwrap(), "{value}");
                written += 1;
            }
            None => left += 1,
        }
    }
    assert!(written > 5000 && left > 1000, "{written} {left}");
}

#[test]
fn what_is_not_plain_is_left() {
    for value in
        [json!(1.0), json!(9_007_199_254_740_993_u64), json!({"é": 1}), json!({"a\"b": 1}), json!([{"a": -0.5}])]
    {
        assert!(plain(&value).is_none(), "{value}");
    }
    let raw = serde_json::value::RawValue::from_string("1.0".into()).unwrap();
    assert!(plain(&raw).is_none());
    assert!(plain(&BTreeMap::from([(1, 2)])).is_none(), "a name that is a number");
}
