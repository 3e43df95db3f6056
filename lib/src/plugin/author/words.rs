//! What the names of members say: which words read, which write, which are secret, and which names are alike.

use crate::base::name::snake_case;

/// First words of methods that only answer. Words such as "check" or "load" are left out: some services do much for them.
const READING: &[&str] = &[
    "get",
    "list",
    "find",
    "enumerate",
    "can",
    "is",
    "has",
    "describe",
    "query",
    "count",
    "lookup",
    "search",
    "supports",
];

/// Words that say that something changes.
const WRITING: &[&str] = &[
    "abort",
    "accept",
    "activate",
    "add",
    "allow",
    "append",
    "apply",
    "attach",
    "authorize",
    "block",
    "cancel",
    "change",
    "clear",
    "clean",
    "commit",
    "configure",
    "connect",
    "convert",
    "create",
    "deactivate",
    "define",
    "delete",
    "deny",
    "destroy",
    "detach",
    "disable",
    "disconnect",
    "download",
    "drop",
    "edit",
    "eject",
    "enable",
    "enroll",
    "erase",
    "execute",
    "flush",
    "forget",
    "format",
    "grant",
    "halt",
    "hibernate",
    "import",
    "insert",
    "install",
    "invoke",
    "join",
    "kill",
    "launch",
    "leave",
    "link",
    "lock",
    "login",
    "logout",
    "make",
    "mask",
    "merge",
    "modify",
    "mount",
    "move",
    "new",
    "open",
    "pair",
    "pause",
    "pop",
    "power",
    "prune",
    "publish",
    "push",
    "put",
    "quit",
    "reboot",
    "rebuild",
    "refresh",
    "register",
    "reject",
    "release",
    "reload",
    "remove",
    "rename",
    "repair",
    "replace",
    "rescan",
    "reset",
    "resize",
    "restart",
    "restore",
    "resume",
    "revert",
    "revoke",
    "rollback",
    "rotate",
    "run",
    "save",
    "scan",
    "send",
    "set",
    "setup",
    "shutdown",
    "signal",
    "sleep",
    "spawn",
    "start",
    "stop",
    "store",
    "submit",
    "suspend",
    "swap",
    "switch",
    "sync",
    "take",
    "terminate",
    "toggle",
    "touch",
    "trigger",
    "trim",
    "trust",
    "unblock",
    "undefine",
    "uninstall",
    "unlink",
    "unlock",
    "unmask",
    "unmount",
    "unregister",
    "unset",
    "update",
    "upgrade",
    "upload",
    "vacuum",
    "wake",
    "wipe",
    "write",
];

/// Words that say so also behind another first word, as in `FindOrCreate`; the others may be nouns there.
const WRITING_ANYWHERE: &[&str] = &[
    "activate",
    "add",
    "apply",
    "clear",
    "create",
    "deactivate",
    "delete",
    "destroy",
    "disable",
    "enable",
    "erase",
    "execute",
    "install",
    "kill",
    "reload",
    "remove",
    "reset",
    "restart",
    "set",
    "start",
    "stop",
    "terminate",
    "uninstall",
    "write",
];

/// First words of questions, whatever they are about: `CanStart`.
const ASKING: &[&str] = &["can", "is", "has", "supports"];

/// Words of values that nobody else should see.
const SECRET: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pin",
    "wep",
    "secret",
    "secrets",
    "psk",
    "token",
    "credential",
    "credentials",
];

/// `["set", "static", "hostname"]` for `SetStaticHostname`, `["real", "name"]` for `real-name`.
#[must_use]
pub fn words(name: &str) -> Vec<String> {
    let snake = snake_case(name).replace(['-', '.', '/'], "_");
    snake.split('_').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The word that says that a method of this name changes something, whatever it is called first.
#[must_use]
pub fn writing_word(member: &str) -> Option<String> {
    let mut words = words(member).into_iter();
    let first = words.next()?;
    if WRITING.contains(&first.as_str()) {
        return Some(first);
    }
    words.find(|word| !ASKING.contains(&first.as_str()) && WRITING_ANYWHERE.contains(&word.as_str()))
}

/// Whether a method of this name reads, by its first word and by the absence of words that write.
#[must_use]
pub fn is_reading(member: &str) -> bool {
    words(member).first().is_some_and(|word| READING.contains(&word.as_str())) && writing_word(member).is_none()
}

/// Whether a value of this name is nobody else's business.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    words(name).iter().any(|word| SECRET.contains(&word.as_str()))
}

