#!/bin/bash
# run.sh PID CMD... : runs CMD in the root whose first process is PID (enter.sh --pid-file), as if it had been started
# there: same namespaces, same missing capabilities, a clean environment, no terminal. The exit code passes through.
set -euo pipefail
pid=${1:?usage: run.sh PID CMD...}; shift
read -r drop < "${BASH_SOURCE[0]%/*}/dropped-capabilities"
# Without setsid a program that asks its question on /dev/tty would ask whoever runs the tests.
exec setsid setpriv --bounding-set="$drop" --inh-caps="$drop" \
  nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
  env -i PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb \
  DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket "$@"
