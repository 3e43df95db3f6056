//! Names that are checked once, where they enter.

use super::{Error, Result};
use std::fmt;

/// The name of a plugin: a lower-case letter, then lower-case letters, digits and single hyphens; at most 64 bytes.
///
/// Good: `hostname`, `network-manager`, `udisks2`. Bad: `Hostname`, `2fa`, `a--b`, `a-`, `../etc`, `snapshots`
/// (`@plugin-snapshots` holds every plugin's versions).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(String);

impl PluginName {
    /// Checks `text`; the error says what a name looks like.
    pub fn new(text: &str) -> Result<Self> {
        let mut previous = '-';
        let well_formed = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(|c| {
                let ok = c.is_ascii_lowercase() || c.is_ascii_digit() || (c == '-' && previous != '-');
                previous = c;
                ok
            });
        if !well_formed || text == "snapshots" {
            return Err(Error::bad_input("this is no plugin name").on(format!("{text:?}")).hint(
                "a plugin name is a lower-case letter followed by lower-case letters, digits and single hyphens, \
                 at most 64 of them, for example \"network-manager\"; \"snapshots\" is taken",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `SetStaticHostname` for `set_static_hostname`: how a mapping's method name becomes a member's.
#[must_use]
pub fn camel_case(snake: &str) -> String {
    snake
        .split('_')
        .flat_map(|word| {
            let mut chars = word.chars();
            chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars)
        })
        .collect()
}

/// `static_hostname` for `StaticHostname`, `can_ntp` for `CanNTP`: how a member's name becomes a document's key.
#[must_use]
pub fn snake_case(camel: &str) -> String {
    let chars: Vec<char> = camel.chars().collect();
    let mut out = String::with_capacity(camel.len() + 4);
    for (i, &c) in chars.iter().enumerate() {
        let after_lower = i > 0 && (chars[i - 1].is_ascii_lowercase() || chars[i - 1].is_ascii_digit());
        let before_lower =
            i > 0 && chars[i - 1].is_ascii_uppercase() && chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && (after_lower || before_lower) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Whether `text` is what `pattern` says, where `*` stands for any text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(last) => rest.ends_with(last),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_names() {
        for good in ["a", "hostname", "network-manager", "udisks2", "a-1"] {
            assert!(PluginName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "2fa", "a--b", "a-", "-a", "a/b", "../etc", "snapshots", "a.b", "é", &"a".repeat(65)] {
            assert!(PluginName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn member_names() {
        for (snake, camel) in [
            ("install_packages", "InstallPackages"),
            ("set_static_hostname", "SetStaticHostname"),
            ("reload", "Reload"),
        ] {
            assert_eq!(camel_case(snake), camel);
            assert_eq!(snake_case(camel), snake);
        }
        for (camel, snake) in
            [("CanNTP", "can_ntp"), ("NTPSynchronized", "ntp_synchronized"), ("X11Layout", "x11_layout")]
        {
            assert_eq!(snake_case(camel), snake);
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, is_match) in [
            ("ssh", "ssh", true),
            ("ssh", "sshd", false),
            ("systemd-*", "systemd-journald.service", true),
            ("*.mount", "home.mount", true),
            ("*.mount", "mount", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), is_match, "{pattern} {text}");
        }
    }
}
