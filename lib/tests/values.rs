//! Values through real messages: JSON -> D-Bus -> bytes -> JSON.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::{Error, Kind};
use op_dbus::bus::value::{
    VariantTypes, body_signature, complete_types, decode_args, decode_body, decode_message, decode_one,
    decode_variant_types, encode, encode_body, encode_secret, signature_of_variant, single_type, to_body,
};
use serde_json::{Value, json};
use zbus::wire::Endian;
use zbus::{Message, Signature};

fn message(values: &[Value], args: &[Signature], variants: &VariantTypes, endian: Endian) -> Message {
    let at: Vec<String> = (0..values.len()).map(|i| format!("arg{i}")).collect();
    let body = to_body(encode_body(values, &body_signature(args), &at, variants).unwrap()).unwrap();
    Message::method_call("/", "Set").endian(endian).build(&body).unwrap()
}

/// `value` as the only argument, through a message and back.
fn there_and_back(value: &Value, type_signature: &str) -> Value {
    let one = single_type(type_signature).unwrap();
    let sent = message(std::slice::from_ref(value), &[one], &VariantTypes::none(), Endian::Little);
    decode_message(&sent).unwrap().remove(0)
}

fn refusal(value: &Value, type_signature: &str) -> Error {
    encode(value, &single_type(type_signature).unwrap(), "plugins.p", &VariantTypes::none()).unwrap_err()
}

#[test]
fn forms() {
    for (signature, value) in [
        ("y", json!(255)),
        ("b", json!(true)),
        ("n", json!(-32768)),
        ("q", json!(65535)),
        ("i", json!(-5)),
        ("u", json!(4294967295_u32)),
        ("x", json!(9007199254740992_i64)),
        ("x", json!("9007199254740993")),
        ("x", json!("-9223372036854775808")),
        ("t", json!("18446744073709551615")),
        ("d", json!(1.5)),
        ("d", json!({"$double":"NaN"})),
        ("d", json!({"$double":"-inf"})),
        ("s", json!("grüße\n")),
        ("o", json!("/")),
        ("g", json!("a{sv}")),
        ("g", json!("(ss)")),
        ("ay", json!("text")),
        ("ay", json!("")),
        ("ay", json!({"$bytes":"dGV4dAA="})),
        ("ay", json!({"$bytes":"/w=="})),
        ("as", json!(["a", "b"])),
        ("aay", json!(["10.0.0.1", {"$bytes":"AA=="}])),
        ("(sa(iu))", json!(["a", [[1, 2]]])),
        ("a{us}", json!({"10":"a","9":"b"})),
        ("a{bs}", json!({"false":"a","true":"b"})),
        ("a{xs}", json!({"-1":"a"})),
        ("a{ds}", json!({"0.5":"a","NaN":"b"})),
        ("a{oas}", json!({"/a":["x"]})),
        ("a{ss}", json!({"$$secret":"PASSWORD","$$$x":"","$$":""})),
        ("a{sa{ss}}", json!({"a":{"b":"c"},"empty":{}})),
    ] {
        assert_eq!(there_and_back(&value, signature), value, "{signature}");
    }
    assert_eq!(there_and_back(&json!([1, 2]), "ay"), json!({"$bytes":"AQI="}));
    assert_eq!(there_and_back(&json!(3.0), "u"), json!(3));
    assert_eq!(there_and_back(&json!(10_000_000_000_000_000_u64), "d"), json!(1e16));
    let nested = json!({"$variant":{"signature":"v","value":{"$variant":{"signature":"as","value":["x"]}}}});
    assert_eq!(there_and_back(&nested, "v"), json!(["x"]));
    // What no document can hold can still be read.
    let descriptor = decode_body(&Signature::Fd, b"\x03\0\0\0", Endian::Little).unwrap();
    assert_eq!(descriptor, [json!({"$fd":3})]);
}

#[test]
fn bodies() {
    let none = VariantTypes::none();
    for (signature, values) in [
        ("", vec![]),
        ("ss", vec![json!("a"), json!("b")]),
        ("(ss)", vec![json!(["a", "b"])]),
        ("((s))", vec![json!([["a"]])]),
    ] {
        let args = complete_types(signature).unwrap();
        let sent = message(&values, &args, &none, Endian::Big);
        assert_eq!(decode_message(&sent).unwrap(), values, "{signature}");
        let body = sent.body();
        assert_eq!(decode_args(&args, body.data().bytes(), Endian::Big).unwrap(), values);
        assert_eq!(body.is_empty(), signature.is_empty());
    }
    let two: Signature = "ss".try_into().unwrap();
    let error = encode_body(&[json!(1)], &two, &["a".into()], &none).unwrap_err();
    assert_eq!(error.message, "1 arguments were given for the 2 of type \"ss\"");
    let error = encode_body(&[json!(1), json!(2)], &two, &["a".into(), "b".into()], &none).unwrap_err();
    assert_eq!((error.subject.as_deref(), error.also[0].subject.as_deref()), (Some("a"), Some("b")));
}

