#!/bin/bash
# embed.sh BIN : hits of the cache and exact search, on vectors of 384 numbers made from a seed, beside what people use.
# EMBED_LARGE=0 leaves out a million documents and ten million cached vectors (some minutes, 8 GB below target/).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=$1
peers=$(tests/bench/embed-peers.sh)
folder=$(mktemp -d target/bench-embed.XXXXXX)
trap 'rm -rf "$folder"' EXIT
if [ "${EMBED_LARGE:-1}" = 1 ] && [ "$(df --output=avail -k target | tail -n 1)" -lt 10000000 ]; then
  echo "not measured: a million documents and ten million cached vectors need 10 GB below target/"
  EMBED_LARGE=0
fi
say() { "$bin/op-dbus-vectors" "$@"; }
verdict() { # NAME VALUE MOST UNIT, or NAME VALUE -LEAST UNIT
  awk -v n="$1" -v v="$2" -v m="$3" -v u="$4" 'BEGIN {
    printf "  %-44s %9.3f %s  target %s %s: %s\n", n, v, u, (m < 0) ? "at least" : "at most", (m < 0) ? -m : m,
      ((m < 0) ? v >= -m : v <= m) ? "met" : "MISSED" }'
}
row() { # NAME JSON TARGET_P50 TARGET_P99
  printf '  %-44s %9.2f %9.2f us  %d/s%s\n' "$1" "$(jq .us.p50 <<<"$2")" "$(jq .us.p99 <<<"$2")" "$(jq .per_second <<<"$2")" \
    "$(jq -r --argjson a "$3" --argjson b "$4" 'if .us.p50 < $a and .us.p99 < $b and .per_second > 300000 then "  target \($a)/\($b) us, 300000/s: met" else "  target \($a)/\($b) us, 300000/s: MISSED" end' <<<"$2")"
}
echo "$("$bin/op-dbus-bench" --machine), $(date -u +%F)"

printf '\nA hit of the cache: the key digested, the record checked, the vector copied (one thread, random keys)\n'
printf '  %-44s %9s %9s\n' '' p50 p99
for type in f32 f16 int8; do
  say fill "$folder/$type" $type 0 100000 10000 >"$folder/fill-$type"
  row "op-dbus, 100,000 $type" "$(say read "$folder/$type" $type 0 100000 300000)" 3 8
done
medians=
sizes='10000 1000000'
[ "${EMBED_LARGE:-1}" = 0 ] || sizes+=' 10000000'
for count in $sizes; do
  NO_SYNC=1 say fill "$folder/flat" int8 0 "$count" 50000 >/dev/null
  found=$(say read "$folder/flat" int8 0 "$count" 300000)
  row "op-dbus, $count int8" "$found" 3 8
  medians+=" $(jq .us.p50 <<<"$found")"
  rm -rf "$folder/flat"
done
awk '{ printf "  %-44s %9.2f\n", "median with the most / with the fewest", $NF / $1 }' <<<"$medians"
if [ -n "$peers" ]; then
  say dump "$folder/dump" 100000 0 >/dev/null
  "$peers/bin/python" tests/bench/embed-peers.py hits "$folder/dump" 100000 100000
fi

printf '\nA save, its parts in the mean (us)\n'
for sync in with without; do
  [ $sync = with ] || export NO_SYNC=1
  say fill "$folder/save-$sync" f32 0 300 1 |
    jq -r --arg s "$sync" '"  one vector, \($s) fsync: p50 \(.us.p50 | round), of which records \(.mean_us.write), disk \(.mean_us.sync), rows \(.mean_us.commit), index \(.mean_us.index)"'
  unset NO_SYNC
done
jq -r '"  100,000 f32 in batches of 10,000, with fsync: \(100000 / .seconds | round) vectors/s, making them included"' "$folder/fill-f32"

# Whole processes: what is kept, through the pipe.
root=$folder/root
mkdir "$root"
say lines "$root" 100000 lib/models/minilm-l6-q4 >/dev/null
export OP_DBUS_ROOT=$PWD/$root
kept=$("$bin/op-embed" --format raw --timings --json --level none "$root/lines.txt" 2>&1 >/dev/null | jq .hits)
[ "$kept" = 100000 ] || { echo "of 100,000 lines the cache holds ${kept:-none}" >&2; exit 1; }
head -n 1 "$root/lines.txt" >"$root/line.txt"
"$bin/op-dbus-bench" "Kept vectors through the pipe" "${ROUNDS:-21}" \
  "op-embed, one cached line<=5=$bin/op-embed --format raw $root/line.txt" \
  "op-embed, 100,000 cached lines to raw f32<=500=!$bin/op-embed --format raw $root/lines.txt > /dev/null" \
  "cat of those lines=!cat $root/lines.txt > /dev/null"

printf '\nTexts that are not in the cache: the whole way beside the engine alone\n'
python=$(tests/embed/python.sh 2>/dev/null || true)
runtimes=tract
[ -z "$python" ] || runtimes+=" $python/venv/runtime"
for runtime in $runtimes; do
  misses=$("$bin/op-embed" bench --json --runtime "$runtime")
  jq -r '"  \(.engine), opened in \(.opening_ms | round) ms", (.batches | group_by(.tokens)[] | "  ms a text of \(.[0].tokens) tokens, by texts at once: " +
    (map("\(.texts): \(.ms_per_text * 100 | round / 100)") | join(", ")))' <<<"$misses"
  verdict "  256 texts, whole way / engine" "$(jq .misses.ratio <<<"$misses")" 1.10 ""
done
unset OP_DBUS_ROOT

printf '\nExact search, the ten best by cosine (p50 and p99)\n'
counts=100000
[ "${EMBED_LARGE:-1}" = 0 ] || counts+=' 1000000'
for count in $counts; do
  say documents "$folder/documents" "$count" >/dev/null
  found=$(say search "$folder/documents" "$count" 100)
  most=2; [ "$count" = 100000 ] || most=30
  jq -r --arg c "$count" '"  op-dbus, \($c): \(.us.p50 / 1000) / \(.us.p99 / 1000) ms, recall \(.recall), exact \(.is_exact), ranked \(.ranked), \(.peak)"' <<<"$found"
  verdict "  median" "$(jq '.us.p50 / 1000' <<<"$found")" $most ms
  verdict "  recall" "$(jq .recall <<<"$found")" -0.99 ""
  [ "$count" = 100000 ] ||
    verdict "  memory at its peak" "$(jq -r .peak <<<"$found" | awk '{ print $2 * 1024 / 1e6 }')" 450 MB
  rm -rf "$folder/documents"
  if [ -n "$peers" ]; then
    say dump "$folder/dump" "$count" 30 >/dev/null
    "$peers/bin/python" tests/bench/embed-peers.py search "$folder/dump" "$count" 30
  fi
done
