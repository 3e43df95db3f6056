//! Documents in: a file, or standard input for `-` and for nothing when something is piped.

use super::json;
use crate::base::{Error, Kind, Result};
use rustix::fs::FileType;
use serde_json::Value;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::Path;

/// No document is larger.
pub const MAX_BYTES: u64 = 64 << 20;
/// What standard input is called in messages.
pub const STDIN: &str = "standard input";

/// A document as text and what to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The path as given, or [`STDIN`].
    pub name: String,
    /// What it says, without a byte order mark.
    pub text: String,
}

impl Input {
    /// The one JSON document in it.
    pub fn json(&self) -> Result<Value> {
        json::parse_json(&self.text, &self.name)
    }
}

/// Reads the document at `path`; `-`, or nothing when something is piped, is standard input.
pub fn read_document(path: Option<&str>) -> Result<Input> {
    match path {
        Some(path) if path != "-" => read_file(path),
        None if io::stdin().is_terminal() => {
            Err(Error::usage("there is no document to read").hint("name a file, or pipe a document in"))
        }
        _ => read_from(io::stdin().lock(), STDIN),
    }
}

/// Like [`read_document`] where a document may be left out: standard input counts only when it is a pipe, a socket
/// or a file with something in it.
pub fn read_optional(path: Option<&str>) -> Result<Option<Input>> {
    if path.is_some() {
        return read_document(path).map(Some);
    }
    let kind = rustix::fs::fstat(io::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let may_hold_something = matches!(kind, Ok(FileType::Fifo | FileType::Socket | FileType::RegularFile));
    if !may_hold_something {
        return Ok(None);
    }
    let bytes = bounded(io::stdin().lock(), STDIN)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    text_of(bytes, STDIN).map(Some)
}

/// The text of a file that holds a secret, which nobody else may read.
pub fn secret_file(path: &str) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let mode = file.metadata().map_err(|e| unreadable(path, &e))?.mode();
    if mode & 0o077 != 0 {
        return Err(Error::new(Kind::Denied, "others can read this secret").on(path).hint(format!("chmod 600 {path}")));
    }
    read_from(file, path).map(|input| input.text)
}

/// A password: the first line of a file that nobody else may read.
pub fn password(path: &str) -> Result<String> {
    Ok(secret_file(path)?.lines().next().unwrap_or_default().to_owned())
}

fn read_file(path: &str) -> Result<Input> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    if Path::new(path).is_dir() {
        return Err(Error::bad_input("this is a folder, not a document").on(path));
    }
    read_from(file, path)
}

fn read_from(reader: impl Read, name: &str) -> Result<Input> {
    let bytes = bounded(reader, name)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::bad_input("there is nothing in it").on(name));
    }
    text_of(bytes, name)
}

fn bounded(reader: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(name, &e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::bad_input(format!("it is larger than {} MiB", MAX_BYTES >> 20)).on(name));
    }
    Ok(bytes)
}

fn text_of(mut bytes: Vec<u8>, name: &str) -> Result<Input> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::bad_input("it is not UTF-8").on(format!("{name}:{line}"))
    })?;
    Ok(Input { name: name.to_owned(), text })
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    let kind = if error.kind() == ErrorKind::PermissionDenied { Kind::Denied } else { Kind::BadInput };
    Error::new(kind, format!("could not read the document: {error}")).on(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Input> {
        read_from(bytes, "x.json")
    }

    #[test]
    fn text_and_its_name() {
        let input = read(b"\xef\xbb\xbf{\"a\":1}\n").unwrap();
        assert_eq!((input.name.as_str(), input.text.as_str()), ("x.json", "{\"a\":1}\n"));
        assert_eq!(input.json().unwrap(), serde_json::json!({"a": 1}));
    }

    #[test]
    fn what_is_no_text() {
        for (bytes, subject, message) in [
            (&b""[..], "x.json", "nothing"),
            (b" \n\t", "x.json", "nothing"),
            (b"{}\n\n\"\xff\"", "x.json:3", "UTF-8"),
            (b"\xff\xfe{\0}\0", "x.json:1", "UTF-8"),
        ] {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.kind, Kind::BadInput);
            assert_eq!(error.subject.as_deref(), Some(subject));
            assert!(error.message.contains(message), "{error}");
        }
        let endless = read_from(io::repeat(b' '), "x").unwrap_err();
        assert!(endless.message.contains("larger than 64 MiB"), "{endless}");
    }

    #[test]
    fn files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("a.json"), "{}").unwrap();
        assert_eq!(read_document(Some(&path("a.json"))).unwrap().text, "{}");
        assert_eq!(read_optional(Some(&path("a.json"))).unwrap().unwrap().text, "{}");
        for missing in [path("b.json"), path("."), path("a.json/b")] {
            let error = read_document(Some(&missing)).unwrap_err();
            assert_eq!(error.kind, Kind::BadInput, "{error}");
            assert_eq!(error.subject, Some(missing));
        }
    }
}
