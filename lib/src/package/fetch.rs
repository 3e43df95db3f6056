//! Where a package comes from: a file, or a web server. What lies beside it (`.minisig`, `.sha256`, `.asc`) comes along.

use super::archive::MAX_BYTES;
use crate::base::digest::Plain;
use crate::base::{Error, Kind, Progress, Result};
use crate::http::{self, Network, Partial};
use crate::store::file::{self, Durability};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that a signature or a checksum may have.
const MAX_SIDE_BYTES: u64 = 64 << 10;
/// What is worth being kept of a download that was cut off.
const WORTH_KEEPING: usize = 256 << 10;

/// A package as it came, believed in nothing yet.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where they came from: a URL, or the path of a file.
    pub source: String,
    /// The name of the file, which may say what it is.
    pub file_name: String,
    /// The text of the `.minisig` beside it.
    pub signature: Option<String>,
    /// The text of the `.sha256` beside it.
    pub checksum: Option<String>,
    /// The text of the `.asc` beside it, when it was asked for.
    pub gpg: Option<String>,
    /// Whether others could have changed it on the way.
    pub is_plain_http: bool,
}

/// How to fetch.
#[derive(Debug, Clone, Default)]
pub struct Fetching {
    /// The way out.
    pub network: Network,
    /// Where what was cut off is kept, to be gone on with.
    pub downloads: Option<PathBuf>,
    /// Whether a GPG signature is wanted, too.
    pub wants_gpg: bool,
}

/// Where something lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of this machine.
    File(PathBuf),
    /// The address of a web server.
    Web(String),
}

impl Place {
    /// Reads an `https:`, `http:` or `file:` URL, or a file's path.
    pub fn of(what: &str) -> Result<Self> {
        place(what)
    }

    /// What lies at `path` below it.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        match self {
            Self::File(folder) => Self::File(folder.join(path)),
            Self::Web(url) => Self::Web(format!("{}/{path}", url.trim_end_matches('/'))),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", std::path::absolute(path).as_deref().unwrap_or(path).display()),
            Self::Web(url) => f.write_str(&without_secrets(url)),
        }
    }
}

impl Fetching {
    /// Fetches the package that `what` names: an `https:`, `http:` or `file:` URL, or a file's path.
    pub fn package(&self, what: &str, progress: &mut dyn Progress) -> Result<Fetched> {
        self.package_at(&place(what)?, progress).map_err(|e| e.or_on(what))
    }

    /// The same for a place that was read.
    pub fn package_at(&self, place: &Place, progress: &mut dyn Progress) -> Result<Fetched> {
        let bytes = match place {
            Place::File(path) => read(path, MAX_BYTES)?,
            Place::Web(url) => self.download(url, progress)?,
        };
        let bytes = bytes.ok_or_else(|| {
            let missing = match place {
                Place::File(_) => Error::bad_input("there is no such file"),
                Place::Web(_) => Error::new(Kind::Unavailable, "the server has no such file"),
            };
            missing.on(place.to_string())
        })?;
        let source = place.to_string();
        Ok(Fetched {
            bytes,
            file_name: source.rsplit('/').next().unwrap_or_default().to_owned(),
            source,
            signature: self.beside(place, ".minisig")?,
            checksum: self.beside(place, ".sha256")?,
            gpg: if self.wants_gpg { self.beside(place, ".asc")? } else { None },
            is_plain_http: matches!(place, Place::Web(url) if url.starts_with("http:")),
        })
    }

    /// A file of at most `max_bytes`; none when there is none.
    pub fn file(&self, place: &Place, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        match place {
            Place::File(path) => read(path, max_bytes),
            Place::Web(url) => {
                let mut partial = Partial::default();
                let found = http::get(url, max_bytes, &self.network, &mut partial, &mut |_, _| Ok(()))?;
                Ok(found.then_some(partial.bytes))
            }
        }
    }

