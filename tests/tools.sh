#!/bin/bash
# tools.sh          unpacks real programs that tests run without installing them, and prints the folder that has them in bin/
# tools.sh clean    removes the folders of older recipes
#
# Open vSwitch and WireGuard in user space. Their packages would start services; unpacked, they touch nothing. The folder
# is ${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}/tools-HASH, HASH being that of this file and the Debian release.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}
packages=(openvswitch-switch wireguard-go wireguard-tools)
hash=$({ cat "$here/tools.sh"; grep -E '^(ID|VERSION_ID)=' /etc/os-release; } | sha256sum | cut -c1-16)
tools=$cache/tools-$hash
if [ "${1:-}" = clean ]; then
  for old in "$cache"/tools-*; do
    if [ "$old" != "$tools" ] && [ -d "$old" ]; then
      echo "removing $old" >&2
      rm -rf --one-file-system "$old"
    fi
  done
  exit
fi
[ -d "$tools" ] && { echo "$tools"; exit; }
[ "$(id -u)" = 0 ] || { echo "tools.sh: needs root (it writes $cache and asks apt)" >&2; exit 77; }
mkdir -p "$cache"
exec {lock}>"$cache/lock-tools"
flock "$lock"
[ -d "$tools" ] && { echo "$tools"; exit; }
rm -rf --one-file-system "$cache"/building-tools-*
building=$cache/building-tools-$hash
mkdir -p "$building/debs/partial"
fetch() {
  apt-get install -y -qq --no-install-recommends --download-only --reinstall -o APT::Sandbox::User=root \
    -o Dir::Cache::archives="$building/debs" "${packages[@]}" >&2
}
fetch || { apt-get update -qq >&2; fetch; }
for deb in "$building"/debs/*.deb; do dpkg-deb --extract "$deb" "$building"; done
rm -rf "$building/debs" "$building/usr/share/doc" "$building/usr/share/man" "$building/bin"
mkdir "$building/bin"
# Programs find their libraries beside them. Debian keeps ovs-vswitchd where its alternatives look for it.
for program in usr/bin/ovs-ofctl usr/bin/ovs-vsctl usr/bin/ovs-appctl usr/bin/ovsdb-tool usr/bin/ovsdb-client usr/sbin/ovsdb-server \
  usr/lib/openvswitch-switch/ovs-vswitchd usr/bin/wg usr/bin/wireguard-go; do
  [ -x "$building/$program" ] || { echo "tools.sh: no package brought $program" >&2; exit 1; }
  libraries=$(cd "$building" && find usr/lib lib -name '*.so*' -printf "$tools/%h\n" 2>/dev/null | sort -u | paste -sd:)
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$tools/$program" > "$building/bin/${program##*/}"
  chmod 755 "$building/bin/${program##*/}"
done
mv -T "$building" "$tools"
echo "$tools"
