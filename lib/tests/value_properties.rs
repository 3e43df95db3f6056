//! Random values of random types through real messages, and random bytes.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use op_dbus::bus::value::{
    VariantTypes, body_signature, complete_types, decode_args, decode_body, decode_message, decode_message_typed,
    decode_one, decode_variant_types, encode_body, to_body,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use zbus::wire::Endian;
use zbus::{Message, Signature};

/// A value as it is written, and as it is read back.
type Pair = (Value, Value);

fn key_type() -> impl Strategy<Value = Signature> {
    prop::sample::select(
        "ybnqiuxtdsog".chars().map(|c| c.to_string().as_str().try_into().unwrap()).collect::<Vec<Signature>>(),
    )
}

/// Every type that can be written.
fn signature() -> impl Strategy<Value = Signature> {
    let leaf = prop_oneof![5 => key_type(), 2 => Just(Signature::Variant), 1 => Just(Signature::array(Signature::U8))];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(Signature::array),
            (key_type(), inner.clone()).prop_map(|(key, value)| Signature::dict(key, value)),
            vec(inner, 1..4).prop_map(Signature::structure),
        ]
    })
}

fn same(strategy: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Pair> {
    strategy.prop_map(|value| (value.clone(), value)).boxed()
}

fn integer(from: i128, to: i128) -> BoxedStrategy<Pair> {
    let wide = |n: i128| if n.unsigned_abs() > 1 << 53 { json!(n.to_string()) } else { json!(n as i64) };
    same(prop_oneof![from..=to, Just(from), Just(to), (-3_i128..3).prop_map(move |n| n.clamp(from, to))].prop_map(wide))
}

fn path() -> impl Strategy<Value = String> {
    vec("[A-Za-z0-9_]{1,5}", 0..4).prop_map(|elements| format!("/{}", elements.join("/")))
}

fn bytes() -> impl Strategy<Value = Pair> {
    let form = |bytes: Vec<u8>| match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains(char::is_control) => text.into(),
        _ => json!({ "$bytes": STANDARD.encode(&bytes) }),
    };
    same(prop_oneof!["[ -~é]{0,9}".prop_map(String::into_bytes), vec(any::<u8>(), 0..9)].prop_map(form))
}

/// Values of type `signature` in canonical form; variants say their type when written.
fn value(signature: &Signature, depth: u32) -> BoxedStrategy<Pair> {
    match signature {
        Signature::U8 => integer(0, 255),
        Signature::I16 => integer(i16::MIN.into(), i16::MAX.into()),
        Signature::U16 => integer(0, u16::MAX.into()),
        Signature::I32 => integer(i32::MIN.into(), i32::MAX.into()),
        Signature::U32 => integer(0, u32::MAX.into()),
        Signature::I64 => integer(i64::MIN.into(), i64::MAX.into()),
        Signature::U64 => integer(0, u64::MAX.into()),
        Signature::Bool => same(any::<bool>().prop_map(Value::from)),
        Signature::F64 => same(prop_oneof![
            8 => any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
            1 => prop::sample::select(vec!["NaN", "inf", "-inf"]).prop_map(|name| json!({ "$double": name })),
        ]),
        Signature::Str => same(text().prop_map(Value::from)),
        Signature::ObjectPath => same(path().prop_map(Value::from)),
        Signature::Signature => same(self::signature().prop_map(|one| one.to_string().into())),
        Signature::Variant if depth == 0 => wrapped(&Signature::Str, 0),
        Signature::Variant => self::signature().prop_flat_map(move |inner| wrapped(&inner, depth - 1)).boxed(),
        Signature::Array(element) if *element.signature() == Signature::U8 => bytes().boxed(),
        Signature::Array(element) => vec(value(element.signature(), depth), 0..4).prop_map(both).boxed(),
        Signature::Dict { key, value: inner } => {
            let entries = btree_map(key_text(key.signature()), value(inner.signature(), depth), 0..4);
            let pair = |entries: std::collections::BTreeMap<String, Pair>| {
                let (mut written, mut read) = (Map::new(), Map::new());
                for (key, (w, r)) in entries {
                    let key = if key.starts_with('$') { format!("${key}") } else { key };
                    written.insert(key.clone(), w);
                    read.insert(key, r);
                }
                (Value::from(written), Value::from(read))
            };
            entries.prop_map(pair).boxed()
        }
        Signature::Structure(fields) => {
            fields.iter().map(|field| value(field, depth)).collect::<Vec<_>>().prop_map(both).boxed()
        }
        other => panic!("{other} cannot be written"),
    }
}

