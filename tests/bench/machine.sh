#!/bin/bash
# machine.sh: the whole booted container, read and watched. Starts it, unless it is in there already.
set -euo pipefail
if [ "${1:-}" != inside ]; then
  cd "$(dirname "${BASH_SOURCE[0]}")/../.."
  exec tests/machine/shell.sh bash /op/src/tests/bench/machine.sh inside "${1:-21}"
fi
rounds=$2
export PATH=/op/src/target/release:$PATH
cd /root
op-query --quiet >/dev/null # what starts when it is asked runs from now on

printf '\nThe booted container: every mapped plugin, read side by side (target: at most 40 ms above the slowest service)\n'
for _ in $(seq "$rounds"); do op-query --timings --json 2>&1 >/dev/null; done |
  jq -rs 'sort_by(.took_ms - .plugins[.slowest].took_ms)[length / 2 | floor] | .plugins[.slowest].took_ms as $slowest |
    "  slowest service (\(.slowest)) \($slowest) ms, all of the \(.plugins | length) \(.took_ms) ms: \(
      if .took_ms <= $slowest + 40 then "met" else "MISSED" end)"'

printf '\nThe booted container: from a signal to the line of a watch (target: 50 ms)\n'
busctl monitor --json=short --match "type='signal',member='PropertiesChanged',path='/org/freedesktop/hostname1'" >signals &
monitor=$!
op-query --plugin hostname --watch --count "$rounds" | while read -r line; do echo "${EPOCHREALTIME/[.,]/} $line"; done >lines &
lines=$!
trap 'kill $monitor' EXIT
until [ -s lines ] && grep -q '"watching"' lines; do sleep 0.1; done
for round in $(seq "$rounds"); do
  busctl call org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 SetPrettyHostname sb "x$round" false
  sleep 0.1
done
wait $lines
jq -r '[."timestamp-realtime", .payload.data[1].PrettyHostname.data] | @tsv' signals | sort -k2 >sent
awk '/"change"/ {match($0, /"to":"x[0-9]+"/); print $1 "\t" substr($0, RSTART + 6, RLENGTH - 7)}' lines | sort -k2 >told
[ "$(wc -l <told)" = "$rounds" ] || { echo "machine.sh: $(wc -l <told) changes were told, and not $rounds" >&2; exit 1; }
join -1 2 -2 2 sent told | awk '{print ($3 - $2) / 1000}' | sort -n |
  awk '{all[NR] = $1} END {printf "  median %.1f ms, slowest of %d %.1f ms: %s\n", all[int((NR + 1) / 2)], NR, all[NR], all[NR] <= 50 ? "met" : "MISSED"}'
