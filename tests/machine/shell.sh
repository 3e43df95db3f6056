#!/bin/bash
# shell.sh [--bind HOST:/PATH]... [CMD...]   boots a fresh machine, runs CMD in it (else a shell), and takes it away
# The programs of target/debug are first in its PATH, the repository is /op/src, the mappings are where installed ones are.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
binds=(--bind "$repository:/op/src" --bind "$repository/mappings:/usr/share/op-dbus/mappings")
[ ! -d "$repository/target/debug" ] || binds+=(--bind "$repository/target/debug:/op/bin")
while [ "${1:-}" = --bind ] || [ "${1:-}" = --bind-rw ]; do binds+=("$1" "${2:?}"); shift 2; done
[ $# -gt 0 ] || set -- bash -l

scratch=$(mktemp -d)
mkfifo "$scratch/alive"
exec {alive}<>"$scratch/alive"
# In a session of its own: ^C is for what runs in the machine, not for the machine.
setsid "$here/boot.sh" "${binds[@]}" --pid-file "$scratch/pid" <"$scratch/alive" >"$scratch/ready" {alive}<&- &
boot=$!
trap 'kill "$boot" 2>/dev/null || true; wait "$boot" 2>/dev/null || true; rm -rf "$scratch"' EXIT
until [ -s "$scratch/ready" ]; do
  kill -0 "$boot" 2>/dev/null || { wait "$boot" || exit $?; }
  sleep 0.05
done
code=0
OP_DBUS_TEST_TTY=1 "$here/run.sh" "$(cat "$scratch/pid")" "$@" {alive}<&- || code=$?
exit "$code"
