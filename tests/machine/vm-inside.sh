#!/bin/bash
# vm-inside.sh MACHINE BOOTED RUN : vm.sh's second half, the first process of namespaces of its own. BOOTED is the folder
# of a machine that has booted, made here if it is not there. Not for calling by hand.
set -euo pipefail
[ $$ = 1 ] || { echo "vm-inside.sh: only vm.sh runs this" >&2; exit 64; }
exec {input}<&0   # what runs in the background would get /dev/null instead
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
machine=${1:?} booted=${2:?} run=${3:?}
# qemu's user network listens on this namespace's loopback, so ports and other machines do not matter.
ip link set lo up

# Every start must have the same hardware, or the kept memory does not fit. The emulated processor has what Debian's
# kernel needs, without cmpxchg16b: with it, kernels of some emulators' versions crash.
hardware=(
  -nodefaults -no-user-config -display none -machine q35 -accel tcg,thread=multi
  -cpu qemu64,-cx16,+ssse3,+sse4.1,+sse4.2,+popcnt -smp 2,sockets=2,cores=1,threads=1 -m 4096
  -object memory-backend-ram,id=m0,size=2048M -object memory-backend-ram,id=m1,size=2048M
  -numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1 -numa dist,src=0,dst=1,val=21
  -kernel "$machine/vmlinuz" -initrd "$machine/initrd.zst"
  -append "root=/dev/vda rootflags=subvol=@,compress=zstd:1,noatime console=ttyS0 loglevel=5 mitigations=off security=selinux lsm=capability"
  -drive "file=$run/root.qcow2,format=qcow2,if=virtio,cache=unsafe,discard=unmap"
  -drive "file=$run/files.img,format=raw,if=virtio,readonly=on,cache=unsafe"
  -drive "file=$run/scratch.qcow2,format=qcow2,if=virtio,cache=unsafe"
  -netdev user,id=runner,restrict=on,net=10.99.0.0/24,hostfwd=tcp:127.0.0.1:2222-10.99.0.15:22
  -device virtio-net-pci,netdev=runner,mac=52:54:00:00:00:01,romfile=
  -netdev user,id=uplink,restrict=on,net=192.0.2.0/24,host=192.0.2.1,dns=192.0.2.3
  -device virtio-net-pci,netdev=uplink,mac=52:54:00:00:00:02,romfile=
  -device virtio-rng-pci -serial "file:$run/console"
)
cat > "$run/ssh" <<C
Host vm
  HostName 127.0.0.1
  Port 2222
  User root
  IdentityFile $machine/key
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 30
  ControlPath $run/control
C

fail() {
  echo "vm.sh: $1" >&2
  tail -n 20 "$run/console" "$run/qemu" >&2 2>/dev/null || true
  exit 69
}

# Until somebody answers; everything after that goes through this one connection.
connect() {
  local end=$((SECONDS + ${OP_DBUS_TEST_VM_SECONDS:-900}))
  until ssh -F "$run/ssh" -M -N -f vm 2>/dev/null </dev/null; do
    kill -0 "$qemu" 2>/dev/null || fail "the virtual machine ended while it started"
    [ $SECONDS -lt $end ] || fail "the virtual machine does not answer"
    sleep 0.1
  done
}

# Waits for systemd, whose units may still be starting when sshd already answers.
wait_until_running() {
  local state
  state=$("$here/vm-run.sh" "$run" systemctl is-system-running --wait) || true
  [ "$state" = running ] && return
  "$here/vm-run.sh" "$run" systemctl status --failed --full --no-pager >&2 || true
  fail "the virtual machine is ${state:-silent}: the units above failed"
}

# What it is shown. It wakes up with the clock it fell asleep with, and with what it then read from the disk whose
# content is new.
show() {
  "$here/vm-run.sh" "$run" sh -s <<S
set -e
date -s "@$(date +%s)" >/dev/null
blockdev --flushbufs /dev/vdb
mkdir -p /run/op-files
mount -o ro /dev/vdb /run/op-files
while read -r path; do
  if [ -d "/run/op-files\$path" ]; then mkdir -p "\$path"; else mkdir -p "\${path%/*}"; touch "\$path"; fi
  mount --bind "/run/op-files\$path" "\$path"
done < /run/op-files/paths
touch /run/op-shown
S
}

# Comes back to a guest that was started again: its connection ended with it.
follow() {
  while kill -0 "$qemu" 2>/dev/null; do
    if ! ssh -F "$run/ssh" -O check vm 2>/dev/null; then
      connect
      wait_until_running
      show
    fi
    sleep 0.5
  done
}

boot_and_keep() {
  local new=$booted.new
  echo "booting the test machine's virtual form (once for each change of its recipe; a minute or two)" >&2
  rm -rf "$new"
  mkdir "$new"
  qemu-img create -q -f qcow2 -F raw -b "$machine/root.img" "$run/root.qcow2"
  mkfifo "$run/monitor"
  exec {monitor}<>"$run/monitor"
  qemu-system-x86_64 "${hardware[@]}" -monitor stdio <"$run/monitor" >"$run/qemu" 2>&1 {kept}<&- &
  qemu=$!
  connect
  wait_until_running
  "$here/vm-run.sh" "$run" sync
  ssh -F "$run/ssh" -O exit vm 2>/dev/null
  printf 'migrate_set_parameter max-bandwidth 10G\nmigrate "exec:zstd -q -1 -T0 -o %s"\ninfo migrate\nquit\n' "$new/memory.zst" >&"$monitor"
  wait "$qemu" || fail "the virtual machine's memory could not be kept"
  exec {monitor}>&-
  grep -q 'Migration status: completed' "$run/qemu" || fail "the virtual machine's memory could not be kept"
  # Its disk from now on: the others are overlays on it.
  mv "$run/root.qcow2" "$new/root.qcow2"
  mv -T "$new" "$booted"
}

qemu-img create -q -f qcow2 "$run/scratch.qcow2" 1G
exec {kept}>"$booted.lock"
flock "$kept"
[ -d "$booted" ] || boot_and_keep
exec {kept}>&-

qemu-img create -q -f qcow2 -F qcow2 -b "$booted/root.qcow2" "$run/root.qcow2"
qemu-system-x86_64 "${hardware[@]}" -monitor none -incoming "exec:zstd -q -dc '$booted/memory.zst'" \
  >"$run/qemu" 2>&1 </dev/null {input}<&- &
qemu=$!
connect
show
wait_until_running
echo "ready $run"
follow &
cat <&"$input" >/dev/null &
wait -n || true
