//! JSON to D-Bus, driven by the type signature.

use super::decode::double_text;
use super::misfit::{Path, Report};
use super::{MAX_DEPTH, VariantTypes, args_of, is_object_path, single_type};
use crate::base::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::str::FromStr;
use zbus::wire::signature::Fields;
use zbus::{Array, Dict, ObjectPath, Signature, Structure, Variant};

/// `value` as a D-Bus value of type `type_signature`; for `v` it is a [`Variant::Variant`].
///
/// `at` is where `value` stands in its document, `variants` the types of the variants in it. Accepts every form that
/// [`super::decode_body`] prints except `{"$fd":..}`, and besides it `{"$variant":{"signature","value"}}` for a variant
/// and arrays of numbers for `ay`.
///
/// Fails with [`crate::base::Kind::BadInput`] on every place that does not fit (the first, the others in `also`): its
/// subject is the place, like `plugins.network.connections.lan.dns[2]`, its message the value and the type signature.
pub fn encode(
    value: &Value,
    type_signature: &Signature,
    at: &str,
    variants: &VariantTypes,
) -> Result<Variant<'static>> {
    encode_with(value, type_signature, at, variants, Report::new(), false)
}

/// [`encode`] for a value in which secrets are named: something stands for each, to see whether all of it fits.
pub fn encode_planned(
    value: &Value,
    type_signature: &Signature,
    at: &str,
    variants: &VariantTypes,
) -> Result<Variant<'static>> {
    encode_with(value, type_signature, at, variants, Report::new(), true)
}

/// [`encode`] for a value that holds resolved secrets: errors name places and types, and repeat no value.
pub fn encode_secret(
    value: &Value,
    type_signature: &Signature,
    at: &str,
    variants: &VariantTypes,
) -> Result<Variant<'static>> {
    encode_with(value, type_signature, at, variants, Report::concealing(), false)
}

/// The arguments of a call: `values` by the body's type signature (see [`super::args_of`], [`super::body_signature`]),
/// each standing at its place of `at` in the document. [`super::to_body`] makes a message body of them.
///
/// Fails as [`encode`] does, for all arguments together, and when their number is not the signature's.
pub fn encode_body(
    values: &[Value],
    type_signature: &Signature,
    at: &[String],
    variants: &VariantTypes,
) -> Result<Vec<Variant<'static>>> {
    encode_body_with(values, type_signature, at, variants, encode)
}

/// [`encode_body`] for arguments that hold resolved secrets: errors repeat no value.
pub fn encode_secret_body(
    values: &[Value],
    type_signature: &Signature,
    at: &[String],
    variants: &VariantTypes,
) -> Result<Vec<Variant<'static>>> {
    encode_body_with(values, type_signature, at, variants, encode_secret)
}

type Encode = fn(&Value, &Signature, &str, &VariantTypes) -> Result<Variant<'static>>;

fn encode_body_with(
    values: &[Value],
    type_signature: &Signature,
    at: &[String],
    variants: &VariantTypes,
    encode: Encode,
) -> Result<Vec<Variant<'static>>> {
    let types = args_of(type_signature);
    if types.len() != values.len() {
        let (given, wanted) = (values.len(), types.len());
        let text = type_signature.to_string_no_parens();
        return Err(Error::bad_input(format!("{given} arguments were given for the {wanted} of type {text:?}"))
            .on(at.first().cloned().unwrap_or_default()));
    }
    let mut encoded = Vec::with_capacity(values.len());
    let mut errors = Vec::new();
    for (index, (value, one)) in values.iter().zip(&types).enumerate() {
        match encode(value, one, at.get(index).map_or("", String::as_str), variants) {
            Ok(variant) => encoded.push(variant),
            Err(mut error) => {
                let also = std::mem::take(&mut error.also);
                errors.push(error);
                errors.extend(also);
            }
        }
    }
    Error::all(errors).map_or(Ok(encoded), Err)
}

fn encode_with(
    value: &Value,
    type_signature: &Signature,
    at: &str,
    variants: &VariantTypes,
    report: Report,
    names_secrets: bool,
) -> Result<Variant<'static>> {
    let mut encoder = Encoder { variants, report, names_secrets };
    let encoded = encoder.value(value, type_signature, &Path::root(at), 0);
    match (Error::all(encoder.report.into_errors()), encoded) {
        (None, Some(variant)) => Ok(variant),
        (Some(error), _) => Err(error),
        (None, None) => Err(Error::failed("could not encode a value").on(at)),
    }
}

struct Encoder<'a> {
    variants: &'a VariantTypes,
    report: Report,
    names_secrets: bool,
}

