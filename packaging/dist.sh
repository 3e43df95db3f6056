#!/bin/bash
# dist.sh OUT [KEY] : what a release has, in OUT:
#   op-dbus-V.tar.xz                   the sources: what git has of the newest commit
#   op-dbus-V-ARCH-linux.tar.zst       the programs and all beside them, to be unpacked at /
#   op-dbus-V.cdx.json                 what they are made of (CycloneDX)
#   SHA256SUMS                         and, with KEY, a secret key of minisign, FILE.minisig of each and of the sums
# From the environment: PROGRAMS, BUILT (as install.sh), SOURCE_DATE_EPOCH (of the newest commit). Same sources and programs,
# same files. The key's password is asked for, unless it has none.
set -euo pipefail
[ $# -ge 1 ] && [ $# -le 2 ] || { sed -n 's/^# \{0,1\}//; 2,8p' "${BASH_SOURCE[0]}" >&2; exit 64; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd) key=${2:+$(readlink -f "$2")}
cd "$here/.."
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} LC_ALL=C TZ=UTC
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
name=op-dbus-$version
architecture=$(uname -m)
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo "dist.sh: the sources are those of the newest commit; what is changed and not committed is not in them" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f "$out/$name"* "$out"/SHA256SUMS*

git archive --format=tar --prefix="$name/" HEAD >"$work/source.tar"
xz -9 --threads=1 <"$work/source.tar" >"$out/$name.tar.xz"

PREFIX=/usr DESTDIR=$work/tree packaging/install.sh
tar --create --directory="$work/tree" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu . |
  ZSTD_CLEVEL=${ZSTD_CLEVEL:-19} zstd --quiet --threads=1 >"$out/$name-$architecture-linux.tar.zst"

packaging/sbom.sh >"$out/$name.cdx.json"

cd "$out"
files=("$name"*)
sha256sum "${files[@]}" >SHA256SUMS
if [ -n "$key" ]; then
  for file in "${files[@]}" SHA256SUMS; do
    minisign -S -s "$key" -m "$file" -t "$file of op-dbus $version" >/dev/null
  done
fi
ls
