#!/bin/bash
# audit.sh BIN : the trail beside what people would use, and what it leaves alone, on a btrfs of its own; durable, in one
# run. Needs python3 (its sqlite3) and git for the others, and a memory controller for what stays in memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=$(readlink -f "$1")
here=$PWD/tests/bench
folder=$(mktemp -d "$PWD/target/bench-audit.XXXXXX")
pids=()
group=
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  umount "$folder/disk" || true
  rm -rf "$folder"
  [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
}
trap finish EXIT
mkdir "$folder/disk"
truncate -s 6G "$folder/image"
mkfs.btrfs -q "$folder/image" >/dev/null
mount -o loop "$folder/image" "$folder/disk"
disk=$folder/disk
export PATH=$bin:$PATH OP_DBUS_EMBED_LEVEL=none
verdict() { # TEXT VALUE least|most TARGET UNIT
  awk -v t="$1" -v v="$2" -v how="$3" -v m="$4" -v u="$5" 'BEGIN {
    printf "  %-60s %10.1f %s, target %s %s: %s\n", t, v, u, how == "most" ? "at most" : "at least", m, (how == "most" ? v <= m : v >= m) ? "met" : "MISSED" }'
}
row() { printf '  %-60s %10.1f %s\n' "$1" "$2" "$3"; }

printf '\nOne durable block (median of 300)\n'
said=$(op-dbus-trail blocks "$disk/one" 300)
row 'create, write and sync one file and its folder' "$(jq .floor_us <<<"$said")" us
row 'one block of one record' "$(jq .block_us <<<"$said")" us
verdict 'how many times as long' "$(jq '.block_us / .floor_us' <<<"$said")" most 1.5 times

printf '\nRecords of 300 bytes, durable, a second\n'
row 'one record a block' "$(jq '1e6 / .block_us' <<<"$said")" /s
row 'SQLite (WAL, FULL), one record a transaction' "$(python3 "$here/audit.py" sqlite "$disk/one.db" 2000 1 | jq .per_second)" /s
sqlite=$(python3 "$here/audit.py" sqlite "$disk/grouped.db" 200000 100 | jq .per_second)
row 'SQLite, a hundred a transaction' "$sqlite" /s
row 'SQLite, a thousand a transaction' "$(python3 "$here/audit.py" sqlite "$disk/larger.db" 200000 1000 | jq .per_second)" /s
row 'a hundred records a block' "$(op-dbus-trail grouped "$disk/grouped" 200000 | jq .per_second)" /s
record='{"number":%.0f,"text":"'$(printf 'x%.0s' {1..268})'"}'
seq -f "$record" 1000000 1199999 >"$folder/records"
begun=$(date +%s%N)
op-audit append --source bench --root "$disk/appended" <"$folder/records" >"$folder/said"
verdict "op-audit append, whole process: 200,000 in $(jq .blocks "$folder/said") blocks" \
  "$(awk -v ns=$(($(date +%s%N) - begun)) 'BEGIN { print 200000e9 / ns }')" least "$(printf %.0f "$sqlite")" /s
git init -q "$disk/git"
begun=$(date +%s%N)
for n in $(seq 50); do
  printf 'x%.0s' {1..299} >"$disk/git/$n"
  git -C "$disk/git" add . && git -C "$disk/git" -c user.name=x -c user.email=x@example.org -c core.fsync=all commit -qm "$n"
done
row 'git, a commit each' "$(awk -v ns=$(($(date +%s%N) - begun)) 'BEGIN { print 50e9 / ns }')" /s

printf '\nVerifying 1,000,000 entries in 10,000 blocks\n'
said=$(op-dbus-trail verify "$disk/million" 10000)
[ "$(jq .valid <<<"$said")" = true ]
verdict "$(jq .entries <<<"$said") entries" "$(jq .ms <<<"$said")" most 1000 ms

printf '\nA hot file of 200 MiB in a memory cgroup of 512 MiB, while 1 GiB is appended\n'
if [ -d /sys/fs/cgroup/memory ]; then
  group=/sys/fs/cgroup/memory/op-dbus-bench-$$
  mkdir "$group" && echo $((512 << 20)) >"$group/memory.limit_in_bytes"
elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
  group=/sys/fs/cgroup/op-dbus-bench-$$
  echo +memory >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
  mkdir "$group" && echo $((512 << 20)) >"$group/memory.max"
fi
if [ -n "$group" ]; then
  head -c $((200 << 20)) /dev/urandom >"$disk/hot"
  sync "$disk/hot"
  inside() { bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$group" "$@"; }
  resident() { # after what is run
    dd if="$disk/hot" iflag=nocache count=0 2>/dev/null
    inside dd if="$disk/hot" of=/dev/null bs=1M 2>/dev/null
    inside "$@" >/dev/null
    fincore --bytes --noheadings --output RES "$disk/hot" | awk '{ print 100 * $1 / (200 * 1048576) }'
  }
  row 'plain writes: still in memory' "$(resident op-dbus-trail plain "$disk/plain" 1024)" %
  rm "$disk/plain"
  begun=$(date +%s%N)
  still=$(resident op-dbus-trail stream "$disk/stream" 1024)
  took=$(awk -v ns=$(($(date +%s%N) - begun)) 'BEGIN { print ns / 1e9 }')
  row 'blocks: still in memory' "$still" %
  # Some kernels evict by themselves what nobody reads for a while (DAMON): that is not the writers' doing.
  alone=$(resident sleep "$took")
  row "nothing is written for as long, $(printf %.0f "$took") s: still in memory" "$alone" %
  verdict 'blocks beside nothing' "$(awk -v s="$still" -v a="$alone" 'BEGIN { print a ? 100 * s / a : 0 }')" least 99 %
  rm -rf "$disk/stream"
else
  echo 'SKIP bench-residency: no memory controller'
fi

printf '\nHits of op-embed while 200 MB/s of blocks are written for 10 s\n'
if [ -x "$bin/op-embed" ]; then
  OP_DBUS_EMBED_LEVEL=low op-embed serve --root "$disk/embed" >/dev/null 2>&1 & pids+=($!)
  for _ in $(seq 250); do [ -S "$disk/embed/embed.sock" ] && break; sleep 0.02; done
  hits() { python3 "$here/audit.py" hits "$disk/embed/embed.sock" 8; }
  say() { printf '  %-60s %10.0f us p50, %.0f us p99\n' "$1" "$(jq .p50 <<<"$2")" "$(jq .p99 <<<"$2")"; }
  say 'nothing else is done' "$(hits)"
  for how in stream plain; do
    op-dbus-trail $how "$disk/$how" 1900 200 >"$folder/rate" & writer=$!
    sleep 0.5
    said=$(hits)
    wait $writer
    name=$([ $how = stream ] && echo 'blocks, which leave the memory alone' || echo 'plain writes, which do not')
    say "$name, $(jq '.mb_per_second | round' "$folder/rate") MB/s" "$said"
    rm -rf "${disk:?}/$how"
  done
else
  echo '  op-embed is not among the built programs'
fi
