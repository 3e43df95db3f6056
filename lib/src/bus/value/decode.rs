//! Wire bytes to JSON in one pass.

use super::reader::{Fault, Reader};
use super::{MAX_DEPTH, MAX_EXACT, args_of, complete_types};
use crate::base::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zbus::Signature;
use zbus::wire::Endian;

/// The values of a message body, one for each complete type of its type signature.
///
/// Fails ([`crate::base::Kind::Failed`]) when `bytes` do not follow `type_signature` or the D-Bus specification: an
/// unterminated or non-UTF-8 string, a boolean other than 0 and 1, an object path that is none, padding that is not
/// zero, an array beyond 64 MiB, nesting beyond 64, bytes left over. Never panics.
///
/// zbus holds the bodies `ss` and `(ss)` as the same [`Signature`]; both are read as two values here. Use
/// [`decode_message`] or [`decode_args`] where the difference matters.
pub fn decode_body(type_signature: &Signature, bytes: &[u8], endian: Endian) -> Result<Vec<Value>> {
    match type_signature {
        Signature::Unit | Signature::Structure(_) => decode_args(&args_of(type_signature), bytes, endian),
        single => Ok(vec![decode_one(single, bytes, endian)?]),
    }
}

/// [`decode_body`] for known argument types.
pub fn decode_args(types: &[Signature], bytes: &[u8], endian: Endian) -> Result<Vec<Value>> {
    let mut reader = Reader::new(bytes, endian);
    let values = types.iter().map(|one| value(&mut reader, one, 0)).collect::<std::result::Result<_, Fault>>();
    values.and_then(|values| reader.finish().map(|()| values)).map_err(|fault| reader.error(fault, types))
}

/// The one value of type `type_signature` that `bytes` are; a struct here is one JSON array.
pub fn decode_one(type_signature: &Signature, bytes: &[u8], endian: Endian) -> Result<Value> {
    let mut reader = Reader::new(bytes, endian);
    let one = value(&mut reader, type_signature, 0).and_then(|one| reader.finish().map(|()| one));
    one.map_err(|fault| reader.error(fault, std::slice::from_ref(type_signature)))
}

/// The arguments of `message`, split by the type signature as it was sent, so that `(ss)` is one value and `ss` two.
pub fn decode_message(message: &zbus::Message) -> Result<Vec<Value>> {
    let body = message.body();
    let endian = if message.data().bytes().first() == Some(&b'B') { Endian::Big } else { Endian::Little };
    match body.signature() {
        Signature::Structure(_) => decode_args(&sent_types(message, endian)?, body.data().bytes(), endian),
        plain => decode_body(plain, body.data().bytes(), endian),
    }
}

/// The arguments of `message` and their type signature as it was sent; every variant says its type, so that
/// [`super::encode_body`] makes the same bytes of them again.
pub fn decode_message_typed(message: &zbus::Message) -> Result<(String, Vec<Value>)> {
    let body = message.body();
    let endian = if message.data().bytes().first() == Some(&b'B') { Endian::Big } else { Endian::Little };
    let types = match body.signature() {
        Signature::Structure(_) => sent_types(message, endian)?,
        plain => args_of(plain),
    };
    let data = body.data();
    let mut reader = Reader::typed(data.bytes(), endian);
    let values = types.iter().map(|one| value(&mut reader, one, 0)).collect::<std::result::Result<_, Fault>>();
    let values = values.and_then(|values| reader.finish().map(|()| values));
    let values = values.map_err(|fault| reader.error(fault, &types))?;
    Ok((types.iter().map(Signature::to_string).collect(), values))
}

/// The types in the SIGNATURE field (8) of the message's header, which is `yyyyuua(yv)`.
fn sent_types(message: &zbus::Message, endian: Endian) -> Result<Vec<Signature>> {
    let mut reader = Reader::new(message.data().bytes(), endian);
    let fields = Signature::array(Signature::structure([Signature::U8, Signature::Variant]));
    let header = reader.take(12).and_then(|_| value(&mut reader, &fields, 0));
    let header = header.map_err(|fault| reader.error(fault, &[fields]))?;
    let field = header.as_array().into_iter().flatten().find(|field| field[0] == 8);
    let text = field.and_then(|field| field[1].as_str());
    complete_types(text.ok_or_else(|| Error::failed("a message with a body has no type signature"))?)
}

