#!/bin/bash
# build.sh          builds the Debian 13 root folder in which the tests run real daemons; prints its path
# build.sh path     prints where that folder is or would be, and builds nothing
# build.sh clean    removes the folders of older recipes, and what an interrupted build left
#
# The folder lives in ${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}/root-HASH, HASH being that of the recipe: this
# file, customize.sh and repo.sh. OP_DBUS_TEST_MIRROR names another Debian mirror. Needs root and mmdebstrap.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}
mirror=${OP_DBUS_TEST_MIRROR:-http://deb.debian.org/debian}
suite=trixie

packages=(
  dbus systemd polkitd                                            # the bus, hostnamed timedated localed logind busctl
  packagekit packagekit-tools network-manager upower udisks2 accountsservice firewalld
  shared-mime-info                                                # PackageKit's InstallFiles knows a .deb by it
  umockdev e2fsprogs                                              # batteries for upowerd, file systems for udisksd
  locales                                                         # localed refuses what it cannot find here
  openssh-server openssh-client                                   # D-Bus over ssh
  jq procps iproute2 libglib2.0-bin tzdata login passwd
)
# Documentation and translations are two thirds of nothing that a test reads.
excludes=(
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
  --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  --dpkgopt='path-include=/usr/share/locale/locale.alias' --dpkgopt='path-exclude=/usr/share/help/*'
  --dpkgopt=force-unsafe-io
)

hash=$(cd "$here" && sha256sum build.sh customize.sh repo.sh | sha256sum | cut -c1-16)
root=$cache/root-$hash
verb=${1:-build}

case $verb in
  path) echo "$root"; exit ;;
  build | clean) ;;
  *) sed -n 's/^# \{0,1\}//; 2,4p' "${BASH_SOURCE[0]}" >&2; exit 64 ;;
esac
# The usual case needs neither the lock nor root: a folder with this name is complete, since it was renamed last.
[ "$verb" = build ] && [ -d "$root" ] && { echo "$root"; exit; }
[ "$(id -u)" = 0 ] || { echo "build.sh: $verb needs root (it makes device nodes and foreign owners in $cache)" >&2; exit 77; }

mkdir -p "$cache"
exec {lock}>"$cache/lock"
flock "$lock"
# Only a build that holds the lock may have such a folder, so these were left by one that was killed.
rm -rf --one-file-system "$cache"/building-*

if [ "$verb" = clean ]; then
  for old in "$cache"/root-*; do
    if [ "$old" != "$root" ] && [ -d "$old" ]; then
      echo "removing $old" >&2
      rm -rf --one-file-system "$old"
    fi
  done
  exit
fi

[ -d "$root" ] && { echo "$root"; exit; }   # somebody else built it while this one waited for the lock
command -v mmdebstrap >/dev/null || { echo "build.sh: mmdebstrap is missing: run tests/deps.sh" >&2; exit 69; }
building=$cache/building-$hash
echo "building the test root $root (once for each change of its recipe; a minute or two)" >&2
include=$(IFS=,; echo "${packages[*]}")
# mmdebstrap inherits the lock: when only this script is killed, the next build waits until that one stopped writing.
mmdebstrap --quiet --mode=root --variant=apt --include="$include" --aptopt='Acquire::Languages "none"' \
  --aptopt='APT::Sandbox::User "root"' "${excludes[@]}" --customize-hook="'$here/customize.sh' \"\$1\"" \
  "$suite" "$building" "$mirror" >&2
mv -T "$building" "$root"
echo "$root"
