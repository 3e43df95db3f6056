#!/bin/bash
# inside.sh: enter.sh's second half, the first process of the new namespaces. It mounts the root, drops what could
# reach the real machine, and runs the command. Not for calling by hand: outside of the namespaces it would mount
# over the machine's own directories, so it refuses.
set -euo pipefail
[ $$ = 1 ] || { echo "inside.sh: only enter.sh runs this" >&2; exit 64; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r drop < "$here/dropped-capabilities"
read -r pid _ < /proc/self/stat   # /proc is still the machine's, so this is the id the machine sees

binds=() pid_file=
while :; do
  case $1 in
    --bind) binds+=("ro:$2"); shift 2 ;;
    --bind-rw) binds+=("rw:$2"); shift 2 ;;
    --pid-file) pid_file=$2; shift 2 ;;
    *) break ;;
  esac
done
lower=$1; shift

mount --make-rprivate /
# The upper layer is mounted on the lower one's /mnt: that needs no directory of its own on the machine, other
# entrants do not see it, and an overlay does not look through a mount in its lower layer.
layers=$lower/mnt root=$lower/mnt/root
mount -t tmpfs -o size=2g,mode=755 op-test-root "$layers"
mkdir "$layers/upper" "$layers/work" "$root"
mount -t overlay -o "lowerdir=$lower,upperdir=$layers/upper,workdir=$layers/work" op-test-root "$root"

# mmdebstrap leaves it empty, as for an image; sd-bus then has no answer to GetMachineId.
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
mount -t proc proc "$root/proc"
cat "$root/etc/hostname" > "$root/proc/sys/kernel/hostname"   # the namespace's own
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"   # a fresh one shows this namespace's links only
# sd-bus and logind look for a caller's cgroup; without any they answer ENOMEDIUM.
mount -t cgroup2 -o ro,nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup" || true
mount -t tmpfs -o mode=755,size=64m,nosuid dev "$root/dev"
for node in null zero full random urandom tty fuse; do
  [ -e "/dev/$node" ] || continue
  : > "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "$root/dev/${stream#*:}"; done
mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
mkdir -p "$root/run/lock" "$root/run/dbus" "$root/run/sshd" "$root/run/systemd/system"

for bind in "${binds[@]}"; do
  mode=${bind%%:*} pair=${bind#*:}
  from=${pair%:*} to=$root${pair##*:}
  if [ -d "$from" ]; then
    mkdir -p "$to"
  else
    mkdir -p "$(dirname "$to")"
    : > "$to"
  fi
  mount --bind "$from" "$to"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$to"
done
ip link set lo up
[ -z "$pid_file" ] || echo "$pid" > "$pid_file"

# After the pivot the machine's own mounts are gone from here, not only out of sight.
cd "$root"
pivot_root . mnt
umount -l mnt
# A shell stays as first process: it reaps what daemons orphan, which an arbitrary command would not.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb \
  setpriv --bounding-set="$drop" --inh-caps="$drop" bash -c '"$@"; exit $?' op-test-root "$@"
