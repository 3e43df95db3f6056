#!/bin/bash
# embed.sh BIN : hits of the cache and exact search, on vectors of 384 numbers made from a seed, beside what people use.
# EMBED_LARGE=1 adds a million documents and ten million cached vectors (some minutes, 7 GB below target/).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=$1
peers=$(tests/bench/embed-peers.sh)
folder=$(mktemp -d target/bench-embed.XXXXXX)
trap 'rm -rf "$folder"' EXIT
say() { "$bin/op-dbus-vectors" "$@"; }
verdict() { # NAME VALUE MOST UNIT
  awk -v n="$1" -v v="$2" -v m="$3" -v u="$4" 'BEGIN { printf "  %-44s %9.2f %s  target %s: %s\n", n, v, u, m, (v <= m) ? "met" : "MISSED" }'
}
row() { # NAME JSON TARGET_P50 TARGET_P99
  printf '  %-44s %9.2f %9.2f us  %d/s%s\n' "$1" "$(jq .us.p50 <<<"$2")" "$(jq .us.p99 <<<"$2")" "$(jq .per_second <<<"$2")" \
    "$(jq -r --argjson a "$3" --argjson b "$4" 'if .us.p50 < $a and .us.p99 < $b and .per_second > 300000 then "  target \($a)/\($b) us, 300000/s: met" else "  target \($a)/\($b) us, 300000/s: MISSED" end' <<<"$2")"
}

printf '\nA hit of the cache: the key digested, the record checked, the vector copied (one thread, random keys)\n'
printf '  %-44s %9s %9s\n' '' p50 p99
for type in f32 f16 int8; do
  say fill "$folder/$type" $type 0 100000 10000 >"$folder/fill-$type"
  row "op-dbus, 100,000 $type" "$(say read "$folder/$type" $type 0 100000 300000)" 3 8
done
sizes='10000 1000000'
[ -z "${EMBED_LARGE:-}" ] || sizes+=' 10000000'
for count in $sizes; do
  NO_SYNC=1 say fill "$folder/flat" int8 0 "$count" 50000 >/dev/null
  row "op-dbus, $count int8" "$(say read "$folder/flat" int8 0 "$count" 300000)" 3 8
  rm -rf "$folder/flat"
done
[ -z "$peers" ] || "$peers/bin/python" tests/bench/embed-peers.py hits 100000 100000

printf '\nA save, its parts in the mean (us)\n'
for sync in with without; do
  [ $sync = with ] || export NO_SYNC=1
  say fill "$folder/save-$sync" f32 0 300 1 |
    jq -r --arg s "$sync" '"  one vector, \($s) fsync: p50 \(.us.p50 | round), of which records \(.mean_us.write), disk \(.mean_us.sync), rows \(.mean_us.commit), index \(.mean_us.index)"'
  unset NO_SYNC
done
jq -r '"  100,000 f32 in batches of 10,000, with fsync: \(100000 / .seconds | round) vectors/s, making them included"' "$folder/fill-f32"

printf '\nExact search, the ten best by cosine (p50 and p99)\n'
counts=100000
[ -z "${EMBED_LARGE:-}" ] || counts+=' 1000000'
for count in $counts; do
  say documents "$folder/documents" "$count" >/dev/null
  found=$(say search "$folder/documents" "$count" 100)
  most=2; [ "$count" = 100000 ] || most=30
  jq -r --arg c "$count" '"  op-dbus, \($c): \(.us.p50 / 1000) / \(.us.p99 / 1000) ms, recall \(.recall), exact \(.is_exact), ranked \(.ranked), \(.peak)"' <<<"$found"
  verdict "  median" "$(jq '.us.p50 / 1000' <<<"$found")" $most ms
  rm -rf "$folder/documents"
  [ -z "$peers" ] || "$peers/bin/python" tests/bench/embed-peers.py search "$count" 30
done
