#!/bin/bash
# run.sh PID CMD... : runs CMD in the container whose process 1 is PID (boot.sh --pid-file), as if it had been started
# there: same namespaces, same capabilities, a cgroup of its tree, a clean environment, no terminal unless
# OP_DBUS_TEST_TTY is set. The exit code passes through.
set -euo pipefail
pid=${1:?usage: run.sh PID CMD...}; shift
bounding=$(sed -n 's/^CapBnd:\t//p' "/proc/$pid/status")
capabilities=-all
for bit in {0..40}; do if (( 16#$bounding >> bit & 1 )); then capabilities+=,+cap_$bit; fi; done
group=/proc/$pid/root/sys/fs/cgroup/op-run
[ -d "$group" ] || mkdir "$group" 2>/dev/null || [ -d "$group" ]
echo $$ > "$group/cgroup.procs"
# Without setsid a program that asks its question on /dev/tty would ask whoever runs the tests.
session=setsid
[ -z "${OP_DBUS_TEST_TTY:-}" ] || session=
exec $session setpriv --bounding-set="$capabilities" --inh-caps="$capabilities" \
  nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
  env -i PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" "$@"
