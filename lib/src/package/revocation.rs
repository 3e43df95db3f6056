//! Trust taken back: a signed list of keys and packages that count no longer.
//!
//! ```text
//! op-dbus-revoked/1 number=3
//! key E7620F1842B4E81F the laptop was stolen
//! package 1573e1f62c67... it opens the door
//! ```
//!
//! Any key of the ring may take trust away, also one that was itself revoked or has expired: whoever stole it can do no
//! harm with that but make others careful. A list of a higher number takes the place of one with a lower, never the
//! other way round.

use super::keyring::TrustedKey;
use super::signature;
use super::signing::SigningKey;
use crate::base::digest::Plain;
use crate::base::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write;

const HEADER: &str = "op-dbus-revoked/1";

/// What counts no longer, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Which list this is; the next one has a higher number.
    pub number: u64,
    /// Numbers of keys.
    pub keys: BTreeMap<String, String>,
    /// SHA-256 of packages.
    pub packages: BTreeMap<String, String>,
}

impl Revocations {
    /// Reads the text of a list; `file` names it in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let bad = |line: usize, why: &str| Error::bad_input(why).on(format!("{file}, line {line}"));
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let number = lines.next().and_then(|(_, line)| line.strip_prefix(HEADER)?.trim().strip_prefix("number="));
        let number = number.and_then(|number| number.parse().ok());
        let mut list = Self {
            number: number
                .ok_or_else(|| bad(1, "a list of what was revoked begins with op-dbus-revoked/1 number=N"))?,
            ..Self::default()
        };
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.splitn(3, ' ');
            let (kind, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let why = words.next().unwrap_or_default().trim().to_owned();
            list.add(kind, what, why).map_err(|e| e.on(format!("{file}, line {at}")))?;
        }
        Ok(list)
    }

    /// Adds a `key` by its number or a `package` by its SHA-256.
    pub fn add(&mut self, kind: &str, what: &str, why: String) -> Result<()> {
        let is_hex = |length| what.len() == length && what.bytes().all(|b| b.is_ascii_hexdigit());
        match kind {
            "key" if is_hex(16) => self.keys.insert(what.to_ascii_uppercase(), why),
            "package" if is_hex(64) => self.packages.insert(what.to_ascii_lowercase(), why),
            _ => {
                return Err(Error::bad_input("this is neither a key nor a package").on(format!("{kind} {what}")).hint(
                    "write: key NUMBER WHY (16 hexadecimal digits), or: package SHA256 WHY (64 hexadecimal digits)",
                ));
            }
        };
        Ok(())
    }

    /// The text of the list.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER} number={}\n", self.number);
        for (kind, entries) in [("key", &self.keys), ("package", &self.packages)] {
            for (what, why) in entries {
                // A reason is one line, whatever it was given as.
                let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
                let _ = writeln!(text, "{}", format!("{kind} {what} {why}").trim_end());
            }
        }
        text
    }

    /// The text of the `.minisig` of [`text`](Self::text).
    pub fn sign(&self, key: &SigningKey) -> Result<String> {
        let text = self.text();
        key.sign_with_comment(text.as_bytes(), &comment(self.number, text.as_bytes()))
    }

    /// Reads a list whose signature is by one of `keys`.
    pub fn verified(text: &str, signature: &str, keys: &[TrustedKey], file: &str) -> Result<Self> {
        let (_, said) = signature::verify_with(text.as_bytes(), signature, keys).map_err(|e| e.or_on(file))?;
        let list = Self::parse(text, file)?;
        if said != comment(list.number, text.as_bytes()) {
            return Err(Error::untrusted("the signature is not that of a list of what was revoked")
                .on(file)
                .hint("sign the list with op-snapshot revoke"));
        }
        Ok(list)
    }

    /// Adds everything of `other`.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.packages.extend(other.packages);
    }
}

fn comment(number: u64, bytes: &[u8]) -> String {
    format!("{HEADER} number={number} sha256={}", Plain::of(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let package = "0123456789abcdef".repeat(4);
        let mut list = Revocations { number: 3, ..Revocations::default() };
        list.add("key", "e7620f1842b4e81f", "stolen\nkey FFFFFFFFFFFFFFFF".into()).unwrap();
        list.add("package", &package, String::new()).unwrap();
        let text = list.text();
        assert_eq!(
            text,
            format!(
                "op-dbus-revoked/1 number=3\nkey E7620F1842B4E81F stolen key FFFFFFFFFFFFFFFF\npackage {package}\n"
            )
        );
        assert_eq!(Revocations::parse(&text, "x").unwrap().text(), text);
        let commented = text.replace("\nkey", "\n# why\n\nkey");
        assert_eq!(Revocations::parse(&commented, "x").unwrap().text(), text);
        for bad in [
            "",
            "op-dbus-revoked/2 number=1",
            "op-dbus-revoked/1 number=x",
            &format!("{text}key 1 x"),
            &format!("{text}lamp"),
        ] {
            assert!(Revocations::parse(bad, "x").is_err(), "{bad}");
        }
    }
}
