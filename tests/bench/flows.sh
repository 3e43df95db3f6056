#!/bin/bash
# flows.sh BIN ROUNDS: 5,000 flows are compared and applied, with Open vSwitch in user space in a network namespace.
set -euo pipefail
if [ -z "${OP_BENCH_NETNS:-}" ]; then exec env OP_BENCH_NETNS=1 unshare --net "$BASH" "${BASH_SOURCE[0]}" "$@"; fi
bin=$1 rounds=$2
tools=$(tests/tools.sh)
# The state root lies on a disk, as it does on a host.
folder=$(mktemp -d "$PWD/target/bench-flows.XXXXXX")
# Sockets have short names.
run=$(mktemp -d /tmp/op-flows.XXXXXX)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$folder" "$run"' EXIT
export OVS_RUNDIR=$run OVS_DBDIR=$run OVS_LOGDIR=$run OVS_SYSCONFDIR=$run
cat > "$run/bus.conf" <<C
<busconfig><type>system</type><listen>unix:path=$run/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
C
setpriv --pdeathsig KILL -- dbus-daemon --config-file="$run/bus.conf" --nofork --nopidfile >/dev/null 2>&1 & pids+=($!)
"$tools/bin/ovsdb-tool" create "$run/conf.db" "$tools/usr/share/openvswitch/vswitch.ovsschema"
setpriv --pdeathsig KILL -- "$tools/bin/ovsdb-server" "$run/conf.db" --remote="punix:$run/db.sock" --pidfile -vconsole:off & pids+=($!)
for _ in $(seq 250); do [ -S "$run/db.sock" ] && [ -S "$run/bus" ] && break; sleep 0.02; done
"$tools/bin/ovs-vsctl" --no-wait init
setpriv --pdeathsig KILL -- "$tools/bin/ovs-vswitchd" "unix:$run/db.sock" --pidfile -vconsole:off & pids+=($!)
for _ in $(seq 250); do [ -s "$run/ovs-vswitchd.pid" ] && break; sleep 0.02; done
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$run/bus OP_DBUS_ROOT=$folder/root OP_DBUS_MAPPINGS=$folder/mappings PATH=$bin:$tools/bin:$PATH
mkdir -p "$folder/mappings/openflow"
{ cat mappings/openflow/plugin.toml; printf '%s = "%s"\n' database "$run/db.sock" run "$run" ofctl "$tools/bin/ovs-ofctl"; } \
  > "$folder/mappings/openflow/plugin.toml"
echo '{"plugins": {"openflow": {"bridges": {"br0": {"datapath_type": "netdev", "fail_mode": "secure"}}}}}' > "$folder/bridge.json"
op-apply --yes --quiet "$folder/bridge.json" >/dev/null
flows() { # flows ACTIONS: what a document says
  jq -n --arg actions "$1" '{plugins: {openflow: {flows: [range(5000) | {bridge: "br0", priority: (. % 1000 + 1),
    match: "tcp,nw_src=10.\(. / 250 | floor).\(. % 250).1,tp_dst=\(. + 1)", actions: $actions}]}}}'
}
# FEW: how many of them drop, whatever the others do.
few() { jq --argjson few "$1" '.plugins.openflow.flows |= (to_entries | map(if .key % (5000 / $few) == 0 then .value.actions = "drop" else . end | .value))'; }
flows drop > "$folder/drop.json"
flows NORMAL > "$folder/normal.json"
few 50 < "$folder/normal.json" > "$folder/few.json"
jq -r '.plugins.openflow.flows[] | "priority=\(.priority),\(.match),actions=\(.actions)"' "$folder/drop.json" > "$folder/plain.txt"
"$tools/bin/ovs-vsctl" add-br br1 -- set bridge br1 datapath_type=netdev fail_mode=secure
op-dbus-bench "5,000 flows of Open vSwitch in user space, by its own tool" "$rounds" \
  "ovs-ofctl, replace all blindly=ovs-ofctl -O OpenFlow14 --bundle replace-flows unix:$run/br1.mgmt $folder/plain.txt" \
  "ovs-ofctl, dump=ovs-ofctl -O OpenFlow14 dump-flows unix:$run/br1.mgmt"
# A query reads all bridges.
"$tools/bin/ovs-vsctl" del-br br1
op-apply --yes --quiet "$folder/drop.json" >/dev/null
op-dbus-bench "5,000 flows by a document: compared, verified, recorded, undoable" "$rounds" \
  "op-apply, change all<=300=op-apply --yes --quiet $folder/normal.json" \
  "op-apply, nothing to do=op-apply --yes --quiet $folder/normal.json" \
  "op-apply, change 50 of them<=300=op-apply --yes --quiet $folder/few.json" \
  "op-apply, change all back<=300=op-apply --yes --quiet $folder/drop.json" \
  "op-query=op-query --quiet --plugin openflow"
