#!/bin/bash
# Makes the recordings of the shipped mappings again, from the real daemons in the throw-away root (as root, after
# `cargo build`). The scenarios that use them lie beside them; `op-install test mappings/NAME` runs those.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" != inside ]; then
  root=$(tests/root/build.sh)
  exec tests/root/enter.sh --bind "$PWD/target/debug:/op/bin" --bind "$PWD:/op/src" --bind-rw "$PWD/mappings:/op/out" \
    --bind "$PWD/mappings:/usr/share/op-dbus/mappings" "$root" \
    env -i HOME=/root PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" \
    /op/src/tests/root/bus.sh bash /op/src/tests/record.sh inside
fi
cd /root
# record SERVICE PLUGIN NAME [DOCUMENT...] [-- OPTION...]: a document is JSON text.
record() {
  local service=$1 plugin=$2 name=$3 options=()
  shift 3
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    echo "$1" > "want-$#.json"
    options+=(--document "want-$#.json")
    shift
  done
  op-discover record "$service" --plugin "$plugin" "${options[@]}" "${@:2}" --output "/op/out/$plugin/recordings/$name.json"
}

# What tells this machine from others says nothing about the mapping.
hostname=()
for property in BootID MachineID KernelName KernelRelease KernelVersion HardwareVendor HardwareModel HardwareSerial \
  FirmwareVersion FirmwareVendor FirmwareDate ProductUUID VSockCID; do
  hostname+=(--leave-out "org.freedesktop.hostname1.$property")
done
record org.freedesktop.hostname1 hostname fresh -- "${hostname[@]}"
record org.freedesktop.timedate1 timedate fresh -- \
  --leave-out org.freedesktop.timedate1.TimeUSec --leave-out org.freedesktop.timedate1.RTCTimeUSec
record org.freedesktop.locale1 locale fresh
record org.freedesktop.PackageKit packagekit test-repository \
  '{"packages": ["greeter-op"]}' '{"packages": ["greter-op"]}'