#[test]
fn misfits() {
    for (signature, value, place, message) in [
        ("y", json!(300), "", "300 does not fit y, 0 to 255"),
        ("x", json!("007"), "", "\"007\" does not fit x, -9223372036854775808 to 9223372036854775807"),
        ("u", json!("7"), "", "\"7\" does not fit u, 0 to 4294967295"),
        ("u", json!(1.5), "", "1.5 does not fit u, 0 to 4294967295"),
        (
            "d",
            json!(u64::MAX),
            "",
            "18446744073709551615 does not fit d, a number or {\"$double\":\"NaN\"}, \"inf\" or \"-inf\"",
        ),
        ("b", json!(1), "", "1 does not fit b, true or false"),
        ("s", json!("a\0"), "", "\"a\\u0000\" does not fit s, a string without NUL"),
        ("o", json!("/a/"), "", "\"/a/\" does not fit o, an object path like \"/org/example/Thing\""),
        ("g", json!("ss"), "", "\"ss\" does not fit g, a type signature of one type like \"a{sv}\""),
        ("h", json!({"$fd":0}), "", "{\"$fd\":0} does not fit h, a file descriptor, which no document can hold"),
        ("(ss)", json!(["a"]), "", "[\"a\"] does not fit (ss), an array of 2 values"),
        ("as", json!({}), "", "{} does not fit as, an array"),
        ("a{ss}", json!([]), "", "[] does not fit a{ss}, an object"),
        ("a{ss}", json!({"a":1}), ".a", "1 does not fit s, a string without NUL"),
        ("a{ys}", json!({"01":"x"}), ".01", "\"01\" does not fit y, 0 to 255"),
        ("a{sa(si)}", json!({"a":[["x","y"]]}), ".a[0][1]", "\"y\" does not fit i, -2147483648 to 2147483647"),
        ("a{ss}", json!({"$secret":"X"}), "", "a secret has no place here"),
        (
            "a{ss}",
            json!({"$a":"X"}),
            ".$a",
            "\"$a\" has no meaning here; a key that begins with $ is written with one more",
        ),
        ("v", json!(1), "", "1 does not fit v: the type of this variant is not known"),
        ("v", json!({"$variant":1}), "", "\"$variant\" has to be {\"signature\":\"u\",\"value\":1}"),
        (
            "v",
            json!({"$variant":{"signature":"ss","value":1}}),
            "",
            "\"ss\" is not the type signature of exactly one value",
        ),
        (
            "ay",
            json!({"$bytes":"*"}),
            "",
            "{\"$bytes\":\"*\"} does not fit ay, a string, {\"$bytes\":\"base64\"} or an array of numbers",
        ),
    ] {
        let error = refusal(&value, signature);
        assert_eq!((error.kind, error.subject), (Kind::BadInput, Some(format!("plugins.p{place}"))), "{value}");
        assert_eq!(error.message, message);
    }
    let long = refusal(&json!("é".repeat(200)), "u").message;
    assert_eq!(long.chars().count(), 80 + "... does not fit u, 0 to 4294967295".len());
    assert_eq!(refusal(&json!([1, 2, 3]), "as").also.len(), 2);
    let numbers = single_type("au").unwrap();
    let secret = encode_secret(&json!(["hunter2"]), &numbers, "p", &VariantTypes::none()).unwrap_err();
    let keys = refusal(&json!({"s":1,"u":2}), "a{gi}").message;
    assert_eq!(keys, "not all of these keys of type g can be written together");
    assert_eq!(secret.message, "a secret does not fit u, 0 to 4294967295");
}

