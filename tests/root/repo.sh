#!/bin/sh
# op-repo add NAME VERSION [DEPENDS [POSTINST-COMMANDS]]   puts a tiny package into /srv/repo and indexes it again
# op-repo index                                            only indexes
# Inside the test root. `apt-get update` (or PackageKit's RefreshCache) makes apt see what was added.
set -eu
repo=/srv/repo

index() {
  for deb in "$repo"/*.deb; do
    dpkg-deb --field "$deb"
    echo "Filename: ./${deb##*/}"
    echo "Size: $(stat -c %s "$deb")"
    echo "SHA256: $(sha256sum "$deb" | cut -d' ' -f1)"
    echo
  done > "$repo/Packages.new"
  mv "$repo/Packages.new" "$repo/Packages"
}

add() {
  name=$1 version=$2 depends=${3:-} postinst=${4:-}
  tree=$(mktemp -d)
  chmod 755 "$tree"
  mkdir -p "$tree/DEBIAN" "$tree/usr/share/$name"
  echo "$name $version" > "$tree/usr/share/$name/version"
  {
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: op-dbus tests <tests@example.org>\n' "$name" "$version"
    printf 'Section: misc\nPriority: optional\nInstalled-Size: 1\n'
    [ -z "$depends" ] || printf 'Depends: %s\n' "$depends"
    printf 'Description: test package %s\n A tiny package that exists only in the op-dbus test root.\n' "$name"
  } > "$tree/DEBIAN/control"
  if [ -n "$postinst" ]; then
    printf '#!/bin/sh\nset -e\n%s\n' "$postinst" > "$tree/DEBIAN/postinst"
    chmod 755 "$tree/DEBIAN/postinst"
  fi
  mkdir -p "$repo"
  dpkg-deb --root-owner-group -Znone --build "$tree" "$repo/${name}_${version}_all.deb" >/dev/null
  rm -rf "$tree"
  index
}

verb=${1:-}
[ $# -gt 0 ] && shift
case $verb in
  add) add "$@" ;;
  index) index ;;
  *) sed -n 's/^# \{0,1\}//; 2,3p' "$0" >&2; exit 64 ;;
esac
