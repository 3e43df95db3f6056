//! Bounds-checked reading of the D-Bus wire format. Every read can fail, none can panic.

use super::{is_object_path, parse_single};
use crate::base::Error;
use zbus::Signature;
use zbus::wire::Endian;

/// Longest array: 64 MiB.
const MAX_ARRAY: usize = 64 << 20;

/// Why the bytes are no D-Bus value.
pub(super) type Fault = &'static str;

/// A place in the bytes of a message body.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
    endian: Endian,
    keeps_types: bool,
}

macro_rules! fixed {
    ($name:ident, $type:ty, $size:literal) => {
        pub(super) fn $name(&mut self) -> Result<$type, Fault> {
            self.align($size)?;
            let Some((bytes, _)) = self.bytes[self.pos..].split_first_chunk::<$size>() else {
                return Err("a number runs past the end");
            };
            self.pos += $size;
            Ok(match self.endian {
                Endian::Little => <$type>::from_le_bytes(*bytes),
                Endian::Big => <$type>::from_be_bytes(*bytes),
            })
        }
    };
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start, which is aligned to 8.
    pub(super) fn new(bytes: &'a [u8], endian: Endian) -> Self {
        Self { bytes, pos: 0, endian, keeps_types: false }
    }

    /// [`Reader::new`] for values whose variants are to say their types.
    pub(super) fn typed(bytes: &'a [u8], endian: Endian) -> Self {
        Self { keeps_types: true, ..Self::new(bytes, endian) }
    }

    pub(super) fn keeps_types(&self) -> bool {
        self.keeps_types
    }

    fixed!(u16, u16, 2);
    fixed!(i16, i16, 2);
    fixed!(u32, u32, 4);
    fixed!(i32, i32, 4);
    fixed!(u64, u64, 8);
    fixed!(i64, i64, 8);
    fixed!(f64, f64, 8);

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.pos).ok_or("a byte is missing")?;
        self.pos += 1;
        Ok(byte)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Fault> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a boolean is neither 0 nor 1"),
        }
    }

    pub(super) fn position(&self) -> usize {
        self.pos
    }

    /// Skips the zeros up to the next multiple of `to`, a power of two.
    pub(super) fn align(&mut self, to: usize) -> Result<(), Fault> {
        let next = (self.pos + to - 1) & !(to - 1);
        if next != self.pos {
            let padding = self.bytes.get(self.pos..next).ok_or("padding runs past the end")?;
            if padding.iter().any(|&byte| byte != 0) {
                return Err("padding is not zero");
            }
            self.pos = next;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let end = self.pos.checked_add(len).ok_or("a length is too large")?;
        let taken = self.bytes.get(self.pos..end).ok_or("a value runs past the end")?;
        self.pos = end;
        Ok(taken)
    }

    /// `len` bytes and the NUL after them.
    fn terminated(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let text = self.take(len)?;
        if self.u8()? != 0 {
            return Err("a string does not end with NUL");
        }
        Ok(text)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, Fault> {
        let len = self.u32()? as usize;
        let text = std::str::from_utf8(self.terminated(len)?).map_err(|_| "a string is not UTF-8")?;
        if text.as_bytes().contains(&0) {
            return Err("a string contains NUL");
        }
        Ok(text)
    }

    pub(super) fn object_path(&mut self) -> Result<&'a str, Fault> {
        let path = self.string()?;
        if is_object_path(path.as_bytes()) { Ok(path) } else { Err("an object path is not well formed") }
    }

    fn signature_bytes(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.u8()?.into();
        self.terminated(len)
    }

    pub(super) fn signature(&mut self) -> Result<&'a str, Fault> {
        let bytes = self.signature_bytes()?;
        zbus::wire::signature::validate(bytes).map_err(|_| "a type signature is not well formed")?;
        std::str::from_utf8(bytes).map_err(|_| "a type signature is not UTF-8")
    }

    /// The type of the variant here; its value follows.
    pub(super) fn variant_type(&mut self) -> Result<Signature, Fault> {
        parse_single(self.signature_bytes()?).ok_or("a variant's type signature is not exactly one type")
    }

    /// Enters an array of elements aligned to `alignment`: where it ends.
    pub(super) fn array(&mut self, alignment: usize) -> Result<usize, Fault> {
        let len = self.u32()? as usize;
        if len > MAX_ARRAY {
            return Err("an array is longer than 64 MiB");
        }
        self.align(alignment)?;
        let end = self.pos + len;
        if end > self.bytes.len() { Err("an array runs past the end") } else { Ok(end) }
    }

    /// Whether the array that ends at `end` has another element.
    pub(super) fn has_more(&self, end: usize) -> Result<bool, Fault> {
        if self.pos > end { Err("an array's last element runs past the array") } else { Ok(self.pos < end) }
    }

    /// That nothing is left.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        if self.pos == self.bytes.len() { Ok(()) } else { Err("there are bytes after the last value") }
    }

    /// The error for `fault`, which happened here.
    pub(super) fn error(&self, fault: Fault, types: &[Signature]) -> Error {
        let types: String = types.iter().map(Signature::to_string).collect();
        let (pos, len) = (self.pos, self.bytes.len());
        Error::failed(format!("could not read a D-Bus value of type {types:?}: {fault}, at byte {pos} of {len}"))
            .hint("the sender does not follow the D-Bus specification")
    }
}
