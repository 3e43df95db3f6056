//! Which code computes: ONNX Runtime when a usable `libonnxruntime.so` is found, else tract, which is part of the program.
//!
//! The library is opened here and not by `ort`: in 2.0.0-rc.14 an `init_from` that failed leaves a lock behind that says
//! it succeeded, and the next call reads memory that was never written. One process uses one runtime, for good.
#![allow(unsafe_code, reason = "opening a library and reading the table of functions it offers")]

use crate::base::{Error, Kind, Result};
use libloading::{Library, Symbol};
use ort::sys::{ORT_API_VERSION, OrtApi, OrtApiBase};
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names under which the loader may know the library.
const SONAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];

/// Which runtime to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// ONNX Runtime when one is found, else tract.
    #[default]
    Any,
    /// tract, without looking for another.
    BuiltIn,
    /// This file, or the library in this folder, and no other.
    At(PathBuf),
}

/// Where to look, in this order; nothing else is read from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `$ORT_DYLIB_PATH`: a file or a folder.
    pub named: Option<PathBuf>,
    /// Folders that may hold the library, beside those the loader knows.
    pub folders: Vec<PathBuf>,
}

/// The runtime of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// What computes.
    pub kind: RuntimeKind,
    /// Its version.
    pub version: String,
    /// Where it was found; the loader's name for it when the loader found it.
    pub path: Option<PathBuf>,
    /// What else was tried, and why it was not taken.
    pub refused: Vec<(String, String)>,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// ONNX Runtime.
    OnnxRuntime,
    /// tract.
    Tract,
}

impl RuntimeKind {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::Tract => "tract",
        }
    }

    /// Texts are fed with a multiple of so many tokens, the rest being padding that does not count. tract adds up a row in
    /// an order that depends on where the row lies in memory; with this many, every row lies the same.
    pub(super) fn step(self) -> usize {
        match self {
            Self::OnnxRuntime => 1,
            Self::Tract => 16,
        }
    }
}

static CHOSEN: OnceLock<(Wanted, Result<Runtime>)> = OnceLock::new();

/// The runtime of this process, chosen by the first call.
pub fn choose(wanted: &Wanted, places: &Places) -> Result<&'static Runtime> {
    let (chosen, runtime) = CHOSEN.get_or_init(|| (wanted.clone(), find(wanted, places)));
    if chosen != wanted {
        return Err(Error::failed("a process computes with one runtime, and another was chosen before"));
    }
    runtime.as_ref().map_err(Clone::clone)
}

fn find(wanted: &Wanted, places: &Places) -> Result<Runtime> {
    let mut refused = vec![];
    if *wanted != Wanted::BuiltIn {
        for candidate in candidates(wanted, places) {
            match open(&candidate) {
                Ok((api, version)) => {
                    ort::set_api(api);
                    return Ok(Runtime { kind: RuntimeKind::OnnxRuntime, version, path: Some(candidate), refused });
                }
                Err(why) => refused.push((candidate.display().to_string(), why)),
            }
        }
    }
    if let Wanted::At(path) = wanted {
        let reasons: Vec<String> = refused.into_iter().map(|(path, why)| format!("{path}: {why}")).collect();
        return Err(Error::new(Kind::Unavailable, format!("this is no usable ONNX Runtime: {}", reasons.join("; ")))
            .on(path.display().to_string())
            .hint(format!(
                "name libonnxruntime.so of ONNX Runtime 1.{ORT_API_VERSION} or newer, or leave --runtime out: \
                 tract is built in"
            )));
    }
    ort::set_api(ort_tract::api());
    Ok(Runtime { kind: RuntimeKind::Tract, version: "0.23".into(), path: None, refused })
}

fn candidates(wanted: &Wanted, places: &Places) -> Vec<PathBuf> {
    if let Wanted::At(path) = wanted {
        return in_place(path);
    }
    let mut found: Vec<PathBuf> = places.named.iter().flat_map(|path| in_place(path)).collect();
    // The loader's own folders, LD_LIBRARY_PATH included.
    found.extend(SONAMES.map(PathBuf::from));
    for folder in &places.folders {
        found.extend(in_place(folder).into_iter().filter(|path| path.exists()));
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    found
}

/// A file as it is; in a folder, the library under any of its names, the newest first.
fn in_place(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let is_library = |name: &str| name == SONAMES[1] || name.starts_with("libonnxruntime.so.");
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_library(name)).collect();
    names.sort_by_key(|name| std::cmp::Reverse(version_of(name)));
    match names.is_empty() {
        true => vec![path.join(SONAMES[1])],
        false => names.into_iter().map(|name| path.join(name)).collect(),
    }
}

fn version_of(name: &str) -> Vec<u32> {
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// Opens the library and takes its functions, if it is new enough.
fn open(path: &Path) -> Result<(OrtApi, String), String> {
    if path.is_absolute() && !crate::store::layout::is_trusted(path) {
        return Err("others can write it, or it is not there; root runs only what root owns".into());
    }
    // SAFETY: opening a library runs its constructors: it is code we were told to run, from the loader's folders or named
    // by who started us. The symbol has had this type in every version of ONNX Runtime.
    let (library, base) = unsafe {
        let library = Library::new(path).map_err(|e| chain(&e))?;
        let symbol: Symbol<unsafe extern "C" fn() -> *const OrtApiBase> = library
            .get(b"OrtGetApiBase\0")
            .map_err(|_| "it is not ONNX Runtime: it has no OrtGetApiBase".to_owned())?;
        let base = symbol();
        (library, base.as_ref().ok_or("it has no functions to offer")?)
    };
    // SAFETY: both functions are part of the table since its first version, and the text lives as long as the library.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    let [major, minor] = [0, 1].map(|at| version.split('.').nth(at).and_then(|part| part.parse::<u32>().ok()));
    if major != Some(1) || minor.is_none_or(|minor| minor < ORT_API_VERSION) {
        // Older ones also crash when the process ends.
        return Err(format!("it is version {version}, and 1.{ORT_API_VERSION} is the oldest that is used"));
    }
    // SAFETY: the library gives null for a version it does not know, and else a table of that version, which lives as
    // long as the library; the library is never closed.
    let api = unsafe {
        let api = (base.GetApi)(ORT_API_VERSION);
        api.as_ref().map(|api| std::ptr::read(api)).ok_or("it does not offer the functions this was built for")?
    };
    std::mem::forget(library);
    Ok((api, version))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_offers_the_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_cuda.so", "x.so"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> =
            in_place(folder.path()).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["libonnxruntime.so.1.32.0", "libonnxruntime.so.1.9.0"]);
    }

    #[test]
    fn what_is_no_runtime_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        std::fs::write(&file, "not a library").unwrap();
        let error = find(&Wanted::At(folder.path().into()), &Places::default()).unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.message.contains("libonnxruntime.so: "), "{error}");
        let missing = find(&Wanted::At("/nonexistent/libonnxruntime.so".into()), &Places::default()).unwrap_err();
        assert!(missing.message.contains("/nonexistent"), "{missing}");
        // The C library is a library, and not this one.
        let libc = find(&Wanted::At("libc.so.6".into()), &Places::default()).unwrap_err();
        assert!(libc.message.contains("OrtGetApiBase"), "{libc}");
    }
}
