#!/bin/bash
# vm.sh [--files HOST:/PATH]...
# Starts the machine as a virtual one: Debian's own kernel, two NUMA nodes, disks, network cards. Emulated, so that it
# runs everywhere; the first start boots it (a minute or two) and keeps its memory, the next ones go on from there in
# seconds. Says "ready" and its run folder once commands can run (vm-run.sh), and lives until its standard input ends or
# it gets a signal; then nothing is left. A copy of HOST is shown at /PATH, read-only, and this repository at /op/src.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
usage() { sed -n 's/^# \{0,1\}//; 2p' "${BASH_SOURCE[0]}" >&2; exit 64; }

files=()
while [ $# -gt 0 ]; do
  case $1 in
    --files) [ $# -ge 2 ] || usage; files+=("$2"); shift 2 ;;
    *) usage ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo "vm.sh: needs root (it makes namespaces)" >&2; exit 77; }
for program in qemu-system-x86_64 qemu-img mke2fs ssh zstd; do
  command -v $program >/dev/null || { echo "vm.sh: $program is missing: run tests/deps.sh" >&2; exit 69; }
done
machine=$("$here/build.sh")
# One kept memory for each recipe of the virtual hardware and each qemu, which must both be the same to go on.
booted=$machine/booted-$({ cat "$here/vm-inside.sh" "$here/vm-run.sh"; qemu-system-x86_64 --version; } | sha256sum | cut -c1-16)

exec {alive}<"$machine/lock"
flock --shared "$alive"
for old in "$machine"/runs/vm-*; do
  if [ -d "$old" ] && flock --nonblock "$old" true; then rm -rf "$old"; fi
done
run=$(mktemp -d "$machine/runs/vm-XXXXXX")
exec {mine}<"$run"
flock "$mine"

inside=''
finish() {
  trap - EXIT
  trap '' INT TERM HUP
  [ -z "$inside" ] || { kill -KILL "$inside"; wait "$inside"; } 2>/dev/null || true
  rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# One read-only disk holds what the guest is shown, in a tree like its own.
tree=$run/tree
mkdir -p "$tree/op/src" "$tree/op/bin"
tar -C "$repository" --exclude=./target --exclude=./.git -c . | tar -C "$tree/op/src" -x
echo /op > "$tree/paths"
for pair in "${files[@]}"; do
  from=${pair%:*} to=${pair##*:}
  mkdir -p "$tree$(dirname "$to")"
  cp -rL "$from" "$tree$to"
  [ ! -f "$from" ] || strip --strip-debug "$tree$to" 2>/dev/null || true
  case $to in /op/*) ;; *) echo "$to" >> "$tree/paths" ;; esac
done
mke2fs -q -t ext4 -O ^has_journal -d "$tree" "$run/files.img" 1G >/dev/null
rm -rf "$tree"

# Whatever ends this script ends the namespaces' first process, and the kernel ends all others in there with it.
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private -- \
  bash "$here/vm-inside.sh" "$machine" "$booted" "$run" {alive}<&- {mine}<&- <&0 &
inside=$!
code=0
wait "$inside" || code=$?
inside=''
exit "$code"