fn both(pairs: Vec<Pair>) -> Pair {
    let (written, read): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    (written.into(), read.into())
}

fn wrapped(inner: &Signature, depth: u32) -> BoxedStrategy<Pair> {
    let text = inner.to_string();
    value(inner, depth)
        .prop_map(move |(written, read)| (json!({"$variant":{"signature": text, "value": written}}), read))
        .boxed()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\$?[a-z.]{0,6}", "\\PC{0,8}"].prop_filter("no NUL", |text| !text.contains('\0'))
}

fn key_text(signature: &Signature) -> BoxedStrategy<String> {
    match signature {
        Signature::Str => text().boxed(),
        Signature::F64 => (1_i32..1000).prop_map(|n| format!("{:?}", f64::from(n) / 8.0)).boxed(),
        // zbus tells few type signatures apart as keys.
        Signature::Signature => Just("a{sv}".to_owned()).boxed(),
        other => value(other, 0).prop_map(|(v, _)| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).boxed(),
    }
}

fn endian() -> impl Strategy<Value = Endian> {
    prop_oneof![Just(Endian::Little), Just(Endian::Big)]
}

fn arguments() -> impl Strategy<Value = (Vec<Signature>, Vec<Pair>)> {
    vec(signature(), 0..4).prop_flat_map(|args| {
        let values = args.iter().map(|one| value(one, 2)).collect::<Vec<_>>();
        (Just(args), values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn what_is_written_is_read((args, pairs) in arguments(), endian in endian()) {
        let (written, read): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let at: Vec<String> = written.iter().map(|_| String::new()).collect();
        let body = body_signature(&args);
        let encoded = encode_body(&written, &body, &at, &VariantTypes::none()).unwrap();
        let message = Message::method_call("/", "M").endian(endian).build(&to_body(encoded).unwrap()).unwrap();
        let bytes = message.body().data().bytes().to_vec();
        prop_assert_eq!(&decode_message(&message).unwrap(), &read);
        prop_assert_eq!(&decode_args(&args, &bytes, endian).unwrap(), &read);
        prop_assert_eq!(&decode_body(&body, &bytes, endian).unwrap(), &read);
        decode_variant_types(&body, &bytes, endian).unwrap();
        // With their types the values make the same message again, to the byte.
        let (types, typed) = decode_message_typed(&message).unwrap();
        prop_assert_eq!(&complete_types(&types).unwrap(), &args);
        let again = encode_body(&typed, &body, &at, &VariantTypes::none()).unwrap();
        let again = Message::method_call("/", "M").endian(endian).build(&to_body(again).unwrap()).unwrap();
        prop_assert_eq!(again.body().data().bytes().to_vec(), bytes.clone());
        // Nothing of a cut or damaged message may be more than an error.
        for cut in 0..bytes.len().min(64) {
            prop_assert!(decode_args(&args, &bytes[..cut], endian).is_err());
            let mut damaged = bytes.clone();
            damaged[cut] ^= 0x41;
            let _ = decode_args(&args, &damaged, endian);
            let _ = decode_variant_types(&body, &damaged, endian);
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(one in signature(), bytes in vec(prop_oneof![4 => 0_u8..8, 1 => any::<u8>(), 2 => prop::sample::select(b"vsa(){}yu".to_vec())], 0..200), endian in endian()) {
        let _ = decode_one(&one, &bytes, endian);
        let _ = decode_body(&one, &bytes, endian);
        let _ = decode_variant_types(&one, &bytes, endian);
    }
}
