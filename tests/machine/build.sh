#!/bin/bash
# build.sh          builds the Debian 13 machine that the tests boot, as a container and as a VM; prints its folder
# build.sh path     prints where that folder is or would be, and builds nothing
# build.sh clean    removes the folders of older recipes, and what an interrupted build left
#
# The folder is ${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}/machine-HASH, HASH being that of the recipe: this file,
# customize.sh, kernel.sh, initrd-init and the packages' repo.sh. In it:
#   root.img                btrfs with the subvolume @; the VM's disk is an overlay on it, nothing ever writes to it
#   pool.img                the same for containers: boot.sh mounts it and boots snapshots of @
#   vmlinuz initrd.zst key  what else the VM needs: kernel, first file system, and the ssh key that lets one in
# OP_DBUS_TEST_MIRROR names another Debian mirror. Needs root, mmdebstrap, loop devices and btrfs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}
mirror=${OP_DBUS_TEST_MIRROR:-http://deb.debian.org/debian}
suite=trixie

packages=(
  systemd systemd-sysv dbus dbus-user-session libpam-systemd udev kmod polkitd pkexec login passwd   # what makes it a machine
  systemd-resolved systemd-timesyncd network-manager firewalld avahi-daemon openssh-server
  packagekit packagekit-tools shared-mime-info upower udisks2 udisks2-btrfs accountsservice
  snapper power-profiles-daemon                                   # services that no shipped mapping is made for
  lxc openvswitch-switch wireguard-tools xz-utils                 # xz-utils: lxc's templates
  btrfs-progs zstd numactl sqlite3 minisign jq
  busybox-static                                                  # the VM's initrd, and lxc's smallest template
  libglib2.0-bin python3-dbus python3-gi iproute2 iputils-ping procps less ca-certificates locales tzdata
)
excludes=(
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
  --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  --dpkgopt='path-include=/usr/share/locale/locale.alias' --dpkgopt='path-exclude=/usr/share/help/*'
  --dpkgopt=force-unsafe-io
)

hash=$(cd "$here" && sha256sum build.sh customize.sh kernel.sh initrd-init ../root/repo.sh | sha256sum | cut -c1-16)
machine=$cache/machine-$hash
verb=${1:-build}

case $verb in
  path) echo "$machine"; exit ;;
  build | clean) ;;
  *) sed -n 's/^# \{0,1\}//; 2,4p' "${BASH_SOURCE[0]}" >&2; exit 64 ;;
esac
# The usual case needs neither the lock nor root: a folder with this name is complete, since it was renamed last.
[ "$verb" = build ] && [ -d "$machine" ] && { echo "$machine"; exit; }
[ "$(id -u)" = 0 ] || { echo "build.sh: $verb needs root (it mounts a disk image and makes foreign owners)" >&2; exit 77; }

mkdir -p "$cache"
exec {lock}>"$cache/lock"
flock "$lock"
# Only a build that holds the lock may have such a folder, so these were left by one that was killed.
rm -rf --one-file-system "$cache"/building-*

if [ "$verb" = clean ]; then
  for old in "$cache"/machine-*; do
    if [ "$old" = "$machine" ] || [ ! -d "$old" ]; then continue; fi
    # A machine that runs holds its folder's lock shared.
    if flock --nonblock --exclusive "$old/lock" true; then
      echo "removing $old" >&2
      rm -rf --one-file-system "$old"
    else
      echo "build.sh: a machine of $old is running: not removed" >&2
    fi
  done
  exit
fi

[ -d "$machine" ] && { echo "$machine"; exit; }   # somebody else built it while this one waited for the lock
for program in mmdebstrap mkfs.btrfs cpio zstd ssh-keygen; do
  command -v $program >/dev/null || { echo "build.sh: $program is missing: run tests/deps.sh" >&2; exit 69; }
done
[ "$(dpkg --print-architecture)" = amd64 ] || { echo "build.sh: the machine is made for amd64 alone" >&2; exit 69; }
building=$cache/building-$hash
echo "building the test machine $machine (once for each change of its recipe; a minute or two)" >&2
mkdir "$building" "$building/mnt"
: > "$building/lock"
ssh-keygen -q -t ed25519 -N '' -C op-test -f "$building/key"
truncate -s 8G "$building/root.img"
mkfs.btrfs --quiet --label op-test "$building/root.img" >/dev/null

export building here mirror suite include="$(IFS=,; echo "${packages[*]}")"
# The mount lives in a namespace of its own: whoever kills this, mount and loop device go with it. The lock is inherited,
# so the next build waits until mmdebstrap has stopped writing.
unshare --mount --propagation private -- bash -euo pipefail -s -- "${excludes[@]}" >&2 <<'BUILD'
mount -o loop,compress=zstd:1,noatime,nobarrier "$building/root.img" "$building/mnt"
btrfs --quiet subvolume create "$building/mnt/@"
root=$building/mnt/@
mmdebstrap --quiet --mode=root --skip=check/empty --variant=apt --include="$include" \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Sandbox::User "root"' "$@" \
  --customize-hook="'$here/kernel.sh' \"\$1\" '$building'" \
  --customize-hook="'$here/customize.sh' \"\$1\" '$building/key.pub'" "$suite" "$root" "$mirror" </dev/null
# mmdebstrap ends by emptying what images should not have, these among it.
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
ln -sfn ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
touch "$root/etc/.updated" "$root/var/.updated"   # else ldconfig, hwdb and sysusers run at every first boot
sync -f "$building/mnt"
BUILD
rmdir "$building/mnt"
cp --sparse=always --reflink=auto "$building/root.img" "$building/pool.img"
# Two file systems with one id must never be mounted at the same time.
btrfstune -f -m "$building/pool.img" >/dev/null
mkdir "$building/pool" "$building/runs"
mv -T "$building" "$machine"
echo "$machine"
