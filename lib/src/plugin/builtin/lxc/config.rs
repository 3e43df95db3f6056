//! Configuration files of Proxmox's containers: text to keys and back. No I/O.
//!
//! ```text
//! #text                      a line of the description, percent-encoded
//! key: value
//! lxc.KEY: value             handed to LXC as it is; the order counts
//! [pve:pending]              what comes true at the next start; `delete: k1,k2`
//! [name]                     a snapshot
//! ```

use std::collections::BTreeMap;

/// A line of the description that keeps how op-dbus made the container; Proxmox shows it to nobody.
const ORIGIN: (&str, &str) = ("<!-- op-dbus", "-->");

/// One file, its snapshots left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// What people wrote about it.
    pub description: String,
    /// How op-dbus made it: `golden_image`, `template`.
    pub origin: BTreeMap<String, String>,
    /// Value by key.
    pub keys: BTreeMap<String, String>,
    /// Lines for LXC itself, in order.
    pub raw: Vec<(String, String)>,
    /// Keys whose value comes true at the next start.
    pub pending: Vec<String>,
}

impl Config {
    /// Reads a file as Proxmox's tools show it: what is pending counts as there.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        let mut description: Vec<String> = Vec::new();
        let mut section = None;
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = Some(name);
                continue;
            }
            let is_pending = section == Some("pve:pending");
            if section.is_some() && !is_pending {
                continue;
            }
            if let Some(text) = line.strip_prefix('#') {
                description.push(decoded(text));
                continue;
            }
            let Some((key, value)) = line.split_once([':', '=']) else { continue };
            let (key, value) = (key.trim(), value.trim());
            match key {
                "description" if !is_pending => description.push(decoded(value)),
                "delete" if is_pending => {
                    for gone in value.split([',', ';', ' ']).filter(|gone| !gone.is_empty()) {
                        let gone = gone.trim_start_matches('!');
                        config.keys.remove(gone);
                        config.pending.push(gone.to_owned());
                    }
                }
                _ if key.starts_with("lxc.") => config.raw.push((key.to_owned(), value.to_owned())),
                _ => {
                    if is_pending {
                        config.pending.push(key.to_owned());
                    }
                    config.keys.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        for line in description {
            match origin_of(&line) {
                Some(origin) => config.origin.extend(origin),
                None => {
                    config.description.push_str(&line);
                    config.description.push('\n');
                }
            }
        }
        config.description.truncate(config.description.trim_end().len());
        config
    }

    /// The file, as Proxmox itself would write it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for line in self.notes().lines() {
            text.push_str(&format!("#{}\n", encoded(line)));
        }
        for (key, value) in &self.keys {
            text.push_str(&format!("{key}: {value}\n"));
        }
        for (key, value) in &self.raw {
            text.push_str(&format!("{key}: {value}\n"));
        }
        text
    }

    /// The description with what op-dbus keeps in it.
    #[must_use]
    pub fn notes(&self) -> String {
        if self.origin.is_empty() {
            return self.description.clone();
        }
        let mut line = ORIGIN.0.to_owned();
        for (key, value) in &self.origin {
            line.push_str(&format!(" {key}={value}"));
        }
        line.push_str(&format!(" {}", ORIGIN.1));
        if self.description.is_empty() { line } else { line + "\n" + &self.description }
    }
}

fn origin_of(line: &str) -> Option<BTreeMap<String, String>> {
    let inside = line.trim().strip_prefix(ORIGIN.0)?.strip_suffix(ORIGIN.1)?;
    Some(
        inside
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// `name=eth0,bridge=vmbr0`: what is said, in order. A word without `=` belongs to `first`.
#[must_use]
pub fn options<'t>(text: &'t str, first: &'t str) -> Vec<(&'t str, &'t str)> {
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(|word| word.split_once('=').unwrap_or((first, word))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything but printable ASCII is encoded, and of that `%` and `:`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b':' => out.push_str(&format!("%{byte:02X}")),
            0x20..=0x7e => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
#the shop%3A web
#<!-- op-dbus golden_image=debian-minimal -->
arch: amd64
cores: 2
hostname: web
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth
rootfs: local-btrfs:100/subvol-100-disk-0.subvol,size=0T
lxc.mount.entry: /dev/fuse dev/fuse none bind 0 0
lxc.environment = A=b

[pve:pending]
cores: 4
delete: hostname

[before]
cores: 1
snaptime: 1
";

    #[test]
    fn a_file_is_read_as_the_tools_show_it() {
        let config = Config::parse(FILE);
        assert_eq!(config.description, "the shop: web");
        assert_eq!(config.origin["golden_image"], "debian-minimal");
        assert_eq!(config.keys["cores"], "4");
        assert_eq!(config.keys.get("hostname"), None);
        assert_eq!(config.pending, ["cores", "hostname"]);
        assert_eq!(config.raw[1], ("lxc.environment".to_owned(), "A=b".to_owned()));
        assert_eq!(options(&config.keys["net0"], "")[2], ("hwaddr", "BC:24:11:00:00:01"));
        assert_eq!(options(&config.keys["rootfs"], "volume")[0].0, "volume");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut config = Config::parse(FILE);
        config.pending.clear();
        config.description = "50% off: ä\nsecond".into();
        let text = config.to_text();
        assert!(text.starts_with("#<!-- op-dbus golden_image=debian-minimal -->\n#50%25 off%3A %C3%A4\n#second\narch"));
        assert_eq!(Config::parse(&text), config);
    }
}
