#!/bin/bash
# packages.sh BIN ROUNDS: installing a plugin beside what people use to install as much, durable, on a btrfs of its own.
# Every command ends with its data on the disk; what prepares a round is not measured.
set -euo pipefail
bin=$1 rounds=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
mkdir "$folder/disk"
trap 'cd /; umount "$folder/disk" || true; rm -rf "$folder"' EXIT
truncate -s 2G "$folder/image"
mkfs.btrfs -q "$folder/image" >/dev/null 2>&1
mount -o loop "$folder/image" "$folder/disk"
cd "$folder/disk"
galaxy=$(bash "$here/galaxy.sh")
export PATH=$bin:$PATH${galaxy:+:$galaxy} OP_DBUS_ROOT=$folder/disk/root OP_DBUS_MAPPINGS=$folder/none OP_DBUS_TRUSTED_KEYS=$folder/keys
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent/bus
mkdir "$folder/keys" packages received in
op-snapshot keygen --out "$folder/key" >/dev/null
cp "$folder/key.pub" "$folder/keys"
op-snapshot init >/dev/null

# A plugin of six files, in two versions, and one of 1.4 MB.
plugin() { # folder, version
  mkdir -p "$1/examples"
  printf '[plugin]\nname = "%s"\nversion = "%s"\ndbus_service = "org.example.Bench"\n' "${1##*/}" "$2" > "$1/plugin.toml"
  printf '[state_mapping.color]\nread = { property = "Color" }\nwrite = { property = "Color" }\n' > "$1/semantic-mapping.toml"
  for i in 1 2; do printf '{"version":1,"plugins":{"%s":{"color":"%s"}}}\n' "${1##*/}" "$2" > "$1/examples/$i.json"; done
  printf '# %s %s\n' "${1##*/}" "$2" > "$1/README.md"
  printf '<node><interface name="org.example.Bench"><property name="Color" type="s" access="readwrite"/></interface></node>\n' > "$1/introspection.xml"
}
for version in 1.0.0 1.1.0; do
  plugin "$folder/small" $version
  op-snapshot publish "$folder/small" --key "$folder/key" --out packages >/dev/null
done
for version in 1.0.0 1.1.0; do
  plugin "$folder/large" $version
  head -c 1036000 /dev/urandom | base64 -w 76 > "$folder/large/examples/data.txt"
  op-snapshot publish "$folder/large" --key "$folder/key" --out packages >/dev/null
done
tar -C "$folder" --zstd -cf "$folder/small.tar.zst" small
tar -C "$folder" --zstd -cf "$folder/large.tar.zst" large

# The same six files for those who have formats of their own.
mkdir -p "$folder/deb/DEBIAN" "$folder/deb/usr/share/op-bench"
cp -r "$folder/small/." "$folder/deb/usr/share/op-bench"
printf 'Package: op-bench\nVersion: 1.1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n' > "$folder/deb/DEBIAN/control"
dpkg-deb --root-owner-group -b "$folder/deb" "$folder/op-bench.deb" >/dev/null
mkdir -p dpkg/updates dpkg/info && touch dpkg/status dpkg/available

stock() { # name: what the founding document has a user type
  echo "minisign -Vqm packages/$1-v1.1.0.btrfs.zst -p $folder/key.pub && zstd -qd < packages/$1-v1.1.0.btrfs.zst | btrfs receive -q in && btrfs subvolume snapshot -r in/$1@v1.1.0 received/$1 >/dev/null && btrfs filesystem sync ."
}
untar() {
  echo "tar -C received --zstd -xf $folder/$1.tar.zst && btrfs filesystem sync ."
}
clean="btrfs subvolume delete received/* in/* >/dev/null 2>&1; rm -rf received in; mkdir received in"
# A round installs the version that is not there; the other way round it is taken away before, unmeasured.
peers=()
if command -v ansible-galaxy >/dev/null && mkdir -p "$folder/galaxy" && (cd "$folder/galaxy" && ansible-galaxy collection init a.b >/dev/null && ansible-galaxy collection build a/b >/dev/null) 2>/dev/null; then
  peers+=("ansible-galaxy collection install --offline=!ansible-galaxy collection install --offline --force -p received $folder/galaxy/a-b-1.0.0.tar.gz >/dev/null; btrfs filesystem sync .")
