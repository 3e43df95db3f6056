#!/bin/bash
# make bench: op-dbus beside what people use today, in one run. Shipped release programs, durable writes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "$(id -u)" = 0 ] || { echo "make bench needs root: it makes a throw-away root with real daemons" >&2; exit 77; }
rounds=${ROUNDS:-21}
bin=$PWD/target/release
echo "$("$bin/op-dbus-bench" --machine), $(date -u +%F)"
bash tests/bench/synthetic.sh "$bin" "$rounds"
bash tests/bench/packages.sh "$bin" "$rounds"
bash tests/bench/audit.sh "$bin"
bash tests/bench/net.sh "$bin" "$rounds"
bash tests/bench/flows.sh "$bin" "$rounds"
bash tests/bench/embed.sh "$bin"
root=$(tests/root/build.sh path)
peers=$(tests/bench/peers.sh)
# The throw-away root lives in memory, where a sync costs nothing: the state root lies on this machine's disk instead.
state=$(mktemp -d target/bench-state.XXXXXX)
trap 'rm -rf "$state"' EXIT
tests/root/enter.sh --bind "$bin:/op/bin" --bind "$PWD:/op/src" --bind "$PWD/mappings:/usr/share/op-dbus/mappings" --bind-rw "$PWD/$state:/var/lib/op-dbus" ${peers:+--bind "$peers:/op/peers"} "$root" \
  env -i HOME=/root PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ROUNDS="$rounds" \
  /op/src/tests/root/bus.sh bash /op/src/tests/bench/real.sh
"$bin/op-dbus-lxc-bench" "$rounds"
bash tests/bench/machine.sh "$rounds"
# op-install speaks TLS, compresses, interprets mappings and tries them out; see docs/HYBRID-BTRFS-ARCHITECTURE.md.
printf '\nSize of the stripped programs (target 6 MB, op-install 11 MB)\n'
# op-embed is apart: it holds an engine and a model.
for program in op-discover op-query op-apply op-audit op-install op-snapshot op-dbus; do
  size=$(stat -c %s "$bin/$program")
  [ "$program" = op-install ] && target=11000000 || target=6000000
  printf '  %-12s %5d kB%s\n' "$program" $((size / 1000)) "$([ "$size" -lt "$target" ] || echo '  MISSED')"
done
