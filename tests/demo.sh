#!/bin/bash
# The main job, on real services: a private bus and real daemons in a throw-away root. Nothing of this machine is
# changed. `make demo` builds the programs first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || { echo "make demo needs root: it makes a throw-away root with its own namespaces (sudo make demo)" >&2; exit 77; }
  echo "Preparing a throw-away Debian root (the first time takes about a minute)..."
  root=$(tests/root/build.sh)
  exec tests/root/enter.sh --bind "$PWD/target/debug:/op/bin" --bind "$PWD:/op/src" \
    --bind "$PWD/mappings:/usr/share/op-dbus/mappings" "$root" \
    env -i HOME=/root PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" \
    /op/src/tests/root/bus.sh bash /op/src/tests/demo.sh inside
fi
say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() { printf '\033[36m$ %s\033[0m\n' "$*"; bash -c "$*"; }
cd /root
say "What is on the bus?"
run "op-dbus discover --no-json"
say "What does one of them say of itself?"
run "op-dbus discover org.freedesktop.hostname1 --activate --tree | head -24"
say "Make a service nobody wrote code for a plugin, and read it"
run "op-dbus plugin create power --from-dbus org.freedesktop.UPower --no-json"
run "op-dbus query --plugin power | jq '.plugins.power.observed[\"/org/freedesktop/UPower\"]'"
say "Services with a mapping can be written too: what have they now?"
run "op-dbus query --plugin hostname --plugin timedate | jq ."
say "What should be: a host name, a time zone, a package"
cat > want.json <<'J'
{"plugins": {
  "hostname":   {"static_hostname": "web-server", "location": "rack 3"},
  "timedate":   {"timezone": "Europe/Vienna"},
  "packagekit": {"packages": ["greeter-op"]}
}}
J
run "cat want.json"
say "What would be done? Nothing is changed by this"
run "op-dbus apply want.json --dry-run --no-json"
say "Do it"
run "op-dbus apply want.json --yes --no-json"
say "Is it true? Ask others"
run "busctl get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 StaticHostname"
run "readlink /etc/localtime"
run "dpkg -s greeter-op | grep Status"
say "Again: nothing is left to do"
run "op-dbus apply want.json --yes --no-json"
run "op-discover | op-query 2>/dev/null | op-apply --yes --no-json"
