//! A model: a folder, or one file that holds such a folder, with its manifest `model.toml`.

#[cfg(feature = "engine")]
mod builtin;
mod bundle;
pub mod manifest;
pub mod shelf;

pub use manifest::{Batching, Manifest, ModelFile};
pub use shelf::Shelf;

use crate::base::{Error, Kind, Result, digest};
use manifest::MANIFEST;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// No model file is larger: it is read into memory.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

/// How much is spent on a vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Level {
    /// Nothing: answers come from the cache alone.
    None,
    /// A small model; the one that is built in.
    Low,
    /// A model whose quality is that of its kind's full form.
    #[default]
    Medium,
    /// The best there is, whatever it costs.
    High,
}

impl Level {
    /// Every level, the cheapest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Low, Self::Medium, Self::High];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl std::str::FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| Error::usage(format!("{text:?} is no level")).hint("there are none, low, medium and high"))
    }
}

/// Where a model lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    #[cfg(feature = "engine")]
    BuiltIn(&'static [(&'static str, &'static [u8])]),
    Folder(PathBuf),
}

/// A model whose manifest was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What its manifest says.
    pub manifest: Manifest,
    place: Place,
}

impl Model {
    /// The model in a folder.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = crate::store::file::read_up_to(&path, 1 << 20)?.ok_or_else(|| {
            Error::bad_input("there is no model here: its manifest is missing")
                .on(path.display().to_string())
                .hint(format!("a model is a folder with {MANIFEST}, an ONNX file and a tokenizer"))
        })?;
        let manifest = Manifest::parse(&text, &path.display().to_string())?;
        Ok(Self { manifest, place: Place::Folder(folder.to_owned()) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Whether it is part of the program.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        !matches!(self.place, Place::Folder(_))
    }

    /// Its folder, when it has one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            #[cfg(feature = "engine")]
            Place::BuiltIn(_) => None,
        }
    }

    /// The bytes of one of its files, which are the ones its manifest names or none.
    pub fn read(&self, file: &ModelFile) -> Result<Cow<'static, [u8]>> {
        let bytes = match &self.place {
            #[cfg(feature = "engine")]
            Place::BuiltIn(files) => {
                let bytes = files.iter().find(|(name, _)| *name == file.file).map(|(_, bytes)| *bytes);
                // What the program was built with was looked at by its tests.
                return bytes.map(Cow::Borrowed).ok_or_else(|| self.missing(file));
            }
            Place::Folder(folder) => read_file(&folder.join(&file.file), file.size_bytes)?,
        };
        let found = format!("sha256:{}", digest::Plain::of(&bytes));
        if found == file.digest {
            return Ok(Cow::Owned(bytes));
        }
        Err(Error::new(Kind::Untrusted, format!("its content is not what the manifest says: {found}"))
            .on(self.path_of(file))
            .hint(format!("op-embed model remove {}, and install it again", self.name())))
    }

    /// What decides a vector beside the text, pooling and type: the graph and how it is fed. Part of every cache key.
    #[must_use]
    pub fn identity(&self) -> String {
        let manifest = &self.manifest;
        digest::of_json(
            "embedding-model",
            &serde_json::json!({
                "onnx": manifest.onnx.digest,
                "output": manifest.output,
                "prefix": manifest.prefix,
                "max_tokens": manifest.max_tokens,
            }),
        )
    }

    fn path_of(&self, file: &ModelFile) -> String {
        match self.folder() {
            Some(folder) => folder.join(&file.file).display().to_string(),
            None => format!("{}: {}", self.name(), file.file),
        }
    }

    #[cfg(feature = "engine")]
    fn missing(&self, file: &ModelFile) -> Error {
        Error::bad_input("this file of the model is missing").on(self.path_of(file))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.folder() {
            Some(folder) => write!(f, "{} in {}", self.name(), folder.display()),
            None => write!(f, "{}, built in", self.name()),
        }
    }
}

/// Reads a file that must have exactly so many bytes.
fn read_file(path: &Path, size_bytes: u64) -> Result<Vec<u8>> {
    let subject = || path.display().to_string();
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::bad_input("this file of the model is missing").on(subject()),
        _ => Error::io("read the model's file", path, &error),
    })?;
    let length = file.metadata().map_err(|e| Error::io("read the model's file", path, &e))?.len();
    if length != size_bytes || length > MAX_FILE_BYTES {
        let what = if length < size_bytes { "the file was cut off or is another one" } else { "it is another file" };
        return Err(Error::new(
            Kind::Untrusted,
            format!("it has {length} bytes and the manifest says {size_bytes}: {what}"),
        )
        .on(subject()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(size_bytes + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read the model's file", path, &e))?;
    Ok(bytes)
}
