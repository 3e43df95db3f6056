//! Documents out into a file that a person named.

use crate::base::{Error, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `text` to `path`, with the permissions of any new file.
pub fn write_file(path: &str, text: &str) -> Result<()> {
    let path = Path::new(path);
    std::fs::write(path, text).map_err(|error| Error::io("write the result", path, &error))
}

/// Writes a new file that nobody else may read; one that is there already is not replaced.
pub fn write_new_secret(path: &str, text: &str) -> Result<()> {
    let path = Path::new(path);
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Error::io("write the secret key", path, &error))
}
