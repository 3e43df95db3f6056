//! D-Bus values as JSON and back, always by type signature.
//!
//! | D-Bus | JSON |
//! |---|---|
//! | `y n q i u b` | number, `true`, `false` |
//! | `x t` | number up to 2^53 either way, a decimal string beyond |
//! | `d` | number; `{"$double":"NaN"}`, `"inf"`, `"-inf"` |
//! | `s o g` | string |
//! | `ay` | string when it is UTF-8 without control characters, `{"$bytes":"base64"}` otherwise |
//! | `a...`, `(...)` | array |
//! | `a{..}` | object; keys in text form, one more `$` in front of a key that begins with `$` |
//! | `v` | what is inside; written by a known type or as `{"$variant":{"signature":"u","value":1}}` |
//! | `h` | `{"$fd":index}`, which cannot be written |
//!
//! [`encode`] accepts what [`decode_body`] prints. Nothing is ever guessed from the JSON: a variant whose type nobody
//! knows is an error.

mod decode;
mod encode;
mod misfit;
mod reader;
mod variant_types;

pub use decode::{decode_args, decode_body, decode_message, decode_message_typed, decode_one};
pub use encode::{bytes as bytes_of, encode, encode_body, encode_planned, encode_secret, encode_secret_body};
pub use variant_types::{VariantTypes, decode_variant_types, signature_of_variant};

use crate::base::{Error, Result};
use serde::{Serialize, Serializer};
use zbus::{DynamicType, Signature, Structure, Variant};

/// Most containers (arrays, structs, dictionary entries, variants) a value may be inside of.
const MAX_DEPTH: u8 = 64;
/// The last integer that every reader of JSON keeps exact.
const MAX_EXACT: u64 = 1 << 53;

/// The complete types in `text`: `[]` for `""`, `[s, (ss)]` for `"s(ss)"`.
///
/// Fails when `text` is no type signature. Where it matters that `"ss"` (two values) is not `"(ss)"` (one), split with
/// this: [`Signature`] parses both to the same.
pub fn complete_types(text: &str) -> Result<Vec<Signature>> {
    let signature = parse(text.as_bytes()).ok_or_else(|| {
        Error::bad_input(format!("{text:?} is no D-Bus type signature"))
            .hint("for example \"s\", \"as\", \"a{sv}\" or \"(ss)\"")
    })?;
    Ok(match signature {
        Signature::Structure(fields) if fields_len(&fields) == text.len() => fields.iter().cloned().collect(),
        Signature::Unit => Vec::new(),
        single => vec![single],
    })
}

/// The one complete type `text` names. Fails when `text` is no type signature or none of exactly one type.
pub fn single_type(text: &str) -> Result<Signature> {
    let mut types = complete_types(text)?;
    match (types.pop(), types.is_empty()) {
        (Some(single), true) => Ok(single),
        _ => Err(Error::bad_input(format!("{text:?} is not the type signature of exactly one value"))),
    }
}

/// The types of a body's arguments as zbus holds them: a [`Signature::Structure`] is several, [`Signature::Unit`] none.
#[must_use]
pub fn args_of(body: &Signature) -> Vec<Signature> {
    match body {
        Signature::Unit => Vec::new(),
        Signature::Structure(fields) => fields.iter().cloned().collect(),
        single => vec![single.clone()],
    }
}

/// The inverse of [`args_of`], right also for a body of one struct.
#[must_use]
pub fn body_signature(args: &[Signature]) -> Signature {
    match args {
        [] => Signature::Unit,
        [single] if !matches!(single, Signature::Structure(_)) => single.clone(),
        several => Signature::structure(several.to_vec()),
    }
}

/// The body of a message made of [`encode_body`]'s values; none gives an empty body.
///
/// ```
/// # use op_dbus::bus::value::{VariantTypes, encode_body, single_type, to_body};
/// # fn main() -> op_dbus::base::Result<()> {
/// let name = single_type("s")?;
/// let values = encode_body(&["web".into()], &name, &["name".into()], &VariantTypes::none())?;
/// let message = zbus::Message::method_call("/", "SetStaticHostname").build(&to_body(values)?);
/// assert!(message.is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, PartialEq)]
pub struct Body(Option<Structure<'static>>);

/// Builds the [`Body`] of a message. Fails only if zbus does not accept the values as a structure.
pub fn to_body(values: Vec<Variant<'static>>) -> Result<Body> {
    if values.is_empty() {
        return Ok(Body(None));
    }
    let builder = values.into_iter().fold(Structure::builder(), |builder, value| builder.append_field(value));
    let structure = builder.build().map_err(|e| Error::failed(format!("could not build a message body: {e}")))?;
    Ok(Body(Some(structure)))
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match &self.0 {
            Some(structure) => structure.serialize(serializer),
            None => serializer.serialize_unit(),
        }
    }
}

impl DynamicType for Body {
    fn signature(&self) -> Signature {
        self.0.as_ref().map_or(Signature::Unit, |structure| structure.signature().clone())
    }
}

/// Parses a type signature of at most 255 bytes.
fn parse(bytes: &[u8]) -> Option<Signature> {
    if bytes.len() > 255 {
        return None;
    }
    Signature::from_bytes(bytes).ok()
}

/// Parses the type signature of exactly one value.
fn parse_single(bytes: &[u8]) -> Option<Signature> {
    Some(match bytes {
        b"y" => Signature::U8,
        b"b" => Signature::Bool,
        b"n" => Signature::I16,
        b"q" => Signature::U16,
        b"i" => Signature::I32,
        b"u" => Signature::U32,
        b"x" => Signature::I64,
        b"t" => Signature::U64,
        b"d" => Signature::F64,
        b"s" => Signature::Str,
        b"o" => Signature::ObjectPath,
        b"v" => Signature::Variant,
        // Several types parse to a structure whose own text is longer by its parentheses.
        _ => parse(bytes).filter(|single| !bytes.is_empty() && single.string_len() == bytes.len())?,
    })
}

/// The length of the fields' text.
fn fields_len(fields: &zbus::wire::signature::Fields) -> usize {
    fields.iter().map(Signature::string_len).sum()
}

/// Whether `path` is an object path.
fn is_object_path(path: &[u8]) -> bool {
    match path {
        [] => false,
        [b'/'] => true,
        [first, rest @ ..] => {
            let mut previous = *first;
            *first == b'/'
                && rest.iter().all(|&byte| {
                    let ok = byte.is_ascii_alphanumeric() || byte == b'_' || (byte == b'/' && previous != b'/');
                    previous = byte;
                    ok
                })
                && previous != b'/'
        }
    }
}
