#!/bin/bash
# deps.sh : installs on Debian 12 or newer what building and testing needs beside Rust. It starts no service, asks
# nothing, and has nothing to do when all is there.
set -euo pipefail
packages=(
  gcc libc6-dev pkg-config              # cargo links with them
  mmdebstrap debian-archive-keyring     # tests/root/build.sh: the root and the keys of its packages
  util-linux iproute2                   # tests/root/enter.sh: unshare nsenter setpriv mount ip
  dbus-daemon                           # private buses; the package dbus would start one for the machine
  dbus-bin                              # dbus-monitor: what is said on one
  btrfs-progs                           # real subvolumes on a loop file
  minisign openssl gnupg gpgv           # packages by the stock tools; certificates of a test's server
  strace                                # kills and full disks at every call of an install
  btrfs-compsize                        # how much compression saves
  systemd-container procps              # tests/machine/boot.sh: systemd-nspawn; pgrep
  cpio zstd xz-utils                    # tests/machine/build.sh: the first file system of the virtual machine
  qemu-system-x86 qemu-utils            # tests/machine/vm.sh
  binutils e2fsprogs openssh-client     # what it shows the virtual machine, and how it is entered
  jq                                    # pipes between the programs
  strace                                # kills a program at each of its writes
  systemd                               # busctl, systemd-analyze
  libglib2.0-bin                        # gdbus, to measure beside
  python3-venv                          # tests/embed/python.sh: what embeddings are compared with
  groff-base                            # whether the manual page is well formed
  dpkg-dev lintian                      # make deb: which libraries it needs, and whether it is as Debian wants it
  ansible-core                          # packaging/ansible/test.sh
  zsh fish                              # whether their completions complete
  nix-bin                               # whether the Nix files parse; no daemon
)
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "tests/deps.sh: not root, so these packages must be installed by somebody who is: ${missing[*]}" >&2
  echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 77
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
