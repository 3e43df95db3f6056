//! The keys whose signatures count: `*.pub` files of minisign, in a folder that nobody else can write.
//!
//! ```text
//! /etc/op-dbus/trusted-keys.d/
//!   E7620F1842B4E81F.pub              its comment may say until when it counts: expires=2027-06-30
//!   revoked.list revoked.list.minisig what counts no longer, signed by one of the keys
//! ```

mod edit;

pub use edit::{add, remove, take_over};

use super::revocation::Revocations;
use crate::base::{Error, Kind, Result, time};
use crate::store::{file, layout};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::PublicKey;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The list of what was revoked, in the folder of keys.
pub const REVOKED: &str = "revoked.list";

/// A key that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Its number, as `minisign` prints it: 16 hexadecimal digits.
    pub id: String,
    /// Its untrusted comment.
    pub comment: String,
    /// The last day on which it counts, as its comment says: `expires=2027-06-30`.
    pub expires: Option<String>,
    /// The file it is in.
    pub file: PathBuf,
    key: PublicKey,
    line: String,
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
        let expires = comment.split([' ', ',', ';']).find_map(|word| word.strip_prefix("expires="));
        if expires.is_some_and(|day| end_of(day).is_none()) {
            return Err(bad("its comment says expires=, and no day like 2027-06-30"));
        }
        let (comment, expires) = (comment.to_owned(), expires.map(str::to_owned));
        Ok(Self { id: format!("{number:016X}"), comment, expires, file: file.to_owned(), key, line: line.to_owned() })
    }

    /// The text of its `.pub` file with another comment.
    #[must_use]
    pub fn text(&self, comment: &str) -> String {
        let comment = comment.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("untrusted comment: {comment}\n{}\n", self.line)
    }

    /// Whether it counts no more at a moment.
    #[must_use]
    pub fn has_expired(&self, at: SystemTime) -> bool {
        self.expires.as_deref().and_then(end_of).is_some_and(|end| at >= end)
    }

    pub(super) fn verifier(&self) -> &PublicKey {
        &self.key
    }
}

/// When a day like `2027-06-30` is over.
#[must_use]
pub fn end_of(day: &str) -> Option<SystemTime> {
    let start = time::parse_rfc3339(&format!("{day}T00:00:00Z")).filter(|_| day.len() == 10)?;
    // A day that no month has is another day when it is written again.
    time::rfc3339(start).starts_with(day).then_some(start + Duration::from_secs(86_400))
}

/// The keys that count.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<TrustedKey>,
    folder: PathBuf,
    revoked: Revocations,
    at: Option<SystemTime>,
}

impl Keyring {
    /// The keys of a folder; none when there is no folder. A folder or file that others can write is refused.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let mut ring = Self { folder: folder.to_owned(), ..Self::default() };
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
        let list = folder.join(REVOKED);
        if let Some(text) = file::read(&list)? {
            must_be_own(&list)?;
            let signed = folder.join(format!("{REVOKED}.minisig"));
            let signature = file::read(&signed)?.ok_or_else(|| {
                let what = Error::untrusted("the list of what was revoked has no signature");
                what.on(list.display().to_string()).hint("get its .minisig, or remove the list")
            })?;
            ring.revoked = Revocations::verified(&text, &signature, &ring.keys, &list.display().to_string())?;
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

    /// The same ring as it was, or will be, at a moment: keys that expired since count.
    #[must_use]
    pub fn at(&self, moment: SystemTime) -> Self {
        Self { at: Some(moment), ..self.clone() }
    }

    /// The same ring with one more key.
    #[must_use]
    pub fn with(&self, key: TrustedKey) -> Self {
        let mut ring = self.clone();
        ring.keys.push(key);
        ring
    }

    /// What was revoked.
    #[must_use]
    pub fn revoked(&self) -> &Revocations {
        &self.revoked
    }

    /// Takes back what `list` says.
    pub fn revoke(&mut self, list: Revocations) {
        self.revoked.extend(list);
    }

    /// Refuses a key that was revoked or has expired.
    pub fn must_count(&self, key: &TrustedKey) -> Result<()> {
        let refused = |why: String| {
            Error::untrusted(format!("it was signed with the key {}, {why}", key.id))
                .hint("get it again, signed with a key that counts")
        };
        if let Some(why) = self.revoked.keys.get(&key.id) {
            let why = if why.is_empty() { "which was revoked".into() } else { format!("which was revoked: {why}") };
            return Err(refused(why));
        }
        if key.has_expired(self.at.unwrap_or_else(SystemTime::now)) {
            return Err(refused(format!("which expired after {}", key.expires.as_deref().unwrap_or_default())));
        }
        Ok(())
    }

    /// Refuses a package that was revoked; `sha256` is of its bytes.
    pub fn must_not_be_revoked(&self, sha256: &str) -> Result<()> {
        match self.revoked.packages.get(sha256) {
            Some(why) => Err(Error::untrusted(format!("this package was revoked: {why}"))
                .hint("install another version of it, or none")),
            None => Ok(()),
        }
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
    fn days_on_which_keys_end() {
        let key =
            |comment: &str| TrustedKey::parse(&format!("untrusted comment: {comment}\n{KEY}"), Path::new("x.pub"));
        let expiring = key("lamps, expires=2027-06-30, 2nd key").unwrap();
        assert_eq!(expiring.expires.as_deref(), Some("2027-06-30"));
        let at = |moment: &str| time::parse_rfc3339(moment).unwrap();
        assert!(!expiring.has_expired(at("2027-06-30T23:59:59Z")) && expiring.has_expired(at("2027-07-01T00:00:00Z")));
        assert!(!key("lamps").unwrap().has_expired(at("9999-01-01T00:00:00Z")));
        for bad in ["2027-6-30", "2027-02-30", "2027-06-30x", "", "soon"] {
            assert!(key(&format!("expires={bad}")).is_err(), "{bad}");
        }
        assert_eq!(TrustedKey::parse(&expiring.text("a\nb"), Path::new("x")).unwrap().comment, "a b");
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
