#!/bin/bash
# here.sh DEB SCRIPT : runs SCRIPT as root in a copy of this machine that is thrown away, with the package as /root/op-dbus.deb.
# Nothing runs there: no systemd, no bus. It is this machine's Debian, the oldest that the package is made for.
set -euo pipefail
deb=$(readlink -f "${1:?}")
# The mounts end with their namespace.
exec unshare --mount --pid --fork --kill-child --propagation private -- bash -euc '
  w=$(mktemp -d)
  # Small enough to be filled.
  mount -t tmpfs -o size=1500M tmpfs "$w"
  mkdir "$w"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$w/upper,workdir=$w/work" "$w/root"
  for folder in run tmp; do mount -t tmpfs tmpfs "$w/root/$folder"; done
  mount -t proc proc "$w/root/proc"
  mount --rbind /dev "$w/root/dev"
  # Triggers for manual pages take their time, and are not what is tested.
  printf "#!/bin/sh\n" >"$w/root/usr/bin/mandb"
  cp "$1" "$w/root/root/op-dbus.deb"
  code=0
  chroot "$w/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    bash -euc "$2" || code=$?
  umount -R -l "$w"
  rmdir "$w"
  exit $code
' here "$deb" "${2:?}"
