#!/bin/bash
# kernel.sh ROOT FOLDER : a step of build.sh. Puts Debian's cloud kernel's modules into ROOT, and into FOLDER vmlinuz and
# an initrd that mounts btrfs from a virtio disk. The package is unpacked and not installed: no initramfs-tools.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${1:?usage: kernel.sh ROOT FOLDER} folder=${2:?}

package=$(chroot "$root" apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
download=$root/tmp/kernel
mkdir "$download"
chroot "$root" sh -c "cd /tmp/kernel && apt-get -qq -o APT::Sandbox::User=root download $package"
dpkg-deb --fsys-tarfile "$download"/*.deb | tar -x --keep-directory-symlink -C "$root"
rm -rf "$download"
version=$(ls "$root/usr/lib/modules")
chroot "$root" depmod "$version"
cp "$root/boot/vmlinuz-$version" "$folder/vmlinuz"
rm -f "$root"/boot/*

initrd=$(mktemp -d)
trap 'rm -rf "$initrd"' EXIT
mkdir "$initrd"/{bin,proc,sys,dev,newroot,modules}
cp "$root/bin/busybox" "$initrd/bin/"
install -m 755 "$here/initrd-init" "$initrd/init"
for module in virtio_pci virtio_blk btrfs; do
  chroot "$root" modprobe --set-version "$version" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" {print $2}'
done | awk '!seen[$0]++' | while read -r file; do
  name=$(basename "$file" .xz)
  xz --decompress --stdout "$root/$file" > "$initrd/modules/$name"
  echo "$name" >> "$initrd/modules/order"
done
grep -q btrfs "$initrd/modules/order" || { echo "kernel.sh: $package has no btrfs module" >&2; exit 70; }
(cd "$initrd" && find . | cpio --quiet -o -H newc) | zstd --quiet -3 -o "$folder/initrd.zst"
