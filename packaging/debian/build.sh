#!/bin/bash
# build.sh OUT : makes OUT/op-dbus_VERSION_ARCH.deb of the built programs, with what dpkg itself brings (decision 0080).
# From the environment: PROGRAMS (their names)  BUILT (their folder)  SOURCE_DATE_EPOCH (of the newest commit)
#   VERSION (Cargo.toml's)  COMPRESSION (xz)  LEVEL (6; tests take a lower one)
# The same sources and programs make the same package, to the byte.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:?usage: build.sh OUT}
cd "$here/../.."
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)} LC_ALL=C
for program in dpkg-deb dpkg-shlibdeps strip; do
  command -v $program >/dev/null || { echo "build.sh: $program is missing: apt-get install dpkg-dev binutils" >&2; exit 69; }
done
architecture=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
umask 022
mkdir -p "$tree/DEBIAN" "$work/debian"

# Stripped first, so that debug builds make a package of a bearable size.
mkdir "$work/programs"
for program in $PROGRAMS; do strip --strip-unneeded --remove-section=.comment -o "$work/programs/$program" "$BUILT/$program"; done
PREFIX=/usr DESTDIR=$tree BUILT=$work/programs packaging/install.sh

documents=$tree/usr/share/doc/op-dbus
cp packaging/debian/copyright "$documents/copyright"
install -D -m 644 packaging/debian/lintian-overrides "$tree/usr/share/lintian/overrides/op-dbus"
cat >"$documents/changelog" <<CHANGELOG
op-dbus ($version) unstable; urgency=medium

  * What is new is said in CHANGELOG.md.

 -- op-dbus contributors <repr0bated@users.noreply.github.com>  $(date --utc --date="@$SOURCE_DATE_EPOCH" -R)
CHANGELOG
gzip -9n "$documents/changelog" "$documents/CHANGELOG.md" "$tree"/usr/share/man/man*/*

cp packaging/debian/{postinst,prerm,postrm,config,templates} "$tree/DEBIAN/"
chmod 755 "$tree"/DEBIAN/{postinst,prerm,postrm,config}
(cd "$tree" && find etc -type f | sort | sed 's,^,/,') >"$tree/DEBIAN/conffiles"
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"

# Which libraries, and from which version on: what the programs' symbols say.
printf 'Source: op-dbus\n\nPackage: op-dbus\nArchitecture: any\n' >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O -e programs/* 2>"$work/said" || { cat "$work/said" >&2; exit 1; })
size=$(find "$tree" -path "$tree/DEBIAN" -prune -o -type f -printf '%k\n' | awk '{n += $1} END {print n}')
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/" \
  -e "s/@LIBRARIES@/${libraries#shlibs:Depends=}/" packaging/debian/control.in >"$tree/DEBIAN/control"

mkdir -p "$out"
find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
package=$out/op-dbus_${version}_$architecture.deb
dpkg-deb --root-owner-group -Z"${COMPRESSION:-xz}" -z"${LEVEL:-6}" --build "$tree" "$package" >/dev/null
echo "$package"
