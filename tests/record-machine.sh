#!/bin/bash
# Makes the recordings again of the mappings whose services need a booted machine (as root, after `cargo build`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
record() { # SERVICE PLUGIN NAME OPTION...
  local service=$1 plugin=$2 name=$3
  shift 3
  tests/machine/shell.sh op-discover record "$service" --plugin "$plugin" "$@" --output - --quiet \
    > "mappings/$plugin/recordings/$name.json"
}
record org.freedesktop.systemd1 systemd fresh --path /org/freedesktop/systemd1 \
  --document /op/src/mappings/systemd/examples/snapshots-every-hour.json \
  --leave-out org.freedesktop.systemd1.Manager.Environment
record org.freedesktop.resolve1 resolved fresh --path /org/freedesktop/resolve1
