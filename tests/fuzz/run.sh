#!/bin/bash
# run.sh SECONDS [gate|texts]: fuzzes what reads streams, or texts, with coverage counters, on the stable compiler. What it
# finds lies in tests/fuzz/found; what was worth keeping, in target/fuzz-corpus. Needs a C++ compiler.
set -euo pipefail
seconds=${1:?how many seconds} target=${2:-gate}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$here/../../target/fuzz
corpus=$here/../../target/fuzz-corpus/$target
mkdir -p "$corpus" "$here/found"
counters="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
counters+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
# With a target named, the counters are not built into what runs while building.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$counters cargo build --locked --release --manifest-path "$here/Cargo.toml" --target "$host" --target-dir "$out" --bin "$target"
# Each stream is unpacked in memory and in a folder: a folder in memory is twenty times as quick.
TMPDIR=$(mktemp -d /dev/shm/op-dbus-fuzz.XXXXXX)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
corpora=("$corpus" "$here/corpus/$target")
if [ "$target" = texts ]; then
  # What the tests read, under names of its own.
  mkdir "$TMPDIR/seeds"
  find "$here"/../../{mappings,lib/tests,docs} -type f \( -name '*.toml' -o -name '*.xml' -o -name '*.json' \) -size -64k |
    while read -r file; do cp "$file" "$TMPDIR/seeds/$(sha256sum < "$file" | cut -c1-16)"; done
  corpora=("$corpus" "$TMPDIR/seeds")
fi
"$out/$host/release/$target" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=512 -timeout=30 -print_final_stats=1 \
  -artifact_prefix="$here/found/" "${corpora[@]}"
