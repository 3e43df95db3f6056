//! Documents out into a file that a person named.

use crate::base::{Error, Result};
use std::path::Path;

/// Writes `text` to `path`, with the permissions of any new file.
pub fn write_file(path: &str, text: &str) -> Result<()> {
    let path = Path::new(path);
    std::fs::write(path, text).map_err(|error| Error::io("write the result", path, &error))
}
