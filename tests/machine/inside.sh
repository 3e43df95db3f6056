#!/bin/bash
# inside.sh MACHINE [OPTION...] : boot.sh's second half, the first process of namespaces of its own, so that whatever ends
# it takes processes, mounts, links and the loop device with it. Not for calling by hand.
set -euo pipefail
exec {input}<&0   # what runs in the background would get /dev/null instead
[ $$ = 1 ] || { echo "inside.sh: only boot.sh runs this" >&2; exit 64; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
machine=${1:?}; shift
pid_file='' binds=()
if [ -e /dev/fuse ]; then binds+=(--bind=/dev/fuse); fi
while [ $# -gt 0 ]; do
  case $1 in
    --bind) binds+=("--bind-ro=$2") ;;
    --bind-rw) binds+=("--bind=$2") ;;
    --pid-file) pid_file=$2 ;;
  esac
  shift 2
done
pool=$machine/pool cgroups=/sys/fs/cgroup

# A sysfs of this network namespace and a cgroup tree without version 1, whatever the machine has, for nspawn to look
# at; and a place for what nspawn notes down.
read -r _ own < <(grep '^0::' /proc/self/cgroup | tr : ' ')
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 $cgroups
mount -t tmpfs -o mode=755,nosuid,nodev run /run
mkdir /run/outer-proc
mount --bind /proc /run/outer-proc
mount -t proc proc /proc

# Ends what a run left: its processes, its cgroups, its file system, its folder. The caller knows that it is dead.
sweep() {
  local run=$1 group subvolume
  group=$cgroups$(cat "$run/cgroup" 2>/dev/null || true)
  if [ "$group" != "$cgroups" ] && [ -d "$group" ]; then
    echo 1 > "$group/cgroup.kill"
    for _ in {1..250}; do grep -q 'populated 0' "$group/cgroup.events" && break; sleep 0.02; done
    find "$group" -depth -type d -exec rmdir {} + || true
  fi
  # The machine makes subvolumes too, and lists them after the one they lie in.
  for subvolume in $(btrfs subvolume list "$pool" | awk -v run="${run##*/}" '$NF == run || index($NF, run "/") == 1 {print $NF}' | tac); do
    btrfs --quiet subvolume delete "$pool/$subvolume" >/dev/null
  done
  rm -rf "$run"
}

# What keeps build.sh clean from removing the machine, and other starts from mounting or sweeping at the same time.
exec {alive}<"$machine/lock"
flock --shared "$alive"
exec {starting}>"$machine/runs/lock"
flock "$starting"
mount -o loop,noatime,compress=zstd:1,discard=async "$machine/pool.img" "$pool"
for old in "$machine"/runs/run-*; do
  # Its own lock is held by whoever runs it, and is free when that one is dead: a process id could be another's by now.
  if [ -d "$old" ] && flock --nonblock "$old" true; then sweep "$old"; fi
done
run=$(mktemp -d "$machine/runs/run-XXXXXX")
name=${run##*/}
exec {mine}<"$run"
flock "$mine"
group=${own%/}/op-dbus-tests-$name
echo "$group" > "$run/cgroup"
btrfs --quiet subvolume snapshot "$pool/@" "$pool/$name" >/dev/null
flock --unlock "$starting"

finish() {
  trap - EXIT
  trap '' INT TERM HUP
  disown -a   # else bash reports whom it lost
  flock "$starting"
  sweep "$run"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
mkdir "$cgroups$group"

# eth0 leads to a neighbour in this namespace; free0 and free1 are the two ends of a cable, for tests to use. In a named
# namespace the links stay when the machine reboots.
ip link set lo up
ip netns add machine
ip link add up0 type veth peer name eth0 netns machine
ip address add 192.0.2.1/24 dev up0
ip link set up0 up
ip -n machine link add free0 type veth peer name free1

# timesyncd stays away from containers, where it has no clock to set. Here it may run, without being able to: that is
# enough to switch it on and off.
drop_in=$pool/$name/etc/systemd/system/systemd-timesyncd.service.d
mkdir -p "$drop_in"
printf '[Unit]\nConditionVirtualization=\nConditionCapability=\n[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=~CAP_SYS_TIME\n' \
  > "$drop_in/container.conf"

fail() {
  echo "boot.sh: $1" >&2
  tail -n 40 "$run/console" >&2
  exit 69
}

start() {   # in the background: it ends in nspawn
  echo $BASHPID > "$cgroups$group/cgroup.procs"
  read -r drop < "$here/dropped-capabilities"
  export SYSTEMD_NSPAWN_LOCK=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
  exec systemd-nspawn --quiet --directory="$pool/$name" --machine="op-test-$name" \
    --register=no --keep-unit --boot --network-namespace-path=/run/netns/machine --capability=CAP_NET_ADMIN \
    --drop-capability="$drop" --resolv-conf=off --timezone=off --link-journal=no --hostname=op-test \
    --console=pipe "${binds[@]}" >"$run/console" 2>&1 </dev/null {alive}<&- {starting}<&- {mine}<&- {input}<&-
}

# The id of a machine's process 1 as the machine sees it that boot.sh runs on.
outer_id() {
  local namespace status
  namespace=$(readlink "/proc/$1/ns/pid")
  for status in $(grep -lsP '^NSpid:.*\t1$' /run/outer-proc/[0-9]*/status); do
    [ "$(readlink "${status%/status}/ns/pid")" != "$namespace" ] || basename "${status%/status}"
  done
}

wait_until_running() {
  local end=$((SECONDS + ${OP_DBUS_TEST_BOOT_SECONDS:-120})) state='without a process' pid=''
  while [ "$state" != running ]; do
    [ -d "/proc/$nspawn" ] || fail "the machine ended while it booted"
    [ $SECONDS -lt $end ] || fail "the machine is still $state"
    sleep 0.05
    pid=$(pgrep --parent "$nspawn" --exact systemd) || true   # before that it is still nspawn, in this file system
    # Until its bus is there, systemctl cannot say anything, nor wait.
    [ -z "$pid" ] || state=$("$here/run.sh" "$pid" systemctl is-system-running --wait 2>/dev/null) || true
    case $state in
      degraded | maintenance)
        "$here/run.sh" "$pid" systemctl status --failed --full --no-pager >&2 || true
        fail "the machine is $state: the units above failed" ;;
    esac
  done
  if [ -n "$pid_file" ]; then
    outer_id "$pid" > "$pid_file.new"
    mv "$pid_file.new" "$pid_file"
  fi
  echo "ready $run"
}

cat <&"$input" >/dev/null {alive}<&- {starting}<&- {mine}<&- &
while :; do
  start &
  nspawn=$!
  wait_until_running
  code=0
  wait -n -p ended || code=$?
  # 133 is nspawn's way to say that the machine wants to boot again.
  [ "$ended" = "$nspawn" ] && [ "$code" = 133 ] || break
done
