#!/bin/bash
# write.sh FOLDER OUT PROGRAM... : makes from what the programs in FOLDER say of themselves
#   OUT/man/PROGRAM.1   OUT/zsh/_op-dbus   OUT/fish/PROGRAM.fish   OUT/table (what read.sh printed)
# SOURCE_DATE_EPOCH is the date on the pages (today).
set -euo pipefail
[ $# -ge 3 ] || { sed -n 's/^# \{0,1\}//; 2,4p' "${BASH_SOURCE[0]}" >&2; exit 64; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1 out=$2
shift 2
export LC_ALL=C
mkdir -p "$out"/{man,zsh,fish}
"$here/read.sh" "$folder" "$@" >"$out/table"
date=$(date --utc --date="@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%F)
version=$("$folder/$1" --version)
for program; do
  awk -v program="$program" -v date="$date" -v version="${version#* }" -v others="$*" -f "$here/man.awk" "$out/table" >"$out/man/$program.1"
done
awk -v head="$here/zsh.head" -f "$here/values.awk" -f "$here/zsh.awk" "$out/table" >"$out/zsh/_op-dbus"
awk -v head="$here/fish.head" -f "$here/values.awk" -f "$here/fish.awk" "$out/table" >"$out/fish/op-dbus.fish"
# fish looks for a file of the command's name; each reads the one for all.
for program; do
  [ "$program" = op-dbus ] || printf 'source (status dirname)/op-dbus.fish\n' >"$out/fish/$program.fish"
done