/// The next value of `reader`, which is inside `depth` containers.
fn value(reader: &mut Reader<'_>, signature: &Signature, depth: u8) -> Result<Value, Fault> {
    if depth > MAX_DEPTH {
        return Err("values are nested more than 64 deep");
    }
    Ok(match signature {
        Signature::U8 => reader.u8()?.into(),
        Signature::Bool => reader.bool()?.into(),
        Signature::I16 => reader.i16()?.into(),
        Signature::U16 => reader.u16()?.into(),
        Signature::I32 => reader.i32()?.into(),
        Signature::U32 => reader.u32()?.into(),
        Signature::I64 => {
            let number = reader.i64()?;
            if number.unsigned_abs() > MAX_EXACT { number.to_string().into() } else { number.into() }
        }
        Signature::U64 => {
            let number = reader.u64()?;
            if number > MAX_EXACT { number.to_string().into() } else { number.into() }
        }
        Signature::F64 => {
            let number = reader.f64()?;
            if number.is_finite() { number.into() } else { json!({ "$double": special(number) }) }
        }
        Signature::Str => reader.string()?.into(),
        Signature::ObjectPath => reader.object_path()?.into(),
        Signature::Signature => reader.signature()?.into(),
        Signature::Fd => json!({ "$fd": reader.u32()? }),
        Signature::Variant => {
            let inner = reader.variant_type()?;
            let value = value(reader, &inner, depth + 1)?;
            if reader.keeps_types() {
                json!({ "$variant": { "signature": inner.to_string(), "value": value } })
            } else {
                value
            }
        }
        Signature::Array(element) => array(reader, element.signature(), depth + 1)?,
        Signature::Dict { key: key_type, value: value_type } => {
            let end = reader.array(8)?;
            let mut map = Map::new();
            while reader.has_more(end)? {
                reader.align(8)?;
                let name = key(reader, key_type.signature())?;
                map.insert(name, value(reader, value_type.signature(), depth + 2)?);
            }
            map.into()
        }
        Signature::Structure(fields) => {
            if fields.is_empty() {
                return Err("a struct without fields");
            }
            reader.align(8)?;
            let values = fields.iter().map(|field| value(reader, field, depth + 1));
            Value::Array(values.collect::<Result<_, Fault>>()?)
        }
        Signature::Unit => return Err("an empty type signature inside another"),
    })
}

fn array(reader: &mut Reader<'_>, element: &Signature, depth: u8) -> Result<Value, Fault> {
    let end = reader.array(element.alignment_dbus())?;
    if let Signature::U8 = element {
        let bytes = reader.take(end - reader.position())?;
        return Ok(text_or_base64(bytes));
    }
    let mut values = Vec::new();
    while reader.has_more(end)? {
        values.push(value(reader, element, depth)?);
    }
    Ok(values.into())
}

/// A dictionary's key in text form.
fn key(reader: &mut Reader<'_>, signature: &Signature) -> Result<String, Fault> {
    Ok(match signature {
        Signature::Str => {
            let text = reader.string()?;
            if text.starts_with('$') { format!("${text}") } else { text.to_owned() }
        }
        _ => raw_key(reader, signature)?,
    })
}

/// A dictionary's key in text form, without the extra `$`.
pub(super) fn raw_key(reader: &mut Reader<'_>, signature: &Signature) -> Result<String, Fault> {
    Ok(match signature {
        Signature::Str => reader.string()?.to_owned(),
        Signature::ObjectPath => reader.object_path()?.to_owned(),
        Signature::Signature => reader.signature()?.to_owned(),
        Signature::U8 => reader.u8()?.to_string(),
        Signature::Bool => reader.bool()?.to_string(),
        Signature::I16 => reader.i16()?.to_string(),
        Signature::U16 => reader.u16()?.to_string(),
        Signature::I32 => reader.i32()?.to_string(),
        Signature::U32 | Signature::Fd => reader.u32()?.to_string(),
        Signature::I64 => reader.i64()?.to_string(),
        Signature::U64 => reader.u64()?.to_string(),
        Signature::F64 => double_text(reader.f64()?),
        _ => return Err("a dictionary's key is of no basic type"),
    })
}

/// The shortest decimal text that reads back as `number`.
pub(super) fn double_text(number: f64) -> String {
    if number.is_finite() { Value::from(number).to_string() } else { special(number).to_owned() }
}

/// The name of a double that JSON has no number for.
fn special(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "inf",
        f64::NEG_INFINITY => "-inf",
        _ => "NaN",
    }
}

fn text_or_base64(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => json!({ "$bytes": STANDARD.encode(bytes) }),
    }
}
