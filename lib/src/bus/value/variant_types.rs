//! The types of variants: what a mapping says about them, and what a service uses now.

use super::decode::raw_key;
use super::reader::{Fault, Reader};
use super::{MAX_DEPTH, args_of};
use crate::base::Result;
use crate::base::name::matches;
use std::collections::{BTreeMap, BTreeSet};
use zbus::Signature;
use zbus::wire::Endian;

/// Longest key that is kept, so that what a service sends cannot grow by being copied into every key.
const MAX_KEY: usize = 1024;

/// The type signature to write each variant with.
///
/// A variant's key is made of the dictionary keys on the way to it, joined with dots: `address` in an `a{sv}`,
/// `ipv4.method` in an `a{sa{sv}}`, the empty string for a variant in no dictionary. Places in arrays and structs add
/// nothing, so that one type serves all elements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VariantTypes {
    /// Type signature by key.
    pub by_key: BTreeMap<String, Signature>,
}

impl VariantTypes {
    /// No type is known: every variant has to say its own.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The type of every variant in no dictionary.
    #[must_use]
    pub fn only(type_signature: Signature) -> Self {
        Self { by_key: BTreeMap::from([(String::new(), type_signature)]) }
    }

    /// The type for `key`: its own, else that of the longest name with a `*` that stands for it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Signature> {
        let stands = |(name, _): &(&String, &Signature)| name.contains('*') && matches(name, key);
        let by_name = || self.by_key.iter().filter(stands).max_by_key(|(name, _)| name.len());
        self.by_key.get(key).or_else(|| by_name().map(|(_, signature)| signature))
    }

    /// These types, and `other`'s where these say nothing: a mapping's, then those in use.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (key, signature) in other.by_key {
            self.by_key.entry(key).or_insert(signature);
        }
        self
    }
}

/// The types of all variants in `bytes`, a value or body of type `type_signature`: what is needed to write a variant
/// with the type it has now.
///
/// A key under which variants of different types were found is left out, and so is one beyond 1024 bytes. Of a variant in a variant only the outer
/// one's type, `v`, is kept. Fails as [`super::decode_body`] does.
pub fn decode_variant_types(type_signature: &Signature, bytes: &[u8], endian: Endian) -> Result<VariantTypes> {
    let mut walk = Walk { reader: Reader::new(bytes, endian), found: BTreeMap::new(), ambiguous: BTreeSet::new() };
    let types = args_of(type_signature);
    let outcome = types.iter().try_for_each(|one| walk.value(one, &mut String::new(), 0));
    outcome.and_then(|()| walk.reader.finish()).map_err(|fault| walk.reader.error(fault, &types))?;
    walk.found.retain(|key, _| !walk.ambiguous.contains(key));
    Ok(VariantTypes { by_key: walk.found })
}

/// The type of the value inside the variant that `bytes` are. Fails when they are none.
pub fn signature_of_variant(bytes: &[u8], endian: Endian) -> Result<Signature> {
    let mut reader = Reader::new(bytes, endian);
    reader.variant_type().map_err(|fault| reader.error(fault, &[Signature::Variant]))
}

struct Walk<'a> {
    reader: Reader<'a>,
    found: BTreeMap<String, Signature>,
    ambiguous: BTreeSet<String>,
}

impl Walk<'_> {
    fn note(&mut self, key: &str, signature: &Signature) {
        if key.len() > MAX_KEY {
            return;
        }
        match self.found.get(key) {
            Some(known) if known == signature => {}
            Some(_) => drop(self.ambiguous.insert(key.to_owned())),
            None => drop(self.found.insert(key.to_owned(), signature.clone())),
        }
    }

    /// Walks over the next value, whose variants' keys begin with `at`.
    fn value(&mut self, signature: &Signature, at: &mut String, depth: u8) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err("values are nested more than 64 deep");
        }
        match signature {
            Signature::Variant => {
                let inner = self.reader.variant_type()?;
                self.note(at, &inner);
                self.variant(&inner, at, depth + 1)?;
            }
            Signature::Array(element) => {
                let element = element.signature();
                let end = self.reader.array(element.alignment_dbus())?;
                if let Signature::U8 = element {
                    self.reader.take(end - self.reader.position())?;
                }
                while self.reader.has_more(end)? {
                    self.value(element, at, depth + 1)?;
                }
            }
            Signature::Dict { key, value } => {
                let end = self.reader.array(8)?;
                while self.reader.has_more(end)? {
                    self.reader.align(8)?;
                    let name = raw_key(&mut self.reader, key.signature())?;
                    let parent = at.len();
                    if parent > 0 {
                        at.push('.');
                    }
                    at.push_str(&name);
                    self.value(value.signature(), at, depth + 2)?;
                    at.truncate(parent);
                }
            }
            Signature::Structure(fields) if !fields.is_empty() => {
                self.reader.align(8)?;
                for field in fields.iter() {
                    self.value(field, at, depth + 1)?;
                }
            }
            // Every other type that has values can be a key.
            basic => drop(raw_key(&mut self.reader, basic)?),
        }
        Ok(())
    }

    /// Walks over a variant's value. A variant directly inside a variant is not noted: both would have the same key.
    fn variant(&mut self, inner: &Signature, at: &mut String, depth: u8) -> Result<(), Fault> {
        let mut signature = inner.clone();
        let mut depth = depth;
        while let Signature::Variant = signature {
            signature = self.reader.variant_type()?;
            depth += 1;
            if depth > MAX_DEPTH {
                return Err("values are nested more than 64 deep");
            }
        }
        self.value(&signature, at, depth)
    }
}
