//! The JSON Schema of the state document, which is read and written by hand: its keys are the plugins' own.

use super::{PluginState, StateDocument};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

impl JsonSchema for StateDocument {
    fn schema_name() -> Cow<'static, str> {
        "StateDocument".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let state = generator.subschema_for::<PluginState>();
        json_schema!({
            "description": "What a person wants, or what a machine has. What is not mentioned is left alone.",
            "type": "object",
            "properties": {
                "version": {"description": "Always 1; may be left out.", "const": 1},
                "plugins": {"description": "State by plugin name.", "type": "object", "additionalProperties": state}
            },
            "required": ["plugins"],
            "additionalProperties": false
        })
    }
}

impl JsonSchema for PluginState {
    fn schema_name() -> Cow<'static, str> {
        "PluginState".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The state of one plugin: a value by key, in the JSON form of its D-Bus type.",
            "type": "object",
            "properties": {
                "absent": {
                    "description": "Items that must not be there, by key.",
                    "type": "object",
                    "additionalProperties": {
                        "type": "array",
                        "items": {"type": ["string", "number"], "minLength": 1}
                    }
                },
                "observed": {"description": "What was seen beyond the mapped keys. Read-only: apply ignores it."}
            },
            "additionalProperties": true
        })
    }
}
