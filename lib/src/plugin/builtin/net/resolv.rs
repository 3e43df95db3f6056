//! Name servers and search domains in `/etc/resolv.conf`, where that file is the host's own and no daemon's.

use super::settings::Settings;
use crate::base::{Error, Result};
use crate::state::Writable;
use crate::store::file;
use serde_json::{Value, json};

/// What the file says.
pub fn query(settings: &Settings) -> Result<Value> {
    Ok(parse(&file::read(&settings.resolv_conf)?.unwrap_or_default()))
}

fn parse(text: &str) -> Value {
    let (mut servers, mut search) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
            // The last one counts.
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    json!({"config": {"server": servers, "search": search}})
}

/// Whether the file may be written, and whose it is when not.
pub fn writable(settings: &Settings) -> Writable {
    let path = &settings.resolv_conf;
    let no = |reason: String, hint: &str| Writable::No { reason, hint: hint.into() };
    if let Ok(target) = std::fs::read_link(path) {
        let reason = format!("{} leads to {}, which a daemon writes", path.display(), target.display());
        return no(reason, "tell that daemon: the plugins resolved and networkmanager do, for links and connections");
    }
    let text = file::read(path).ok().flatten().unwrap_or_default();
    let daemons = ["NetworkManager", "systemd-resolved", "resolvconf(8)"];
    match daemons.iter().find(|daemon| text.lines().any(|line| line.starts_with('#') && line.contains(**daemon))) {
        Some(daemon) => no(
            format!("{} says that {daemon} writes it", path.display()),
            "tell that daemon: the plugins resolved and networkmanager do, for links and connections",
        ),
        None => Writable::Yes,
    }
}

/// The file with other name servers and domains; what else is in it stays.
pub fn content(settings: &Settings, to: &Value) -> Result<String> {
    let old = file::read(&settings.resolv_conf)?.unwrap_or_default();
    if !matches!(writable(settings), Writable::Yes) {
        return Err(Error::refused("a daemon writes this file").on(settings.resolv_conf.display().to_string()));
    }
    Ok(rewritten(&old, to))
}

/// Each word's lines come where they were, so that a way back leads to the same text.
fn rewritten(old: &str, to: &Value) -> String {
    let words = |name: &str| -> Vec<&str> {
        to["config"][name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let search = words("search");
    let mut search = (!search.is_empty()).then(|| format!("search {}\n", search.join(" ")));
    let mut servers: Option<String> =
        Some(words("server").iter().map(|server| format!("nameserver {server}\n")).collect());
    let has_search = old.lines().any(is_search);
    let mut text = String::new();
    for line in old.lines() {
        match line.split_ascii_whitespace().next() {
            Some("nameserver") => {
                if !has_search {
                    text.extend(search.take());
                }
                text.extend(servers.take());
            }
            _ if is_search(line) => text.extend(search.take()),
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    text.extend(search);
    text.extend(servers);
    text
}

fn is_search(line: &str) -> bool {
    matches!(line.split_ascii_whitespace().next(), Some("search" | "domain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_is_in_the_file_stays() {
        let old = "# ours\nsearch a.example\nnameserver 192.0.2.1\noptions edns0\n";
        assert_eq!(parse(old), json!({"config": {"server": ["192.0.2.1"], "search": ["a.example"]}}));
        let to = json!({"config": {"server": ["192.0.2.2", "2001:db8::1"], "search": ["b.example", "c.example"]}});
        let new = rewritten(old, &to);
        let expected =
            "# ours\nsearch b.example c.example\nnameserver 192.0.2.2\nnameserver 2001:db8::1\noptions edns0\n";
        assert_eq!(new, expected);
        assert_eq!(rewritten(&new, &parse(old)), old, "and back");
        let bare = "nameserver 192.0.2.1\n";
        assert_eq!(rewritten(&rewritten(bare, &to), &parse(bare)), bare);
        assert_eq!(parse(&new), to);
    }
}