/// Whether a boolean argument of this name asks the service, or polkit, to put up questions.
#[must_use]
pub fn is_interactive(name: &str) -> bool {
    matches!(words(name).join("_").as_str(), "interactive" | "interactive_auth" | "user_interaction" | "ask_password")
}

/// `zone` for `zones`, `entry` for `entries`, `address` for `addresses`.
#[must_use]
pub fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| !stem.is_empty()) {
        return format!("{stem}y");
    }
    for ending in ["sses", "xes", "ches", "shes"] {
        if word.ends_with(ending) {
            return word[..word.len() - 2].to_owned();
        }
    }
    match word.strip_suffix('s') {
        Some(stem) if !stem.is_empty() && !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

/// `users` for `user`.
#[must_use]
pub fn plural(word: &str) -> String {
    if singular(word) != word {
        return word.to_owned();
    }
    let before_y = word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    if let Some(stem) = before_y {
        return format!("{stem}ies");
    }
    if word.ends_with(['s', 'x']) || word.ends_with("ch") || word.ends_with("sh") {
        return format!("{word}es");
    }
    format!("{word}s")
}

/// The candidates most like `name`, the best first, at most three: for "did you mean".
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let own = words(name);
    let flat = own.concat();
    let mut scored: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = words(candidate);
            let far = distance(&flat, &other.concat());
            let shared = own.iter().filter(|word| other.contains(word)).count();
            let length = flat.chars().count();
            let is_near = far * 3 <= length || (far <= 2 && length > 4) || shared * 2 > own.len();
            is_near.then_some((far, candidate))
        })
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

/// How many letters must be inserted, deleted or replaced to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_say() {
        for reading in ["GetDevices", "ListUnits", "CanPowerOff", "getZones", "queryService", "Describe", "IsActive"] {
            assert!(is_reading(reading), "{reading}");
        }
        for other in
            ["Resolve", "GetAndClearErrors", "SetHints", "CheckConnectivity", "OpenDevice", "Subscribe", "state"]
        {
            assert!(!is_reading(other), "{other}");
        }
        for (name, word) in [
            ("SetTimezone", Some("set")),
            ("addRichRule", Some("add")),
            ("FindOrCreateUser", Some("create")),
            ("GetUpdates", None),
            ("ListInstalled", None),
        ] {
            assert_eq!(writing_word(name).as_deref(), word, "{name}");
        }
        assert!(is_secret("SetPassword") && is_secret("wifi-psk") && !is_secret("KeyFile"));
        assert!(is_interactive("interactive") && !is_interactive("relative"));
    }

    #[test]
    fn one_and_many() {
        for (one, many) in [
            ("zone", "zones"),
            ("entry", "entries"),
            ("address", "addresses"),
            ("key", "keys"),
            ("box", "boxes"),
            ("ip_set", "ip_sets"),
        ] {
            assert_eq!((singular(many).as_str(), plural(one).as_str()), (one, many));
        }
        for same in ["status", "news1", "class", "dns"] {
            assert!(["status", "news1", "class", "dn"].contains(&singular(same).as_str()), "{same}");
        }
    }

    #[test]
    fn alike() {
        let members = ["SetStaticHostname", "SetPrettyHostname", "SetChassis", "Describe"];
        assert_eq!(nearest("SetStatichostname", members), ["SetStaticHostname", "SetPrettyHostname"]);
        assert_eq!(nearest("StaticHostname", members)[0], "SetStaticHostname");
        assert_eq!(nearest("Sceen", ["Serial", "Scene"]), ["Scene"]);
        assert_eq!(nearest("Reboot", members), [""; 0]);
    }
}
