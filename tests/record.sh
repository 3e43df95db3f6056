#!/bin/bash
# Makes the recordings of the shipped mappings again, from the real daemons in the throw-away root (as root, after
# `cargo build`). The scenarios that use them lie beside them; `op-install test mappings/NAME` runs those.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" != inside ]; then
  root=$(tests/root/build.sh)
  exec tests/root/enter.sh --bind "$PWD/target/debug:/op/bin" --bind "$PWD:/op/src" --bind-rw "$PWD/mappings:/op/out" \
    --bind "$PWD/mappings:/usr/share/op-dbus/mappings" "$root" \
    env -i HOME=/root PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" \
    /op/src/tests/root/bus.sh bash /op/src/tests/record.sh inside
fi
cd /root
# record SERVICE PLUGIN NAME [DOCUMENT...] [-- OPTION...]: a document is JSON text.
record() {
  local service=$1 plugin=$2 name=$3 options=()
  shift 3
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    echo "$1" > "want-$#.json"
    options+=(--document "want-$#.json")
    shift
  done
  op-discover record "$service" --plugin "$plugin" "${options[@]}" "${@:2}" --output "/op/out/$plugin/recordings/$name.json"
}

# A machine with people, of whom bob goes on working when he is not logged in. login1's names of users come from the
# machine that reads the recording, so their numbers are such as no machine has. logind reads who lingers when it starts, which
# others make it do: so this comes first.
useradd --create-home --shell /bin/bash --uid 54321 --comment 'Bob Brown' --password '*' bob
gpasswd --add bob sudo
useradd --create-home --shell /bin/bash --uid 54322 carol
mkdir -p /var/lib/systemd/linger
touch /var/lib/systemd/linger/bob

# What tells this machine from others says nothing about the mapping.
hostname=()
for property in BootID MachineID KernelName KernelRelease KernelVersion HardwareVendor HardwareModel HardwareSerial \
  FirmwareVersion FirmwareVendor FirmwareDate ProductUUID VSockCID; do
  hostname+=(--leave-out "org.freedesktop.hostname1.$property")
done
record org.freedesktop.hostname1 hostname fresh -- "${hostname[@]}"
record org.freedesktop.timedate1 timedate fresh -- \
  --leave-out org.freedesktop.timedate1.TimeUSec --leave-out org.freedesktop.timedate1.RTCTimeUSec
record org.freedesktop.locale1 locale fresh
record org.freedesktop.PackageKit packagekit test-repository \
  '{"packages": ["greeter-op"]}' '{"packages": ["greter-op"]}'

record org.freedesktop.login1 login1 bob-lingers -- --path /org/freedesktop/login1
record org.freedesktop.Accounts accounts people \
  '{"users": {"alice": {"real_name": "Alice Adams"}}}' '{"absent": {"users": ["daemon"]}}' \
  '{"absent": {"users": ["bob"]}}' '{"absent": {"users": ["carol"]}}' \
  '{"users": {"bob": {"account_type": "standard", "locked": true}}}'
op-query --plugin networkmanager >startup.log   # nmcli does not ask the bus to start it
nmcli --wait 5 connection add type bridge con-name br0 ifname br0 bridge.stp no ipv4.method manual \
  ipv4.addresses 192.0.2.10/24 ipv4.gateway 192.0.2.1 ipv4.dns 192.0.2.53 ipv6.method disabled
record org.freedesktop.NetworkManager networkmanager bridge -- --path /org/freedesktop/NetworkManager \
  --path /org/freedesktop/NetworkManager/Settings --path /org/freedesktop/NetworkManager/Settings/2
record org.fedoraproject.FirewallD1 firewalld fresh -- --path /org/fedoraproject/FirewallD1 \
  --path /org/fedoraproject/FirewallD1/config --path /org/fedoraproject/FirewallD1/config/zone/7   # public

# Hardware that no build machine has: daemons of their own, started before anybody asks the bus for them.
mocked() {
  local description=$1 name=$2
  shift 2
  echo "$description" > mock.umockdev
  umockdev-run --device mock.umockdev -- "$@" >mock.log 2>&1 &
  until busctl --list --no-legend | grep -q "^$name .*[0-9]"; do kill -0 $!; sleep 0.1; done
}
mocked 'P: /devices/virtual/power_supply/BAT0
E: SUBSYSTEM=power_supply
E: CHARGE_LIMIT=75,80
A: type=Battery
A: scope=System
A: present=1
A: status=Discharging
A: technology=Li-ion
A: capacity=80
A: energy_full=60000000
A: energy_full_design=80000000
A: energy_now=48000000
A: power_now=6000000
A: voltage_now=12000000
A: charge_control_start_threshold=0
A: charge_control_end_threshold=100' org.freedesktop.UPower /usr/libexec/upowerd
record org.freedesktop.UPower upower laptop -- --path /org/freedesktop/UPower --path /org/freedesktop/UPower/devices/battery_BAT0
mocked 'P: /devices/pci0000:00/0000:00:05.0/virtio2/block/vdb
N: vdb
E: DEVNAME=/dev/vdb
E: DEVTYPE=disk
E: SUBSYSTEM=block
E: MAJOR=254
E: MINOR=16
E: ID_FS_USAGE=filesystem
E: ID_FS_TYPE=ext4
E: ID_FS_VERSION=1.0
E: ID_FS_UUID_ENC=0d982e23-c1a4-468f-8c6c-739f77f68a9d
A: dev=254:16
A: size=2097152
A: removable=0
A: ro=0' org.freedesktop.UDisks2 bash -c 'mkdir -p "$UMOCKDEV_DIR/run/udev/data"
  # What udev has not seen is not there for udisksd.
  echo I:1 > "$UMOCKDEV_DIR/run/udev/data/b254:16"
  exec /usr/libexec/udisks2/udisksd --no-debug'
record org.freedesktop.UDisks2 udisks2 second-disk -- --path /org/freedesktop/UDisks2/Manager \
  --path /org/freedesktop/UDisks2/block_devices/vdb --leave-out org.freedesktop.UDisks2.Manager.NVMe.HostNQN
