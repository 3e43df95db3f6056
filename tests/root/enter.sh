#!/bin/bash
# enter.sh [--bind HOST:/PATH]... [--bind-rw HOST:/PATH]... [--pid-file FILE] ROOT CMD...
# Runs CMD in a throw-away copy of ROOT (of build.sh): an overlay whose upper layer is a tmpfs, in its own mount, uts,
# net, ipc and pid namespaces. CMD's exit code passes through. Killing this process kills everything in there, and
# nothing is left: every mount lives in the namespace. A bind is read-only unless it says rw. FILE gets the first
# process's id as this machine sees it, for run.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() { sed -n 's/^# \{0,1\}//; 2p' "${BASH_SOURCE[0]}" >&2; exit 64; }

options=()
while [ $# -gt 0 ]; do
  case $1 in
    --bind | --bind-rw | --pid-file) [ $# -ge 2 ] || usage; options+=("$1" "$2"); shift 2 ;;
    -*) usage ;;
    *) break ;;
  esac
done
[ $# -ge 2 ] || usage
[ "$(id -u)" = 0 ] || { echo "enter.sh: needs root (it makes namespaces and mounts)" >&2; exit 77; }
[ -x "$1/bin/bash" ] || { echo "enter.sh: $1 is no root folder: build one with tests/root/build.sh" >&2; exit 69; }
exec unshare --mount --uts --net --ipc --pid --cgroup --fork --kill-child -- bash "$here/inside.sh" "${options[@]}" "$@"
