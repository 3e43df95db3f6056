#!/bin/bash
# run.sh SECONDS: fuzzes the gate with libFuzzer, from the streams in corpus/gate, with the coverage flags of cargo-fuzz and
# without a sanitizer, so that the stable compiler will do. What it finds is added to a folder outside the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With a target named, build scripts and macros are built without these flags.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$flags cargo build --release --target "$host" --target-dir ../../target/fuzz
found=${FOUND:-../../target/fuzz/found}
mkdir -p "$found"
exec "../../target/fuzz/$host/release/gate" -max_total_time="${1:?seconds}" -max_len=16384 -print_final_stats=1 \
  -artifact_prefix="$found/" "$found" corpus/gate
