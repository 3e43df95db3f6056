//! The keys whose signatures count: `*.pub` files of minisign, in a folder that nobody else can write.

use crate::base::{Error, Kind, Result};
use crate::store::{file, layout};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::PublicKey;
use std::path::{Path, PathBuf};

/// A key that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Its number, as `minisign` prints it: 16 hexadecimal digits.
    pub id: String,
    /// Its untrusted comment.
    pub comment: String,
    /// The file it is in.
    pub file: PathBuf,
    key: PublicKey,
}

impl TrustedKey {
    /// Reads the text of a `.pub` file: a comment and a key, or a key alone.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let bad = |why: &str| {
            Error::bad_input(format!("this is no public key of minisign: {why}"))
                .on(file.display().to_string())
                .hint("it is the .pub file that minisign -G or op-snapshot keygen writes")
        };
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let (comment, line) = match lines[..] {
            [line] => ("", line),
            [comment, line] => (comment.strip_prefix("untrusted comment: ").unwrap_or(comment), line),
            _ => return Err(bad("it has one comment and one key")),
        };
        let line = line.trim();
        let key = PublicKey::from_base64(line).map_err(|e| bad(&e.to_string()))?;
        let bytes = STANDARD.decode(line).map_err(|e| bad(&e.to_string()))?;
        let number = bytes.get(2..10).and_then(|number| number.try_into().ok()).map_or(0, u64::from_le_bytes);
        Ok(Self { id: format!("{number:016X}"), comment: comment.to_owned(), file: file.to_owned(), key })
    }

    pub(super) fn verifier(&self) -> &PublicKey {
        &self.key
    }
}

/// The keys that count.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<TrustedKey>,
    folder: PathBuf,
}

impl Keyring {
    /// The keys of a folder; none when there is no folder. A folder or file that others can write is refused.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let mut ring = Self { keys: Vec::new(), folder: folder.to_owned() };
        let mut files = Vec::new();
        match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ring),
            Err(error) => return Err(Error::io("read the trusted keys", folder, &error)),
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(|e| Error::io("read the trusted keys", folder, &e))?;
                    files.push(entry.path());
                }
            }
        }
        must_be_own(folder)?;
        files.sort();
        for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "pub")) {
            must_be_own(path)?;
            ring.add(path)?;
        }
        Ok(ring)
    }

    /// Keys in files that a person named: those count, and no others.
    pub fn of_files(files: &[PathBuf]) -> Result<Self> {
        let mut ring = Self::default();
        files.iter().try_for_each(|file| ring.add(file))?;
        Ok(ring)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let text = file::read(path)?
            .ok_or_else(|| Error::bad_input("there is no such key file").on(path.display().to_string()))?;
        self.keys.push(TrustedKey::parse(&text, path)?);
        Ok(())
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// How a key comes to be trusted.
    #[must_use]
    pub fn way_in(&self) -> String {
        let named: Vec<String> = self.keys.iter().map(|key| key.id.clone()).collect();
        let known = if named.is_empty() { "none".into() } else { named.join(", ") };
        if self.folder.as_os_str().is_empty() {
            return format!("trusted here: {known}; say --key FILE with the publisher's .pub");
        }
        format!(
            "trusted here: {known}; get the publisher's .pub in a way you trust, and put it into {} or say --key FILE",
            self.folder.display()
        )
    }
}

fn must_be_own(path: &Path) -> Result<()> {
    if layout::is_trusted(path) {
        return Ok(());
    }
    Err(Error::new(Kind::Denied, "others can write it, so what it trusts cannot be trusted")
        .on(path.display().to_string())
        .hint(format!("chown root {0} && chmod go-w {0}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn keys_are_read_as_minisign_writes_them() {
        let parse = |text: &str| TrustedKey::parse(text, Path::new("x.pub"));
        let key = parse(&format!("untrusted comment: minisign public key E7620F1842B4E81F\n{KEY}\n")).unwrap();
        assert_eq!((&*key.id, &*key.comment), ("E7620F1842B4E81F", "minisign public key E7620F1842B4E81F"));
        assert_eq!(parse(KEY).unwrap().id, key.id);
        for bad in ["", "untrusted comment: x", &KEY[1..], &format!("a\nb\n{KEY}"), &KEY.replace("RW", "RX")] {
            assert_eq!(parse(bad).unwrap_err().kind, Kind::BadInput, "{bad}");
        }
    }

    #[test]
    fn a_folder_of_keys() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Keyring::of_folder(&folder.path().join("none")).unwrap().keys().is_empty());
        std::fs::write(folder.path().join("a.pub"), KEY).unwrap();
        std::fs::write(folder.path().join("README"), "no key").unwrap();
        assert_eq!(Keyring::of_folder(folder.path()).unwrap().keys().len(), 1);
        assert!(Keyring::of_files(&[folder.path().join("b.pub")]).is_err());
        std::fs::write(folder.path().join("b.pub"), "no key").unwrap();
        assert!(Keyring::of_folder(folder.path()).is_err());
    }
}