#[test]
fn variants_keep_the_type_they_have() {
    let settings = single_type("a{sa{sv}}").unwrap();
    let written = json!({
        "ipv4": {
            "dns": {"$variant":{"signature":"au","value":[1, 2]}},
            "address-data": {"$variant":{"signature":"aa{sv}","value":[
                {"address":{"$variant":{"signature":"s","value":"10.0.0.1"}},
                 "odd":{"$variant":{"signature":"u","value":1}}},
                {"odd":{"$variant":{"signature":"i","value":1}}},
            ]}},
        },
        "deep": {"v": {"$variant":{"signature":"v","value":{"$variant":{"signature":"y","value":1}}}}},
    });
    let sent = message(&[written], std::slice::from_ref(&settings), &VariantTypes::none(), Endian::Little);
    let types = decode_variant_types(&settings, sent.body().data().bytes(), Endian::Little).unwrap();
    let listed: Vec<_> = types.by_key.iter().map(|(key, one)| format!("{key} {one}")).collect();
    assert_eq!(listed, ["deep.v v", "ipv4.address-data aa{sv}", "ipv4.address-data.address s", "ipv4.dns au"]);

    let again = json!({"ipv4": {"dns": [3], "address-data": [{"address": "10.0.0.2"}]}});
    let resent = message(std::slice::from_ref(&again), std::slice::from_ref(&settings), &types, Endian::Little);
    assert_eq!(decode_message(&resent).unwrap(), [again]);
    let error = encode(&json!({"deep": {"v": 1}}), &settings, "p", &types).unwrap_err();
    assert_eq!(error.subject.as_deref(), Some("p.deep.v"));
    let error = encode(&json!({"ipv4": {"address-data": [{}, {"address": 7}]}}), &settings, "p", &types).unwrap_err();
    assert_eq!(error.subject.as_deref(), Some("p.ipv4.address-data[1].address"));

    let chosen = VariantTypes { by_key: [("a".to_owned(), Signature::U32)].into() }.or(types);
    assert_eq!((chosen.get("a"), chosen.get("b"), chosen.by_key.len()), (Some(&Signature::U32), None, 5));
    let alone = message(&[json!(7)], &[Signature::Variant], &VariantTypes::only(Signature::U64), Endian::Big);
    assert_eq!(signature_of_variant(alone.body().data().bytes(), Endian::Big).unwrap(), Signature::U64);
    assert_eq!(decode_message(&alone).unwrap(), [json!(7)]);
}

#[test]
fn bytes_that_are_no_value() {
    for (signature, bytes, fault) in [
        ("s", &b"\x02\0\0\0a\0"[..], "a byte is missing"),
        ("s", b"\x01\0\0\0\xff\0", "a string is not UTF-8"),
        ("s", b"\x01\0\0\0\0\0", "a string contains NUL"),
        ("s", b"\x01\0\0\0aa", "a string does not end with NUL"),
        ("s", b"\xff\xff\xff\xffa", "a value runs past the end"),
        ("o", b"\x01\0\0\0a\0", "an object path is not well formed"),
        ("g", b"\x01z\0", "a type signature is not well formed"),
        ("b", b"\x02\0\0\0", "a boolean is neither 0 nor 1"),
        ("u", b"\x02\0\0\0\0", "there are bytes after the last value"),
        ("u", b"\x02\0", "a number runs past the end"),
        ("yu", b"\x01\x01\0\0\0\0\0\0", "padding is not zero"),
        ("yt", b"\x01\0", "padding runs past the end"),
        ("au", b"\x06\0\0\0\0\0\0\0\0\0", "a number runs past the end"),
        ("au", b"\x02\0\0\0\0\0\0\0", "an array's last element runs past the array"),
        ("au", b"\xff\xff\xff\x7f", "an array is longer than 64 MiB"),
        ("au", b"\x08\0\0\0\0\0\0\0", "an array runs past the end"),
        ("at", b"\0\0\0\0", "padding runs past the end"),
        ("v", b"\x02ss\0\0\0\0\0\0", "a variant's type signature is not exactly one type"),
        ("v", b"\x00\0", "a variant's type signature is not exactly one type"),
    ] {
        let error = decode_body(&signature.try_into().unwrap(), bytes, Endian::Little).unwrap_err();
        assert!(error.message.contains(fault), "{signature}: {}", error.message);
    }
    let deep = b"\x01v\0".repeat(100_000);
    for error in [
        decode_one(&Signature::Variant, &deep, Endian::Little).unwrap_err(),
        decode_variant_types(&Signature::Variant, &deep, Endian::Little).unwrap_err(),
    ] {
        assert!(error.message.contains("nested more than 64 deep"), "{}", error.message);
    }
    let bottomless = (0..200).fold(Signature::U8, |inner, _| Signature::structure([inner]));
    assert!(decode_one(&bottomless, &[0; 64], Endian::Little).is_err());
    let nothings = Signature::array(Signature::structure([]));
    assert!(decode_one(&nothings, b"\x01\0\0\0\0\0\0\0\0", Endian::Little).is_err());
}

#[test]
fn type_signatures() {
    let split = |text| complete_types(text).unwrap().iter().map(Signature::to_string).collect::<Vec<_>>();
    assert_eq!(split(""), [""; 0]);
    assert_eq!(split("s(ss)a{sv}"), ["s", "(ss)", "a{sv}"]);
    assert_eq!(split("(ss)"), ["(ss)"]);
    assert_eq!(split("(s)(s)"), ["(s)", "(s)"]);
    for bad in ["a", "(", "()", "a{vs}", "z", "{ss}", &"y".repeat(256), &"a".repeat(40)] {
        assert!(complete_types(bad).is_err(), "{bad}");
    }
    assert!(single_type("ss").is_err() && single_type("").is_err());
}
