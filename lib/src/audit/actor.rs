//! Who does something: the user and how they came here, the unit, the program that called, the machine. From /proc and
//! what the programs were given; nothing of it is a secret.

use serde::{Deserialize, Serialize};
use std::fs;

/// Who did something, as far as the machine knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Actor {
    /// When the machine was started, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<u64>,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The user who logged in, whoever they became since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// Name and number of the process that started this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Where an ssh connection came from: address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
    /// The user it ran as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The systemd unit or slice it ran in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Actor {
    /// Who runs this process; `ssh_connection` is the variable `SSH_CONNECTION`.
    #[must_use]
    pub fn of_process(ssh_connection: Option<&str>) -> Self {
        let login_uid: Option<u32> = text("/proc/self/loginuid").and_then(|text| text.parse().ok());
        let client = ssh_connection.map(|text| text.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
        Self {
            boot_time: sysinfo::System::boot_time().ok().filter(|seconds| *seconds > 0),
            host: sysinfo::System::host_name().ok(),
            // All ones: nobody logged in.
            login_uid: login_uid.filter(|uid| *uid != u32::MAX),
            parent: parent(),
            ssh: client.filter(|client| !client.is_empty()),
            uid: Some(rustix::process::geteuid().as_raw()),
            unit: text("/proc/self/cgroup").and_then(|text| unit_of(&text)),
        }
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn parent() -> Option<String> {
    let pid = rustix::process::getppid()?.as_raw_nonzero().get();
    let pid = sysinfo::Pid::from_u32(u32::try_from(pid).ok()?);
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_processes_specifics(
        sysinfo::ProcessesToUpdate::Some(&[pid]),
        false,
        sysinfo::ProcessRefreshKind::nothing(),
    );
    Some(format!("{} {pid}", system.process(pid)?.name().to_str()?))
}

/// The last unit or slice on the way to the control group, in whichever hierarchy systemd keeps its own.
fn unit_of(cgroup: &str) -> Option<String> {
    let is_unit = |part: &&str| [".service", ".scope", ".slice"].iter().any(|suffix| part.ends_with(suffix));
    let of_line = |line: &str| line.splitn(3, ':').nth(2)?.split('/').rfind(is_unit).map(str::to_owned);
    cgroup.lines().filter(|line| line.starts_with("0::") || line.contains(":name=systemd:")).find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(unit_of("0::/system.slice/op-dbus.service\n").as_deref(), Some("op-dbus.service"));
        assert_eq!(
            unit_of("12:cpu:/\n1:name=systemd:/user.slice/user-0.slice/session-3.scope\n0::/").as_deref(),
            Some("session-3.scope")
        );
        assert_eq!(unit_of("9:name=systemd:/\n0::/system.slice/a.service\n").as_deref(), Some("a.service"));
        assert_eq!(unit_of("0::/"), None);
    }

    #[test]
    fn this_process_has_a_user_and_a_parent() {
        let actor = Actor::of_process(Some("192.0.2.7 50000 192.0.2.1 22"));
        assert_eq!(actor.ssh.as_deref(), Some("192.0.2.7 50000"));
        assert!(actor.uid.is_some() && actor.parent.is_some(), "{actor:?}");
    }
}
