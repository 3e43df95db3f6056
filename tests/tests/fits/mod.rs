//! Documents that programs print, held against the schemas that are shipped.

use std::path::Path;

/// Whether a document fits the schema that is shipped for it.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn assert_fits(schema: &str, document: &serde_json::Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schemas/{schema}.schema.json"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let schema: serde_json::Value = serde_json::from_str(&text).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let problems: Vec<String> = validator.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}\n{document:#}");
}
