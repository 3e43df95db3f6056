#!/bin/bash
# boot.sh [--bind HOST:/PATH]... [--bind-rw HOST:/PATH]... [--pid-file FILE]
# Boots a fresh machine as a container: real systemd, real services, a snapshot of build.sh's root on btrfs. Says
# "ready" and its run folder once every unit is up, and lives until its standard input ends or it gets a signal; then nothing is left.
# Killing it by SIGKILL ends the machine too, and what that leaves on disk the next start sweeps away. FILE gets the id
# of the machine's process 1 as this machine sees it, for run.sh. A bind is read-only unless it says rw.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() { sed -n 's/^# \{0,1\}//; 2p' "${BASH_SOURCE[0]}" >&2; exit 64; }

options=()
while [ $# -gt 0 ]; do
  case $1 in
    --bind | --bind-rw | --pid-file) [ $# -ge 2 ] || usage; options+=("$1" "$2"); shift 2 ;;
    *) usage ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo "boot.sh: needs root (it makes namespaces and mounts)" >&2; exit 77; }
command -v systemd-nspawn >/dev/null || { echo "boot.sh: systemd-nspawn is missing: run tests/deps.sh" >&2; exit 69; }
machine=$("$here/build.sh")
# Whatever ends this script ends the namespaces' first process, and the kernel ends all others in there with it.
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --propagation private -- \
  bash "$here/inside.sh" "$machine" "${options[@]}" <&0 &
unshare=$!
trap 'pkill -TERM --parent "$unshare"' INT TERM HUP
while :; do
  code=0
  wait "$unshare" || code=$?
  [ -d "/proc/$unshare" ] || exit $code   # else only the wait was interrupted
done
