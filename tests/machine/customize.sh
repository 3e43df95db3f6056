#!/bin/bash
# customize.sh ROOT KEY.PUB : a step of build.sh, run by mmdebstrap on the host: what makes the root a machine for tests.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${1:?usage: customize.sh ROOT KEY.PUB} key=${2:?}

# Known names, so that a test can tell what it changed.
echo op-test > "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 op-test\n' > "$root/etc/hosts"
ln -sf /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
echo '/dev/vda / btrfs subvol=@,compress=zstd:1,noatime 0 0' > "$root/etc/fstab"   # a container ignores devices here
printf 'en_US.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n' > "$root/etc/locale.gen"
chroot "$root" locale-gen >/dev/null

# The only package source is a local one: what PackageKit resolves and installs needs no network.
install -m 755 "$here/../root/repo.sh" "$root/usr/local/sbin/op-repo"
chroot "$root" op-repo add hello-lib-op 1.0
chroot "$root" op-repo add hello-op 1.0
chroot "$root" op-repo add greeter-op 1.0 hello-lib-op
chroot "$root" op-repo add slow-op 1.0 '' 'sleep 60'
rm -f "$root"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repo ./' > "$root/etc/apt/sources.list"
rm -rf "$root"/var/lib/apt/lists/*
printf 'Acquire::Languages "none";\n' > "$root/etc/apt/apt.conf.d/90op-test"
chroot "$root" apt-get -qq update
chroot "$root" apt-get clean

# The network: eth0 has a neighbour, 192.0.2.1, which is its gateway and (a silent) name server. Nothing lies behind it.
# NetworkManager makes up no connections of its own, so that what a test sees is what it asked for.
printf '[main]\nno-auto-default=*\n' > "$root/etc/NetworkManager/conf.d/10-op-test.conf"
uplink=$root/etc/NetworkManager/system-connections/uplink.nmconnection
cat > "$uplink" <<'C'
[connection]
id=uplink
uuid=8f4e3c52-6d0b-4b0e-9d7a-0f5f6f1d2a01
type=ethernet
interface-name=eth0
[ipv4]
method=manual
address1=192.0.2.2/24,192.0.2.1
dns=192.0.2.1;
[ipv6]
method=link-local
C
chmod 600 "$uplink"
# The VM's two network cards, known by their addresses. The runner's own is hidden from NetworkManager and firewalld's
# zones do not matter to it: tests may break everything else and are still let in.
printf '[Match]\nMACAddress=52:54:00:00:00:02\n[Link]\nName=eth0\n' > "$root/etc/systemd/network/10-eth0.link"
printf '[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=runner0\n' > "$root/etc/systemd/network/10-runner0.link"
printf '[keyfile]\nunmanaged-devices=interface-name:runner0\n' > "$root/etc/NetworkManager/conf.d/10-runner0.conf"
cat > "$root/etc/systemd/system/runner0.service" <<'U'
[Unit]
Description=The test runner's own link
DefaultDependencies=no
BindsTo=sys-subsystem-net-devices-runner0.device
After=sys-subsystem-net-devices-runner0.device
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip link set runner0 up
ExecStart=/usr/sbin/ip address add 10.99.0.15/24 dev runner0
[Install]
WantedBy=sys-subsystem-net-devices-runner0.device
U
install -d -m 700 "$root/root/.ssh"
install -m 600 "$key" "$root/root/.ssh/authorized_keys"
printf 'PermitRootLogin prohibit-password\nUseDNS no\n' > "$root/etc/ssh/sshd_config.d/op-test.conf"

# Nothing that wakes up by itself, and nothing that waits for the world.
systemctl --root "$root" --quiet mask NetworkManager-wait-online.service systemd-firstboot.service man-db.timer \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer snapper-boot.timer \
  snapper-cleanup.timer snapper-timeline.timer
systemctl --root "$root" --quiet enable runner0.service ssh.service serial-getty@ttyS0.service
rm -rf "$root"/var/log/* "$root"/tmp/* "$root"/var/cache/debconf/*-old
install -d "$root/var/log/journal"