    /// The text of a file beside the package; none when there is none.
    pub fn beside(&self, place: &Place, suffix: &str) -> Result<Option<String>> {
        let beside = match place {
            Place::File(path) => {
                let mut beside = path.clone().into_os_string();
                beside.push(suffix);
                Place::File(beside.into())
            }
            Place::Web(url) => {
                // What is asked for stays at the end of the path: https://host/a.btrfs.zst.minisig?token=...
                let at = url.find(['?', '#']).unwrap_or(url.len());
                Place::Web(format!("{}{suffix}{}", &url[..at], &url[at..]))
            }
        };
        let bytes = self.file(&beside, MAX_SIDE_BYTES)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| Error::untrusted("it is not text").on(beside.to_string()))
    }

    fn download(&self, url: &str, progress: &mut dyn Progress) -> Result<Option<Vec<u8>>> {
        let kept = self.downloads.as_ref().map(|folder| folder.join(Plain::of(url.as_bytes())));
        let mut partial = kept.as_deref().and_then(take_kept).unwrap_or_default();
        let shown = without_secrets(url);
        let mut on_bytes = |bytes: u64, total: Option<u64>| {
            let percent =
                total.filter(|total| *total > 0).map(|total| u8::try_from(bytes * 100 / total).unwrap_or(100));
            progress.say(&format!("{shown}: {} KiB", bytes >> 10), percent);
            Ok(())
        };
        let got = http::get(url, MAX_BYTES, &self.network, &mut partial, &mut on_bytes);
        if let (Err(_), Some(path)) = (&got, &kept)
            && partial.bytes.len() >= WORTH_KEEPING
            && partial.validator.is_some()
        {
            keep(path, &partial);
        }
        Ok(got?.then_some(partial.bytes))
    }
}

fn place(what: &str) -> Result<Place> {
    if what.starts_with("https://") || what.starts_with("http://") {
        return Ok(Place::Web(what.to_owned()));
    }
    if let Some(path) = what.strip_prefix("file:") {
        // file:///x, file://localhost/x, file:/x
        let path = path.strip_prefix("//").map_or(path, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
        return match Path::new(path) {
            path if path.is_absolute() => Ok(Place::File(path.to_owned())),
            _ => Err(Error::usage("a file: URL has an absolute path")
                .on(what)
                .hint("for example file:///srv/x.btrfs.zst")),
        };
    }
    if let Some((scheme, _)) = what.split_once("://") {
        return Err(Error::usage(format!("packages do not come over {scheme}"))
            .on(what)
            .hint("https, http and file do"));
    }
    Ok(Place::File(what.into()))
}

/// A URL as it may be shown and kept: without a password in it.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

fn read(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
    let attempt = |e: &std::io::Error| Error::io("read the package", path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(attempt(&error)),
    };
    if file.metadata().map_err(|e| attempt(&e))?.is_dir() {
        return Err(Error::bad_input("this is a folder and no package").on(path.display().to_string()));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(|e| attempt(&e))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::untrusted(format!("it is larger than {max_bytes} bytes")).on(path.display().to_string()));
    }
    Ok(Some(bytes))
}

/// What was kept of a download; it is taken away, since it will be whole or kept again.
fn take_kept(path: &Path) -> Option<Partial> {
    let bytes = std::fs::read(path).ok();
    let _ = std::fs::remove_file(path);
    let bytes = bytes?;
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    let header: Value = serde_json::from_slice(&bytes[..at]).ok()?;
    let validator = header.get("validator")?.as_str()?.to_owned();
    Some(Partial { bytes: bytes[at + 1..].to_vec(), validator: Some(validator) })
}

/// Keeps what came. That this fails costs time the next time, and nothing else.
fn keep(path: &Path, partial: &Partial) {
    let header = json!({ "validator": partial.validator }).to_string();
    let bytes = [header.as_bytes(), b"\n", &partial.bytes].concat();
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder);
        let _ = file::replace(path, &bytes, Durability::Cache);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let file = |what: &str| match place(what) {
            Ok(Place::File(path)) => path.display().to_string(),
            Ok(Place::Web(url)) => format!("web {url}"),
            Err(error) => error.message,
        };
        for (what, expected) in [
            ("a.btrfs.zst", "a.btrfs.zst"),
            ("file:///srv/a", "/srv/a"),
            ("file:/srv/a", "/srv/a"),
            ("file://localhost/srv/a", "/srv/a"),
            ("https://h/a", "web https://h/a"),
            ("file:a", "a file: URL has an absolute path"),
            ("ftp://h/a", "packages do not come over ftp"),
        ] {
            assert_eq!(file(what), expected, "{what}");
        }
        assert_eq!(without_secrets("https://me:pw@h:8/a/b?token=x#y"), "https://h:8/a/b");
    }

    #[test]
    fn what_was_kept_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("downloads/x");
        let partial = Partial { bytes: b"a\nb".to_vec(), validator: Some("\"1\"".into()) };
        keep(&path, &partial);
        assert_eq!(take_kept(&path), Some(partial));
        assert_eq!(take_kept(&path), None);
    }
}
