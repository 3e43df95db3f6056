//! The four pre-checks a mapping can ask for before a call. Each one blocks.

use super::perform::method_of;
use crate::base::{Error, Result, size};
use crate::bus::{Bus, names};
use crate::plugin::mapping::Mapping;
use crate::state::Action;
use std::path::Path;

/// What must be free at least when the mapping names no amount.
const DEFAULT_FREE_BYTES: u64 = 100 << 20;

/// Runs the pre-checks of an action's method.
pub fn run(bus: &Bus, mapping: &Mapping, action: &Action) -> Result<()> {
    let Some(method) = method_of(mapping, action) else { return Ok(()) };
    let section = method.section;
    let mut errors = Vec::new();
    for check in section.pre_check.as_slice() {
        let outcome = match check.as_str() {
            "check_disk_space" | "check_network" | "check_root" if bus.is_remote() => {
                Err(Error::refused("this cannot be checked on another machine")
                    .hint("run op-apply on that machine: ssh HOST op-apply"))
            }
            "check_disk_space" => {
                let announced = action
                    .preview
                    .as_ref()
                    .map_or(0, |p| p.download_bytes.unwrap_or(0).saturating_add(p.installed_bytes.unwrap_or(0)));
                let needed = section.disk_free_bytes.unwrap_or(DEFAULT_FREE_BYTES).saturating_add(announced);
                disk_space(Path::new(section.disk_path.as_deref().unwrap_or("/")), needed)
            }
            "check_network" => network(Path::new("/proc/net")),
            "check_service_running" => {
                service_running(bus, section.needs_service.as_deref().unwrap_or(&mapping.service))
            }
            "check_root" => root(rustix::process::geteuid().is_root()),
            other => Err(Error::bad_input(format!("there is no pre-check {other:?}"))),
        };
        if let Err(error) = outcome {
            errors.push(error.or_on(format!("{check} before {}", action.call.member)));
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

fn disk_space(path: &Path, needed: u64) -> Result<()> {
    let kind = sysinfo::DiskRefreshKind::nothing().with_storage();
    let disks = sysinfo::Disks::new_with_refreshed_list_specifics(kind)
        .map_err(|error| Error::failed(format!("could not read the disks: {error}")))?;
    let holds = |disk: &&sysinfo::Disk| path.starts_with(disk.mount_point());
    // The longest mount point that holds the path; of several mounts on it, the last one is on top.
    let disk = disks.iter().filter(holds).max_by_key(|disk| disk.mount_point().components().count());
    let Some(disk) = disk else {
        return Err(Error::refused(format!("no disk is known to hold {}", path.display()))
            .hint("set the method's disk_path in the mapping to a mounted path"));
    };
    let free = disk.available_space();
    if free >= needed {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} has {} free, and {} are needed",
        disk.mount_point().display(),
        size::for_people(free),
        size::for_people(needed)
    ))
    .hint("free some space, then run it again"))
}

/// Whether any default route exists, in the kernel's tables under `proc_net`.
fn network(proc_net: &Path) -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(proc_net.join(name)).unwrap_or_default();
    if has_default_route(&read("route"), &read("ipv6_route")) {
        return Ok(());
    }
    Err(Error::refused("this machine has no default route, so it has no network")
        .hint("bring a link up; ip route shows the routes"))
}

/// `v4` and `v6` are the texts of `/proc/net/route` and `/proc/net/ipv6_route`.
fn has_default_route(v4: &str, v6: &str) -> bool {
    let v4_default = v4.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, mask) = (fields.next(), fields.nth(5));
        destination == Some("00000000") && mask == Some("00000000")
    });
    let v6_default = v6.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The kernel's own "unreachable" default on lo does not lead anywhere.
        fields.len() == 10 && fields[0].bytes().all(|b| b == b'0') && fields[1] == "00" && fields[9] != "lo"
    });
    v4_default || v6_default
}

fn service_running(bus: &Bus, service: &str) -> Result<()> {
    names::owner_of(bus, service)
        .map(|_| ())
        .map_err(|_| Error::refused(format!("{service} is not running")).hint("start it, then run it again"))
}

fn root(is_root: bool) -> Result<()> {
    if is_root { Ok(()) } else { Err(Error::refused("this needs root").hint("run it with sudo")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let default = format!("{header}eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        let local = format!("{header}eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
        assert!(has_default_route(&default, ""));
        assert!(!has_default_route(&local, ""));
        let zeros = "0".repeat(32);
        let v6 = |dev: &str| format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 00000003 {dev}\n");
        assert!(has_default_route("", &v6("eth0")));
        assert!(!has_default_route("", &v6("lo")));
    }

    #[test]
    fn disk_space_blocks_when_too_much_is_wanted() {
        assert!(disk_space(Path::new("/"), 0).is_ok());
        let error = disk_space(Path::new("/"), u64::MAX).unwrap_err();
        assert_eq!(error.kind, crate::base::Kind::Refused);
    }

    #[test]
    fn root_blocks() {
        assert!(root(true).is_ok());
        assert!(root(false).is_err());
    }
}
