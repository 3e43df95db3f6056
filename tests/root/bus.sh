#!/bin/bash
# bus.sh [--services "SHORT-NAME..."] CMD... : inside a root (enter.sh), runs CMD beside a private system bus.
# The daemons in the file `services` are started by the first message to them, and again after they left or were
# killed; --services starts some before CMD. CMD's exit code passes through; what was started is ended by its id.
# What dbus-daemon and the daemons say is in /run/op-bus/log.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
eager=polkit   # nearly every other daemon asks it first
if [ "${1:-}" = --services ]; then eager="$eager ${2:?}"; shift 2; fi
[ $# -gt 0 ] || { sed -n 's/^# \{0,1\}//; 2p' "${BASH_SOURCE[0]}" >&2; exit 64; }
[ -d /run/dbus ] && [ ! -e /run/dbus/system_bus_socket ] || { echo "bus.sh: a bus is here already: run it inside enter.sh" >&2; exit 64; }

mkdir -p /run/op-bus/services
declare -A bus_name
while read -r short name command; do
  case $short in '#'* | '') continue ;; esac
  bus_name[$short]=$name
  printf '[D-BUS Service]\nName=%s\nExec=%s\nUser=root\n' "$name" "$command" > "/run/op-bus/services/$name.service"
done < "$here/services"

# dbus-daemon says its address once it listens; the descriptor that carries it is not handed on to the daemons.
exec {address}< <(exec dbus-daemon --config-file="$here/bus.conf" --nofork --nopidfile --print-address=3 \
  3>&1 >/run/op-bus/log 2>&1 </dev/null)
bus=$!
# Daemons do not stay dbus-daemon's children, but they and their children have its mark in their environment.
started() { grep -lsz '^DBUS_STARTER_BUS_TYPE=' /proc/[0-9]*/environ | cut -d/ -f3 || true; }
stop() {
  local pids pid
  pids="$bus $(started)"
  # shellcheck disable=SC2086  # a list of numbers
  kill $pids 2>/dev/null || true
  for _ in {1..50}; do
    for pid in $pids; do [ ! -d "/proc/$pid" ] || break; done
    [ -d "/proc/$pid" ] || return 0
    sleep 0.02
  done
  # shellcheck disable=SC2086
  kill -KILL $pids 2>/dev/null || true
}
trap stop EXIT
read -r -u "$address" _ || { cat /run/op-bus/log >&2; exit 69; }
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket

for short in $eager; do
  [ -n "${bus_name[$short]:-}" ] || { echo "bus.sh: no service $short: see $here/services" >&2; exit 64; }
  busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus StartServiceByName su \
    "${bus_name[$short]}" 0 || { echo "bus.sh: ${bus_name[$short]} did not start" >&2; cat /run/op-bus/log >&2; exit 69; }
done
code=0
"$@" || code=$?
exit "$code"
