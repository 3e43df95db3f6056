#!/bin/bash
# Makes the recordings of the mappings again that need a booted machine: those of its manager, and of what it starts
# (as root, after `cargo build`). tests/record.sh makes the others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" != inside ]; then
  # The repository cannot be written to from in there.
  for plugin in systemd resolved; do
    new=$(mktemp)
    tests/machine/shell.sh bash /op/src/tests/record-machine.sh inside "$plugin" > "$new"
    install -m 644 "$new" "mappings/$plugin/recordings/machine.json"
    rm "$new"
  done
  exit
fi
cd /root
# record SERVICE PLUGIN [DOCUMENT...] [-- OPTION...]: a document is JSON text.
record() {
  local service=$1 plugin=$2 options=()
  shift 2
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    echo "$1" > "want-$#.json"
    options+=(--document "want-$#.json")
    shift
  done
  op-discover record "$service" --plugin "$plugin" "${options[@]}" "${@:2}"
}
case $2 in
  systemd)
    # The manager alone: its lists say all of the units that the mapping reads.
    examples=/op/src/mappings/systemd/examples
    record org.freedesktop.systemd1 systemd \
      "$(< $examples/snapshots-every-hour.json)" "$(< $examples/no-service-discovery.json)" "$(< $examples/text-console.json)" \
      '{"units": {"getty@tty2.service": {"active": false}, "sleep.target": {"active": false}, "ssh.service": {"active": true}}}' \
      '{"units": {"ssh.service": {"active": false}}}' \
      '{"units": {"poweroff.target": {"active": true}}}' \
      '{"units": {"no-such.service": {"active": true}}}' \
      -- --path /org/freedesktop/systemd1 --leave-out org.freedesktop.systemd1.Manager.Environment ;;
  resolved)
    # The only link that has the same name and index wherever this is replayed is lo.
    for link in /sys/class/net/*; do
      [ "${link##*/}" = lo ] || ip link delete "${link##*/}" 2> /dev/null || true # the other end of a pair is gone as well
    done
    until [ "$(busctl --list tree org.freedesktop.resolve1 | grep -c /link/)" = 1 ]; do sleep 0.1; done
    record org.freedesktop.resolve1 resolved '{"links": {"lo": {"llmnr": "no"}}}' -- --path /org/freedesktop/resolve1 ;;
esac
