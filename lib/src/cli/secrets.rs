//! Where secrets come from: a credential of systemd, a file that only the user can read, or a variable. They are read
//! when a call needs them, and kept nowhere.

use super::Cli;
use crate::base::{Error, Kind, Result, Secrets};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// No secret is longer.
const MAX_BYTES: u64 = 1 << 20;

/// Looks for secrets by name.
#[derive(Debug)]
struct Found {
    credentials: Option<PathBuf>,
    folder: Option<PathBuf>,
    variables: Vec<(String, String)>,
}

impl Cli {
    /// What resolves the names of secrets.
    #[must_use]
    pub fn secrets(&self) -> Arc<dyn Secrets> {
        let path = |name: &str| self.env.get(name).map(PathBuf::from);
        let folder = match rustix::process::geteuid().is_root() {
            true => Some(PathBuf::from("/etc/op-dbus/secrets")),
            false => path("XDG_CONFIG_HOME")
                .or_else(|| path("HOME").map(|home| home.join(".config")))
                .map(|config| config.join("op-dbus/secrets")),
        };
        Arc::new(Found { credentials: path("CREDENTIALS_DIRECTORY"), folder, variables: self.env.beginning(VARIABLE) })
    }
}

const VARIABLE: &str = "OP_DBUS_SECRET_";

impl Secrets for Found {
    fn get(&self, name: &str) -> Result<String> {
        let mut looked = Vec::new();
        if let Some(file) = self.credentials.as_ref().map(|folder| folder.join(name)) {
            if let Some(text) = read(&file, false)? {
                return Ok(text);
            }
            looked.push(file.display().to_string());
        }
        if let Some(file) = self.folder.as_ref().map(|folder| folder.join(name)) {
            if let Some(text) = read(&file, true)? {
                return Ok(text);
            }
            looked.push(file.display().to_string());
        }
        let variable = format!("{VARIABLE}{}", name.to_ascii_uppercase().replace(['-', '.', '@'], "_"));
        match self.variables.iter().find(|(known, _)| *known == variable) {
            Some((_, text)) => Ok(text.clone()),
            None => {
                looked.push(format!("${variable}"));
                Err(Error::bad_input("there is no secret of this name")
                    .on(name)
                    .hint(format!("it was looked for in {}", looked.join(", "))))
            }
        }
    }
}

/// The text of a file, without the newline that editors leave at its end.
fn read(file: &Path, is_private: bool) -> Result<Option<String>> {
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read the secret", file, &error)),
    };
    let subject = file.display().to_string();
    let is_others = metadata.mode() & 0o077 != 0 || metadata.uid() != rustix::process::geteuid().as_raw();
    if is_private && is_others {
        let error = Error::new(Kind::Denied, "others can read this secret, or it is another user's");
        return Err(error.hint(format!("chmod 600 {subject}")).on(subject));
    }
    let text = crate::store::file::read_up_to(file, MAX_BYTES)?;
    Ok(text.map(|text| text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)))
}
