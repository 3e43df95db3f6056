#!/bin/bash
# write.sh FOLDER OUT PROGRAM... : makes from what the programs in FOLDER say of themselves
#   OUT/man/PROGRAM.1, of docs/ *.5   OUT/zsh/_op-dbus   OUT/fish/PROGRAM.fish   OUT/table (what read.sh printed)
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
# Three pages are texts of docs/, made into pages: said once.
while IFS='|' read -r name text about; do
  awk -v name="$name" -v section=5 -v date="$date" -v version="${version#* }" -v about="$about" -f "$here/pages.awk" \
    "$here/../../docs/$text" >"$out/man/$name.5"
done <<'TEXTS'
op-plugin.toml|PLUGIN-TOML-FORMAT.md|who a plugin of op-dbus is
op-semantic-mapping.toml|SEMANTIC-MAPPING-FORMAT.md|how a plugin of op-dbus reads and writes its service
op-state|STATE-FORMAT.md|state documents of op-dbus
TEXTS
for program; do
  awk -v program="$program" -v date="$date" -v version="${version#* }" -v others="$*" -f "$here/man.awk" "$out/table" >"$out/man/$program.1"
done
awk -v head="$here/zsh.head" -f "$here/values.awk" -f "$here/zsh.awk" "$out/table" >"$out/zsh/_op-dbus"
awk -v head="$here/fish.head" -f "$here/values.awk" -f "$here/fish.awk" "$out/table" >"$out/fish/op-dbus.fish"
# fish looks for a file of the command's name; each reads the one for all.
for program; do
  [ "$program" = op-dbus ] || printf 'source (status dirname)/op-dbus.fish\n' >"$out/fish/$program.fish"
done