/// The value of the object whose only key is `tag`.
fn tagged<'v>(value: &'v Value, tag: &str) -> Option<&'v Value> {
    value.as_object().filter(|object| object.len() == 1)?.get(tag)
}

impl Encoder<'_> {
    /// `None` means that the report has the reason.
    fn value(&mut self, value: &Value, signature: &Signature, at: &Path<'_>, depth: u8) -> Option<Variant<'static>> {
        if depth > MAX_DEPTH {
            return self.report.refuse(at, "this is nested more than 64 deep");
        }
        if let Some(name) = tagged(value, "$secret") {
            return self.secret(name, signature, at);
        }
        let encoded = match signature {
            Signature::Variant => return self.variant(value, at, depth),
            Signature::Array(element) => return self.array(value, signature, element.signature(), at, depth),
            Signature::Dict { key, value: inner } => {
                return self.dict(value, signature, key.signature(), inner.signature(), at, depth);
            }
            Signature::Structure(fields) => return self.structure(value, signature, fields, at, depth),
            basic => scalar(value, basic),
        };
        encoded.or_else(|| self.report.misfit(value, signature, at))
    }

    /// What stands for a secret while it is only looked whether everything fits: before a call it is resolved.
    fn secret(&mut self, name: &Value, signature: &Signature, at: &Path<'_>) -> Option<Variant<'static>> {
        if !self.names_secrets {
            return self.report.refuse(at, "a secret has no place here");
        }
        if name.as_str().is_none_or(str::is_empty) {
            return self.report.refuse(at, "the secret that is there is not known, so it cannot be written");
        }
        match signature {
            Signature::Str => Some(Variant::Str("".into())),
            Signature::Array(element) if *element.signature() == Signature::U8 => {
                Some(Variant::Array(Array::new(&Signature::U8)))
            }
            _ => self.report.refuse(at, &format!("a secret is text or bytes, and this is {signature}")),
        }
    }

    fn variant(&mut self, value: &Value, at: &Path<'_>, depth: u8) -> Option<Variant<'static>> {
        if let Some(explicit) = tagged(value, "$variant") {
            let Some((text, inner)) = explicit
                .as_object()
                .filter(|object| object.len() == 2)
                .and_then(|object| Some((object.get("signature")?.as_str()?, object.get("value")?)))
            else {
                return self.report.refuse(at, "\"$variant\" has to be {\"signature\":\"u\",\"value\":1}");
            };
            let Ok(signature) = single_type(text) else {
                return self.report.refuse(at, &format!("{text:?} is not the type signature of exactly one value"));
            };
            let inner = self.value(inner, &signature, at, depth + 1)?;
            return Some(Variant::Variant(Box::new(inner)));
        }
        let variants = self.variants;
        match variants.get(&at.variant_key()) {
            // A variant in a variant has the same key, so nothing says what is in the inner one.
            None | Some(Signature::Variant) => self.report.untyped(value, at),
            Some(known) => {
                let inner = self.value(value, known, at, depth + 1)?;
                Some(Variant::Variant(Box::new(inner)))
            }
        }
    }

    fn array(
        &mut self,
        value: &Value,
        signature: &Signature,
        element: &Signature,
        at: &Path<'_>,
        depth: u8,
    ) -> Option<Variant<'static>> {
        let mut array = Array::new(element);
        if let (Signature::U8, Some(bytes)) = (element, bytes(value)) {
            for byte in bytes {
                array.append(Variant::U8(byte)).ok()?;
            }
            return Some(Variant::Array(array));
        }
        let Some(items) = value.as_array() else { return self.report.misfit(value, signature, at) };
        // Every item is looked at, so that every misfit is reported.
        let items: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.value(item, element, &at.index(index), depth + 1))
            .collect();
        for item in items {
            array.append(item?).ok()?;
        }
        Some(Variant::Array(array))
    }

    fn dict(
        &mut self,
        value: &Value,
        signature: &Signature,
        key: &Signature,
        inner: &Signature,
        at: &Path<'_>,
        depth: u8,
    ) -> Option<Variant<'static>> {
        let Some(object) = value.as_object() else { return self.report.misfit(value, signature, at) };
        let mut dict = Dict::new(key, inner);
        let mut whole = true;
        for (name, item) in object {
            let raw = name.strip_prefix('$').unwrap_or(name);
            let at = at.key(name, raw);
            if name.starts_with('$') && !raw.starts_with('$') {
                let why = format!("{name:?} has no meaning here; a key that begins with $ is written with one more");
                self.report.refuse::<()>(&at, &why);
                whole = false;
                continue;
            }
            let key = parse_key(raw, key).or_else(|| self.report.misfit(&Value::from(raw), key, &at));
            let item = self.value(item, inner, &at, depth + 2);
            whole &= key.zip(item).is_some_and(|(key, item)| dict.append(key, item).is_ok());
        }
        // zbus takes most type signatures for the same key, and 0 for -0: rather say so than lose an entry.
        if whole && dict.iter().count() != object.len() {
            return self.report.refuse(at, &format!("not all of these keys of type {key} can be written together"));
        }
        whole.then_some(Variant::Dict(dict))
    }

    fn structure(
        &mut self,
        value: &Value,
        signature: &Signature,
        fields: &Fields,
        at: &Path<'_>,
        depth: u8,
    ) -> Option<Variant<'static>> {
        let Some(items) = value.as_array().filter(|items| items.len() == fields.len()) else {
            return self.report.misfit(value, signature, at);
        };
        let items: Vec<_> = items
            .iter()
            .zip(fields.iter())
            .enumerate()
            .map(|(index, (item, field))| self.value(item, field, &at.index(index), depth + 1))
            .collect();
        let mut builder = Structure::builder();
        for item in items {
            builder = builder.append_field(item?);
        }
        match builder.build() {
            Ok(structure) => Some(Variant::Structure(structure)),
            Err(_) => self.report.misfit(value, signature, at),
        }
    }
}

