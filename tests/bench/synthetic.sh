#!/bin/bash
# synthetic.sh BIN ROUNDS: the walk of a service of 2,000 objects x 3 interfaces x 10 properties, on a private bus.
set -euo pipefail
bin=$1 rounds=$2
folder=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$folder"' EXIT
cat > "$folder/bus.conf" <<C
<busconfig><type>system</type><listen>unix:path=$folder/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
C
start() { # waits for the file or name that says it is up
  setpriv --pdeathsig KILL -- "$@" >/dev/null & pids+=($!)
}
bus=unix:path=$folder/bus
export DBUS_SYSTEM_BUS_ADDRESS=$bus OP_DBUS_ROOT=$folder/root OP_DBUS_MAPPINGS=$folder/none PATH=$bin:$PATH
await() { for _ in $(seq 250); do "$@" >/dev/null 2>&1 && return; sleep 0.02; done; echo "not there: $*" >&2; exit 1; }
start dbus-daemon --config-file="$folder/bus.conf" --nofork --nopidfile
await test -S "$folder/bus"
name=org.op.Synth
start op-dbus-synth --address "$bus" --walk 2000
await busctl --address="$bus" status $name
op-dbus-bench "Walk of 2,000 objects x 3 interfaces x 10 properties, with values" "$rounds" \
  "floor: raw client, 64 in flight=op-dbus-floor --address $bus walk" \
  "op-query (reads all values)<=250=op-query --quiet --plugin $name" \
  "op-discover (structure only)=op-discover $name"
op-dbus-bench "The same walk by what people use" 3 \
  "gdbus introspect --recurse=gdbus introspect --system --recurse --dest $name --object-path /" \
  "busctl tree + introspect=!busctl --list tree $name | while read p; do busctl introspect $name \$p; done"
kill "${pids[1]}"; wait "${pids[1]}" 2>/dev/null || true
start op-dbus-synth --address "$bus" --walk 2000 --object-manager
await busctl --address="$bus" status $name
manager=/org/op/Synth
op-dbus-bench "The same service with an ObjectManager ($manager)" "$rounds" \
  "floor: raw GetManagedObjects=op-dbus-floor --address $bus managed" \
  "busctl call GetManagedObjects=busctl --json=short call $name $manager org.freedesktop.DBus.ObjectManager GetManagedObjects" \
  "op-query (reads all values)<=60=op-query --quiet --plugin $name"
