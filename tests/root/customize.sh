#!/bin/bash
# customize.sh ROOT : build.sh's last step, run by mmdebstrap on the host: what makes the root a place for tests.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${1:?usage: customize.sh ROOT}

# Known names, so that a test can tell what it changed.
echo op-test > "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 op-test\n' > "$root/etc/hosts"
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
ln -sf /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
rm -f "$root/etc/resolv.conf"

# Packages installed by a test start no services.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

# localed accepts only locales that exist.
printf 'en_US.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n' > "$root/etc/locale.gen"
chroot "$root" locale-gen >/dev/null
# It looks for NAME.map or NAME.map.gz, and Debian ships keymaps as .kmap.gz, so on Debian no name would ever do.
mkdir -p "$root/usr/share/kbd/keymaps"
for keymap in us de de-latin1 fr; do echo 'keymaps 0-127' > "$root/usr/share/kbd/keymaps/$keymap.map"; done

# The only package source is a local one: what PackageKit resolves and installs needs no network.
install -m 755 "$here/repo.sh" "$root/usr/local/sbin/op-repo"
chroot "$root" /usr/local/sbin/op-repo add hello-lib-op 1.0
chroot "$root" /usr/local/sbin/op-repo add hello-op 1.0
chroot "$root" /usr/local/sbin/op-repo add greeter-op 1.0 hello-lib-op
chroot "$root" /usr/local/sbin/op-repo add slow-op 1.0 '' 'sleep 60'   # long enough to be killed while dpkg runs
rm -f "$root"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repo ./' > "$root/etc/apt/sources.list"
rm -rf "$root"/var/lib/apt/lists/*
printf 'Acquire::Languages "none";\n' > "$root/etc/apt/apt.conf.d/90op-test"
chroot "$root" apt-get -qq update
chroot "$root" apt-get clean

# ssh to localhost as root works once a test has started /usr/sbin/sshd.
install -d -m 700 "$root/root/.ssh"
chroot "$root" ssh-keygen -q -t ed25519 -N '' -C op-test -f /root/.ssh/id_ed25519
cp "$root/root/.ssh/id_ed25519.pub" "$root/root/.ssh/authorized_keys"
sed 's/^/localhost,127.0.0.1 /' "$root/etc/ssh/ssh_host_ed25519_key.pub" > "$root/root/.ssh/known_hosts"
printf 'PermitRootLogin prohibit-password\nUseDNS no\nUsePAM no\n' > "$root/etc/ssh/sshd_config.d/op-test.conf"

# A root that was never booted has no first-boot work to do.
touch "$root/etc/.updated" "$root/var/.updated"
rm -rf "$root"/var/log/* "$root"/tmp/* "$root"/var/cache/debconf/*-old
