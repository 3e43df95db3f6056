#!/bin/bash
# machine.sh : the hookscript with the real op-apply, systemd, journal and hostnamed, in a booted machine that is thrown
# away (tests/machine). Needs root.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" != 0 ]; then
  echo "SKIP proxmox-hook-machine: needs root, to boot a machine"
  exit 0
fi
exec "$here/../../tests/machine/shell.sh" bash /op/src/proxmox-hook/test/inside.sh