/// `value` as a basic type; `None` when it does not fit.
fn scalar(value: &Value, signature: &Signature) -> Option<Variant<'static>> {
    Some(match signature {
        Signature::U8 => Variant::U8(integer(value)?),
        Signature::I16 => Variant::I16(integer(value)?),
        Signature::U16 => Variant::U16(integer(value)?),
        Signature::I32 => Variant::I32(integer(value)?),
        Signature::U32 => Variant::U32(integer(value)?),
        Signature::I64 => Variant::I64(value.as_str().map_or_else(|| integer(value), exact)?),
        Signature::U64 => Variant::U64(value.as_str().map_or_else(|| integer(value), exact)?),
        Signature::Bool => Variant::Bool(value.as_bool()?),
        Signature::F64 => Variant::F64(double(value)?),
        Signature::Str | Signature::ObjectPath | Signature::Signature => text(value.as_str()?, signature)?,
        _ => return None,
    })
}

fn text(text: &str, signature: &Signature) -> Option<Variant<'static>> {
    match signature {
        Signature::Str => (!text.contains('\0')).then(|| Variant::Str(text.to_owned().into())),
        Signature::ObjectPath => {
            is_object_path(text.as_bytes()).then(|| Variant::ObjectPath(ObjectPath::from_string_unchecked(text.into())))
        }
        // zbus would send several complete types as one struct.
        Signature::Signature => {
            let parsed = super::parse(text.as_bytes()).filter(|parsed| parsed.string_len() == text.len())?;
            Some(Variant::Signature(parsed))
        }
        _ => None,
    }
}

/// A dictionary's key from its text form.
fn parse_key(key: &str, signature: &Signature) -> Option<Variant<'static>> {
    Some(match signature {
        Signature::U8 => Variant::U8(exact(key)?),
        Signature::I16 => Variant::I16(exact(key)?),
        Signature::U16 => Variant::U16(exact(key)?),
        Signature::I32 => Variant::I32(exact(key)?),
        Signature::U32 => Variant::U32(exact(key)?),
        Signature::I64 => Variant::I64(exact(key)?),
        Signature::U64 => Variant::U64(exact(key)?),
        Signature::Bool => Variant::Bool(key.parse().ok()?),
        Signature::F64 => Variant::F64(key.parse().ok().filter(|number| double_text(*number) == key)?),
        _ => text(key, signature)?,
    })
}

/// A number in the one decimal form that it prints as, so that two texts are never the same number.
fn exact<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

/// An integer in range. `3.0` is one: JSON does not tell it from `3`.
fn integer<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    let whole = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    T::try_from(whole.or_else(|| whole_double(value.as_f64()?))?).ok()
}

fn whole_double(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() <= super::MAX_EXACT as f64).then_some(number as i128)
}

fn double(value: &Value) -> Option<f64> {
    match tagged(value, "$double") {
        Some(special) => match special.as_str()? {
            "NaN" => Some(f64::NAN),
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        None if value.is_f64() => value.as_f64(),
        None => value.as_f64().filter(|number| is_exact(value, *number)),
    }
}

/// Whether `number` is the integer `value` and not one beside it.
fn is_exact(value: &Value, number: f64) -> bool {
    let whole = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    whole == Some(number as i128)
}

/// The bytes of `ay` in any of its forms but an array.
#[must_use]
pub fn bytes(value: &Value) -> Option<Vec<u8>> {
    match (value.as_str(), tagged(value, "$bytes")) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(encoded)) => STANDARD.decode(encoded.as_str()?).ok(),
        (None, None) => None,
    }
}
