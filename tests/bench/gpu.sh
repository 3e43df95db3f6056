#!/bin/bash
# make bench-gpu: the same texts on the processor and on a GPU, by ONNX Runtime. Says plainly when there is nothing to
# compare: a device and a GPU build of the runtime are needed.
#
#   MODEL=FOLDER RUNTIME=/path/to/onnxruntime-gpu/lib TEXTS=4096 tests/bench/gpu.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=$PWD/target/release/op-embed
runtime=${RUNTIME:-${ORT_DYLIB_PATH:-auto}}
model=${MODEL:-minilm-l6-q4}
texts=${TEXTS:-4096}
echo "$(uname -sr), $(nproc) CPUs, load $(cut -d' ' -f1-3 /proc/loadavg), $(date -u +%F)"

device=
for node in /dev/nvidia0 /dev/kfd /dev/dri/renderD128; do
  [ ! -e "$node" ] || device=$node
done
if [ -z "$device" ]; then
  echo "not measurable here: there is no GPU (neither /dev/nvidia0, /dev/kfd nor /dev/dri/renderD128)"
  exit 0
fi
engines=$("$program" engines --model "$model" --runtime "$runtime" --json)
provider=$(jq -r .provider <<<"$engines")
if [ "$provider" = cpu ]; then
  echo "not measurable here: there is $device, and no runtime that computes on it:"
  jq -r '.runtimes_refused[], .providers_refused[] | "  \(.what): \(.why)"' <<<"$engines"
  exit 0
fi
input=$(mktemp)
trap 'rm -f "$input"' EXIT
seq "$texts" | sed 's/.*/Backup of virtual machine & failed: no space left on device/' >"$input"
for on in cpu "$provider"; do
  "$program" --no-cache --format raw --model "$model" --runtime "$runtime" --provider "$on" --timings --json "$input" \
    2>&1 >/dev/null | jq -r --arg on "$on" '"\($on)\t\(.texts / .computing_ms * 1000 | floor) texts/s\t\(.computing_ms / .texts) ms a text\topened in \(.opening_ms | floor) ms"'
done
