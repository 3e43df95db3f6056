#!/bin/bash
# registry.sh OUT [KEY]: the shipped mappings as signed packages with an index, in OUT, laid out as the community's
# repository: NAME/{NAME-vVERSION.btrfs.zst,.minisig,.sha256,semantic-mapping.toml,README.md}, index.json. Versions that
# are there already stay as they are. KEY is a secret key of op-snapshot keygen or minisign -G -W; without one, a key
# is made beside OUT. PROGRAMS is the folder of the built programs.
set -euo pipefail
[ $# -ge 1 ] && [ $# -le 2 ] || { sed -n 's/^# \{0,1\}//; 2,5p' "${BASH_SOURCE[0]}" >&2; exit 64; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=${PROGRAMS:-$here/target/release}
out=$1 key=${2:-$1.key}
[ -e "$key" ] || "$programs/op-snapshot" keygen --out "$key" >&2
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for manifest in "$here"/mappings/*/plugin.toml; do
  folder=$(dirname "$manifest") name=$(basename "$(dirname "$manifest")")
  version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$manifest" | head -1)
  [ ! -e "$out/$name/$name-v$version.btrfs.zst" ] || continue
  # Permissions are a matter of the checkout, not of the plugin.
  cp -r --no-preserve=mode "$folder" "$work/$name"
  "$programs/op-snapshot" publish "$work/$name" --key "$key" --out "$out/$name" >/dev/null
done
"$programs/op-install" registry build "$out" --key "$key" --name "${NAME:-op-dbus-plugins}"
