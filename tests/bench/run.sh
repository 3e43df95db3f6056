#!/bin/bash
# make bench: op-dbus beside what people use today, in one run. Shipped release programs, durable writes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "$(id -u)" = 0 ] || { echo "make bench needs root: it makes a throw-away root with real daemons" >&2; exit 77; }
rounds=${ROUNDS:-21}
bin=$PWD/target/release
echo "$(uname -sr), $(nproc) CPUs, load $(cut -d' ' -f1-3 /proc/loadavg), $(date -u +%F)"
bash tests/bench/synthetic.sh "$bin" "$rounds"
root=$(tests/root/build.sh path)
# The throw-away root lives in memory, where a sync costs nothing: the state root lies on this machine's disk instead.
state=$(mktemp -d target/bench-state.XXXXXX)
trap 'rm -rf "$state"' EXIT
tests/root/enter.sh --bind "$bin:/op/bin" --bind "$PWD:/op/src" --bind "$PWD/mappings:/usr/share/op-dbus/mappings" --bind-rw "$PWD/$state:/var/lib/op-dbus" "$root" \
  env -i HOME=/root PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ROUNDS="$rounds" \
  /op/src/tests/root/bus.sh bash /op/src/tests/bench/real.sh
ls -l "$bin"/op-{discover,query,apply,install,dbus} | awk '{sub(".*/", "", $9); printf "  %-12s %.2f MB%s\n", $9, $5/1e6, ($5 < 6e6 ? "" : "  target 6: MISSED")}' | sed '1i\
\
Size of the stripped programs (target 6 MB)'
