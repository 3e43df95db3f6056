#!/bin/bash
# net.sh BIN ROUNDS: a bridge, a pair and addresses come and go in a network namespace of their own.
set -euo pipefail
if [ -z "${OP_BENCH_NETNS:-}" ]; then exec env OP_BENCH_NETNS=1 unshare --net "$BASH" "${BASH_SOURCE[0]}" "$@"; fi
bin=$1 rounds=$2
mappings=$PWD/mappings
# The state root lies on a disk, as it does on a host.
folder=$(mktemp -d "$PWD/target/bench-net.XXXXXX")
pid=''
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
cat > "$folder/bus.conf" <<C
<busconfig><type>system</type><listen>unix:path=$folder/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
C
setpriv --pdeathsig KILL -- dbus-daemon --config-file="$folder/bus.conf" --nofork --nopidfile >/dev/null 2>&1 & pid=$!
for _ in $(seq 250); do [ -S "$folder/bus" ] && break; sleep 0.02; done
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$folder/bus OP_DBUS_ROOT=$folder/root OP_DBUS_MAPPINGS=$folder/mappings PATH=$bin:$PATH
mkdir -p "$folder/mappings"
cp -r "$mappings/net" "$folder/mappings/net"
# The index of a link says something about another one in the machine's own namespace.
printf '%s = "%s"\n' networkd_links "$folder/links" networkmanager_devices "$folder/devices" persistence none >> "$folder/mappings/net/plugin.toml"
ip link set lo up
cat > "$folder/make.json" <<J
{"plugins": {"net": {"interfaces": {
  "br0": {"type": "linux-bridge", "mtu": 1400, "ipv4": {"address": [{"ip": "192.0.2.1", "prefix-length": 24}]},
          "ipv6": {"address": [{"ip": "2001:db8::1", "prefix-length": 64}]}, "bridge": {"port": [{"name": "v0"}]}},
  "v0": {"type": "veth", "veth": {"peer": "v1"}}, "v1": {"type": "veth", "veth": {"peer": "v0"}}}}}}
J
echo '{"plugins": {"net": {"interfaces": {"br0": {"state": "absent"}, "v0": {"state": "absent"}}}}}' > "$folder/drop.json"
printf '%s\n' 'link add br0 type bridge' 'link add v0 type veth peer name v1' 'link set v0 master br0' 'link set br0 mtu 1400 up' \
  'link set v0 up' 'link set v1 up' 'address add 192.0.2.1/24 dev br0' 'address add 2001:db8::1/64 dev br0' > "$folder/make.ip"
printf '%s\n' 'link delete br0' 'link delete v0' > "$folder/drop.ip"
op-dbus-bench "Bridge, pair and addresses in a network namespace" "$rounds" \
  "ip -batch, make=ip -batch $folder/make.ip" \
  "ip -batch, delete=ip -batch $folder/drop.ip" \
  "op-apply, make: verified, recorded, undoable<=20=op-apply --yes --quiet $folder/make.json" \
  "op-apply, nothing to do=op-apply --yes --quiet $folder/make.json" \
  "op-query=op-query --quiet --plugin net" \
  "op-apply, delete=op-apply --yes --quiet $folder/drop.json"
