#!/bin/bash
# shell.sh [--vm] [--bind HOST:/PATH]... [CMD...]   boots a fresh machine, runs CMD in it (else a shell), and takes it away
# The programs of target/debug are first in its PATH, the repository is /op/src, the mappings are where installed ones
# are. --vm: a virtual machine and not a container; it is shown copies.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
boot=boot.sh run=run.sh option=--bind shown=()
if [ "${1:-}" = --vm ]; then boot=vm.sh run=vm-run.sh option=--files; shift; fi
shown=("$option" "$repository/mappings:/usr/share/op-dbus/mappings")
if [ $boot = boot.sh ]; then
  shown+=(--bind "$repository:/op/src" --bind "$repository/target/debug:/op/bin")
else
  for program in "$repository"/target/debug/op-*; do
    if [ -x "$program" ]; then shown+=(--files "$program:/op/bin/${program##*/}"); fi
  done
fi
while [ "${1:-}" = --bind ] || [ "${1:-}" = --bind-rw ]; do shown+=("${1/--bind/$option}" "${2:?}"); shift 2; done
[ $# -gt 0 ] || set -- bash -l
mkdir -p "$repository/target/debug"

scratch=$(mktemp -d)
mkfifo "$scratch/alive"
exec {alive}<>"$scratch/alive"
[ $boot = vm.sh ] || shown+=(--pid-file "$scratch/pid")
# In a session of its own: ^C is for what runs in the machine, not for the machine.
setsid "$here/$boot" "${shown[@]}" <"$scratch/alive" >"$scratch/ready" {alive}<&- &
machine=$!
trap 'exec {alive}>&-; kill "$machine" 2>/dev/null || true; wait "$machine" 2>/dev/null || true; rm -rf "$scratch"' EXIT
until [ -s "$scratch/ready" ]; do
  kill -0 "$machine" 2>/dev/null || { wait "$machine" || exit $?; }
  sleep 0.05
done
read -r _ target < "$scratch/ready"
[ $boot = vm.sh ] || target=$(cat "$scratch/pid")
terminal=''
if [ -t 0 ]; then terminal=1; fi
code=0
OP_DBUS_TEST_TTY=$terminal "$here/$run" "$target" "$@" {alive}<&- || code=$?
exit "$code"
