//! Arguments as the service wants them: variants given their types, everything checked to fit before any call.

use crate::base::{Error, Result, secret};
use crate::bus::value::{self, VariantTypes};
use crate::bus::{Bus, read};
use crate::plugin::mapping::{Mapping, Method, StateSection};
use serde_json::{Map, Value, json};
use zbus::Signature;

/// The types to write the key's variants with: the mapping's, and where it says nothing, those in use now.
pub fn variant_types(bus: &Bus, mapping: &Mapping, section: &StateSection) -> Result<VariantTypes> {
    let mut types = VariantTypes::none();
    for (key, text) in &section.variant_types {
        types.by_key.insert(key.clone(), value::single_type(text).map_err(|e| e.or_on(mapping.source.clone()))?);
    }
    if let Some(property) = section.read.as_ref().filter(|read| read.property.is_some()) {
        let is_map = section.diff_strategy == Some(crate::state::Strategy::MergeStrategy);
        if is_map {
            let group = super::reading::property_group(mapping, property);
            let name = property.property.as_deref().unwrap_or_default();
            types = types.or(read::variant_types_now(bus, &group, name, mapping.manner(None))?);
        }
    }
    Ok(types)
}

/// `value` with every variant in it saying its type, where that is known.
pub fn typed(value: &Value, type_signature: &str, types: &VariantTypes) -> Result<Value> {
    Ok(with_types(value, &value::single_type(type_signature)?, types, &mut Vec::new()))
}

/// [`typed`] for an argument list.
pub fn typed_args(args: &[Value], type_signature: &str, types: &VariantTypes) -> Result<Vec<Value>> {
    let signatures = value::complete_types(type_signature)?;
    if signatures.len() != args.len() {
        return Err(Error::bad_input(format!(
            "the mapping gives {} arguments, the method takes {} ({type_signature:?})",
            args.len(),
            signatures.len()
        )));
    }
    Ok(args
        .iter()
        .zip(&signatures)
        .map(|(arg, signature)| with_types(arg, signature, types, &mut Vec::new()))
        .collect())
}

fn with_types(value: &Value, signature: &Signature, types: &VariantTypes, keys: &mut Vec<String>) -> Value {
    match (signature, value) {
        (Signature::Variant, Value::Object(map)) if map.contains_key("$variant") => value.clone(),
        (Signature::Variant, _) => match types.get(&keys.join(".")) {
            Some(inner) => {
                let value = with_types(value, inner, types, keys);
                json!({"$variant": {"signature": inner.to_string(), "value": value}})
            }
            // Whatever is secret is text unless the mapping knows better.
            None if secret::name(value).is_some() => json!({"$variant": {"signature": "s", "value": value}}),
            None => value.clone(),
        },
        (Signature::Array(child), Value::Array(items)) => {
            items.iter().map(|item| with_types(item, child, types, keys)).collect()
        }
        (Signature::Dict { value: child, .. }, Value::Object(map)) => {
            let mut out = Map::new();
            for (key, value) in map {
                keys.push(key.strip_prefix('$').filter(|k| k.starts_with('$')).unwrap_or(key).to_owned());
                out.insert(key.clone(), with_types(value, child, types, keys));
                keys.pop();
            }
            Value::Object(out)
        }
        (Signature::Structure(fields), Value::Array(items)) => {
            fields.iter().zip(items).map(|(field, item)| with_types(item, field, types, keys)).collect()
        }
        _ => value.clone(),
    }
}

/// Whether `args` fit `type_signature`; `places` says where in the document each comes from.
pub fn check_args(args: &[Value], type_signature: &str, places: &[String], method: &Method<'_>) -> Result<()> {
    let signatures = value::complete_types(type_signature)?;
    let errors = args
        .iter()
        .zip(&signatures)
        .zip(places)
        .enumerate()
        .filter_map(|(position, ((arg, signature), at))| {
            let error = value::encode_planned(arg, signature, at, &VariantTypes::none()).err()?;
            let hint = error.hint.clone().unwrap_or_else(|| format!("it is argument {position} of {}", method.member));
            Some(error.hint(hint))
        })
        .collect();
    Error::all(errors).map_or(Ok(()), Err)
}

/// Whether `value` fits the property's type.
pub fn check_property(value: &Value, type_signature: &str, at: &str) -> Result<()> {
    value::encode_planned(value, &value::single_type(type_signature)?, at, &VariantTypes::none()).map(|_| ())
}
