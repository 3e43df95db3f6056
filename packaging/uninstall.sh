#!/bin/bash
# uninstall.sh : removes what install.sh put below DESTDIR with the same PREFIX and PROGRAMS, and folders that are empty
# then. The state root and /etc/op-dbus are data: they stay. Refuses while a guest of this node's cluster still has the
# hookscript, since such a guest would not start.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PREFIX=${PREFIX:-/usr/local} PROGRAMS=${PROGRAMS:?}
destination=${DESTDIR:-}
guests=$(grep -lsE '^hookscript: *[^ ]*:snippets/op-dbus-hook *$' "$destination"/etc/pve/nodes/*/{lxc,qemu-server}/*.conf || true)
if [ -n "$guests" ]; then
  echo "uninstall.sh: these guests would not start any more:" $guests >&2
  echo "  on the node of each: op-install hook --unhook VMID" >&2
  exit 1
fi
while IFS=$'\t' read -r _ target _; do
  [[ $target != */op-dbus/acknowledged.json ]] || continue
  rm -f "$destination$target"
  folder=${target%/*}
  # Only folders of our own name are ours to remove.
  while case $folder in */op-dbus | */op-dbus/*) true ;; *) false ;; esac; do
    rmdir "$destination$folder" 2>/dev/null || break
    folder=${folder%/*}
  done
done < <("$here/files.sh")