fi
if command -v pip >/dev/null; then
  mkdir -p "$folder/wheel/op_bench"
  cp -r "$folder/small/." "$folder/wheel/op_bench"
  printf '[project]\nname = "op-bench"\nversion = "1.1"\n[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n' > "$folder/wheel/pyproject.toml"
  if pip wheel -q --no-index --no-build-isolation --no-deps -w "$folder" "$folder/wheel" >/dev/null 2>&1; then
    peers+=("pip install --no-index=!pip install -q --no-index --no-deps --root-user-action=ignore --upgrade --target received $folder/op_bench-1.1-py3-none-any.whl; btrfs filesystem sync .")
  fi
fi
op-install packages/small-v1.0.0.btrfs.zst --quiet >/dev/null
op-install packages/large-v1.0.0.btrfs.zst --quiet >/dev/null
away() { # name: the second version goes, the first is active
  echo "op-install rollback $1 --to 1.0.0 >/dev/null 2>&1; op-install remove $1 --version 1.1.0 --yes >/dev/null 2>&1; $clean; btrfs filesystem sync ."
}
measure() { # heading, name, rows...
  local heading=$1 name=$2; shift 2
  op-dbus-bench --before "$(away "$name")" "$heading" "$rounds" "$@"
}
measure "A plugin of six files, verified and durable, on btrfs" small \
  "tar --zstd -x, sync (nothing verified)=!$(untar small)" \
  "minisign, zstd, btrfs receive, snapshot, sync=!$(stock small)" \
  "op-install FILE (gated, recorded)<=@minisign, zstd, btrfs receive, snapshot, sync=op-install packages/small-v1.1.0.btrfs.zst --quiet" \
  "dpkg -i=!dpkg --root=. --admindir=dpkg --force-all -i $folder/op-bench.deb >/dev/null; btrfs filesystem sync ." \
  "${peers[@]}"
measure "A plugin of 1.4 MB" large \
  "tar --zstd -x, sync (nothing verified)=!$(untar large)" \
  "minisign, zstd, btrfs receive, snapshot, sync=!$(stock large)" \
  "op-install FILE (gated, recorded)<=25=op-install packages/large-v1.1.0.btrfs.zst --quiet"
op-install packages/small-v1.1.0.btrfs.zst --quiet >/dev/null
op-dbus-bench "Another version active, durable" "$rounds" \
  "op-install rollback<=5=op-install rollback small --quiet"

# A thousand plugins, as folders with a version beside and a note: the catalog reads each manifest.
for i in $(seq 1000); do
  mkdir "$OP_DBUS_ROOT/@plugin-p$i" "$OP_DBUS_ROOT/@plugin-snapshots/p$i@v1.0.0"
  printf '{"kind":"packages","version":1,"plugin":"p%s","active":"1.0.0","versions":{"1.0.0":{"trust":"community","source":"x","installed_at":"2025-01-15T10:00:00Z"}}}' "$i" > "$OP_DBUS_ROOT/@state/packages/p$i.json"
  printf '[plugin]\nname = "p%s"\nversion = "1.0.0"\ndbus_service = "org.example.P%s"\n' "$i" "$i" > "$OP_DBUS_ROOT/@plugin-p$i/plugin.toml"
done
op-dbus-bench "1,000 installed plugins" "$rounds" \
  "op-install show p500 (opens the catalog)<=20=op-install show p500 --quiet" \
  "op-install list (reads every one)=op-install list --quiet" \
  "op-install --version (starts, does nothing)=op-install --version"
