//! `model.toml`: what a model's files are and how a vector comes out of them.
//!
//! ```toml
//! name = "minilm-l6-q4"
//! level = "low"
//! dimension = 384
//! max_tokens = 128
//! pooling = "model"
//! normalise = true
//! licence = "Apache-2.0"
//! origin = "sentence-transformers/all-MiniLM-L6-v2"
//!
//! [onnx]
//! file = "model.onnx"
//! size_bytes = 7747905
//! digest = "sha256:..."
//!
//! [tokenizer]
//! file = "tokenizer.json"
//! size_bytes = 131080
//! digest = "sha256:..."
//! ```

use super::super::pooling::Pooling;
use super::Level;
use crate::base::{Error, Result};
use serde::{Deserialize, Serialize};

/// The manifest's file name.
pub const MANIFEST: &str = "model.toml";
/// No vector is longer, and no text has more tokens.
const LARGEST: usize = 65_536;

/// A model's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Manifest {
    /// What it is called.
    pub name: String,
    /// One sentence about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Which level it is meant for.
    #[serde(default)]
    pub level: Level,
    /// How many values a vector has.
    pub dimension: usize,
    /// How many tokens of a text count; what comes after is left out.
    pub max_tokens: usize,
    /// How a text's vector comes from those of its tokens.
    pub pooling: Pooling,
    /// Whether vectors are given the length one.
    #[serde(default = "yes")]
    pub normalise: bool,
    /// The output that is used; the first one when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Written before each text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether texts may be computed together.
    #[serde(default)]
    pub batching: Batching,
    /// Its licence, an SPDX expression.
    pub licence: String,
    /// Where it comes from.
    pub origin: String,
    /// The graph.
    pub onnx: ModelFile,
    /// The tokenizer, as `tokenizer.json` of the `tokenizers` library.
    pub tokenizer: ModelFile,
    /// Texts and their vectors by a reference forward pass, as JSON: `[{"text":"...","vector":[...]}]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ModelFile>,
}

/// Whether texts may be computed together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Batching {
    /// Texts with the same number of tokens.
    #[default]
    SameLength,
    /// One at a time: the model's answer depends on what else is in the batch.
    Never,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelFile {
    /// Its name in the model's folder.
    pub file: String,
    /// How long it is.
    pub size_bytes: u64,
    /// `sha256:` and the SHA-256 of its bytes.
    pub digest: String,
}

impl Manifest {
    /// Reads a manifest and reports everything that is wrong with it.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let manifest: Self =
            toml::from_str(text).map_err(|e| Error::bad_input(format!("this is no model's manifest: {e}")).on(name))?;
        match Error::all(manifest.problems(name)) {
            Some(error) => Err(error),
            None => Ok(manifest),
        }
    }

    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &ModelFile> {
        [Some(&self.onnx), Some(&self.tokenizer), self.reference.as_ref()].into_iter().flatten()
    }

    fn problems(&self, name: &str) -> Vec<Error> {
        let mut problems = vec![];
        let mut wrong = |key: &str, what: String| problems.push(Error::bad_input(what).on(format!("{name}: {key}")));
        if !is_plain_name(&self.name) {
            wrong("name", format!("{:?} is no name: letters, digits, '.', '_' and '-'", self.name));
        }
        for (key, value) in [("dimension", self.dimension), ("max_tokens", self.max_tokens)] {
            if value == 0 || value > LARGEST {
                wrong(key, format!("{value} is not between 1 and {LARGEST}"));
            }
        }
        if self.max_tokens == 1 {
            wrong("max_tokens", "a text needs at least a beginning and an end".into());
        }
        for (key, value) in [("licence", &self.licence), ("origin", &self.origin)] {
            if value.trim().is_empty() {
                wrong(key, "nobody may pass on a model of which this is not known".into());
            }
        }
        for file in self.files() {
            if !is_plain_name(&file.file) || file.file == MANIFEST {
                wrong("file", format!("{:?} is no file of a model's folder", file.file));
            }
            let digest = file.digest.strip_prefix("sha256:").unwrap_or_default();
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
                wrong("digest", format!("{:?} is not sha256: and 64 hexadecimal digits", file.digest));
            }
        }
        problems
    }
}

fn yes() -> bool {
    true
}

/// Whether a name is one file name and no path.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 100 && !name.starts_with(['.', '-']) && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "m"
dimension = 3
max_tokens = 8
pooling = "mean"
licence = "MIT"
origin = "made here"
[onnx]
file = "a.onnx"
size_bytes = 1
digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[tokenizer]
file = "t.json"
size_bytes = 1
digest = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
"#;

    #[test]
    fn what_may_be_left_out() {
        let manifest = Manifest::parse(GOOD, "model.toml").unwrap();
        assert!(manifest.normalise && manifest.reference.is_none() && manifest.batching == Batching::SameLength);
        assert_eq!(manifest.level, Level::Medium);
    }

    #[test]
    fn every_mistake_is_reported() {
        for (from, to, what) in [
            ("\"m\"", "\"../m\"", "no name"),
            ("= 3", "= 0", "not between"),
            ("= 8", "= 1", "a beginning and an end"),
            ("a.onnx", "x/../../a", "no file of"),
            ("a.onnx", "model.toml", "no file of"),
            ("sha256:a", "md5:a", "64 hexadecimal"),
            ("\"MIT\"", "\" \"", "pass on"),
            ("\"mean\"", "\"max\"", "unknown variant"),
            ("dimension", "dimensions", "unknown field"),
        ] {
            let error = Manifest::parse(&GOOD.replacen(from, to, 1), "model.toml").unwrap_err();
            assert!(error.message.contains(what), "{to}: {error}");
        }
        let twice = GOOD.replace("= 3", "= 0").replace("= 8", "= 0");
        assert_eq!(Manifest::parse(&twice, "x").unwrap_err().also.len(), 1);
    }
}
