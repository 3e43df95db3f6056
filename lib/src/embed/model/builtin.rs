//! The model that is part of the program, so that something useful works on a fresh machine with nothing downloaded.

use super::{Manifest, Model, Place};
use crate::base::Result;

/// `lib/models/make` makes and checks these files.
const FILES: &[(&str, &[u8])] = &[
    ("model.onnx", include_bytes!("../../../models/minilm-l6-q4/model.onnx")),
    ("tokenizer.json", include_bytes!("../../../models/minilm-l6-q4/tokenizer.json")),
    ("reference.json", include_bytes!("../../../models/minilm-l6-q4/reference.json")),
];
const MANIFEST: &str = include_str!("../../../models/minilm-l6-q4/model.toml");

impl Model {
    /// The model that is built in.
    pub fn built_in() -> Result<Self> {
        Ok(Self { manifest: Manifest::parse(MANIFEST, "the built-in model.toml")?, place: Place::BuiltIn(FILES) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest;

    #[test]
    fn it_is_what_its_manifest_says_and_small() {
        let model = Model::built_in().unwrap();
        assert!(model.is_built_in());
        let mut size_bytes = MANIFEST.len();
        for file in model.manifest.files() {
            let bytes = model.read(file).unwrap();
            assert_eq!(
                (bytes.len() as u64, format!("sha256:{}", digest::Plain::of(&bytes))),
                (file.size_bytes, file.digest.clone())
            );
            size_bytes += bytes.len();
        }
        assert!(size_bytes < 8_000_000, "{size_bytes} bytes");
    }
}
