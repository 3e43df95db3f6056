//! Canonical JSON (RFC 8785) of anything that can be written as JSON, in one pass. What would need more than that - numbers
//! that could be written otherwise, names that are not plain ASCII - is said to be no case for it.

use serde::Serialize;
use serde::ser::{self, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple};
use std::fmt::{self, Display};
use std::ops::Range;

/// Integers beyond it are not told apart by a double, which RFC 8785 writes.
pub(super) const EXACT: u64 = 1 << 53;

/// The canonical form of `value`; `None` when there is more to it.
pub(super) fn plain(value: &(impl Serialize + ?Sized)) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    value.serialize(Writer(&mut out)).ok().map(|()| out)
}

/// There is more to it.
#[derive(Debug)]
struct NotPlain;

impl Display for NotPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not plain")
    }
}

impl std::error::Error for NotPlain {}

impl ser::Error for NotPlain {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

type Outcome = Result<(), NotPlain>;

struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    fn text(self, text: &str) -> Outcome {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn list(self) -> List<'a> {
        self.0.push(b'[');
        List { out: self.0, is_first: true }
    }

    fn object(self) -> Object<'a> {
        let start = self.0.len();
        self.0.push(b'{');
        Object { out: self.0, start, members: Vec::new(), is_sorted: true }
    }
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = NotPlain;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = Impossible<(), NotPlain>;
    type SerializeTupleVariant = Impossible<(), NotPlain>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Impossible<(), NotPlain>;

    fn serialize_bool(self, value: bool) -> Outcome {
        self.text(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Outcome {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Outcome {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Outcome {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Outcome {
        if value.unsigned_abs() > EXACT { Err(NotPlain) } else { self.text(&value.to_string()) }
    }

    fn serialize_u8(self, value: u8) -> Outcome {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Outcome {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Outcome {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Outcome {
        if value > EXACT { Err(NotPlain) } else { self.text(&value.to_string()) }
    }

    fn serialize_f32(self, _: f32) -> Outcome {
        Err(NotPlain)
    }

    fn serialize_f64(self, _: f64) -> Outcome {
        Err(NotPlain)
    }

    fn serialize_char(self, value: char) -> Outcome {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Outcome {
        serde_json::to_writer(self.0, value).map_err(|_| NotPlain)
    }

    fn serialize_bytes(self, _: &[u8]) -> Outcome {
        Err(NotPlain)
    }

    fn serialize_none(self) -> Outcome {
        self.text("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Outcome {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Outcome {
        self.text("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Outcome {
        self.text("null")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Outcome {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Outcome {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Outcome {
        let mut object = self.object();
        object.serialize_entry(variant, value)?;
        SerializeMap::end(object)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, NotPlain> {
        Ok(self.list())
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'a>, NotPlain> {
        Ok(self.list())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, NotPlain> {
        Err(NotPlain)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NotPlain> {
        Err(NotPlain)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'a>, NotPlain> {
        Ok(self.object())
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Object<'a>, NotPlain> {
        // Numbers and texts that serde_json keeps as they were written come by names of its own.
        if name.starts_with('$') { Err(NotPlain) } else { Ok(self.object()) }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NotPlain> {
        Err(NotPlain)
    }
}

struct List<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl SerializeSeq for List<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        value.serialize(Writer(self.out))
    }

    fn end(self) -> Outcome {
        self.out.push(b']');
        Ok(())
    }
}

impl SerializeTuple for List<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Outcome {
        SerializeSeq::end(self)
    }
}

/// An object whose members are written as they come, and put in order at its end.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where each name is, without its quotes, and where its value ends.
    members: Vec<(Range<usize>, usize)>,
    is_sorted: bool,
}

impl Object<'_> {
    fn close(self) -> Outcome {
        let Self { out, start, mut members, is_sorted } = self;
        out.push(b'}');
        if is_sorted {
            return Ok(());
        }
        members.sort_unstable_by(|(one, _), (other, _)| out[one.clone()].cmp(&out[other.clone()]));
        if members.windows(2).any(|pair| out[pair[0].0.clone()] == out[pair[1].0.clone()]) {
            return Err(NotPlain);
        }
        let mut sorted = Vec::with_capacity(out.len() - start);
        for (name, end) in members {
            sorted.push(if sorted.is_empty() { b'{' } else { b',' });
            sorted.extend_from_slice(&out[name.start - 1..end]);
        }
        sorted.push(b'}');
        out.truncate(start);
        out.append(&mut sorted);
        Ok(())
    }
}

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Outcome {
        if !self.members.is_empty() {
            self.out.push(b',');
        }
        let start = self.out.len() + 1;
        name.serialize(Writer(self.out))?;
        let end = self.out.len() - 1;
        let written = self.out.get(start..end).filter(|_| self.out[start - 1] == b'"').ok_or(NotPlain)?;
        // Others have another order by UTF-16 than by bytes, or by what is meant than by what is written.
        if !written.iter().all(|byte| byte.is_ascii() && *byte != b'\\') {
            return Err(NotPlain);
        }
        self.is_sorted &= self.members.last().is_none_or(|(last, _)| self.out[last.clone()] < *written);
        self.members.push((start..end, end));
        self.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        value.serialize(Writer(self.out))?;
        let length = self.out.len();
        self.members.last_mut().into_iter().for_each(|(_, end)| *end = length);
        Ok(())
    }

    fn end(self) -> Outcome {
        self.close()
    }
}

impl SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Outcome {
        self.serialize_entry(name, value)
    }

    fn end(self) -> Outcome {
        self.close()
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
