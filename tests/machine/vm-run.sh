#!/bin/bash
# vm-run.sh RUN CMD... : runs CMD in the virtual machine whose run folder is RUN (vm.sh): a clean environment, no terminal
# unless OP_DBUS_TEST_TTY is set. The exit code passes through.
set -euo pipefail
run=${1:?usage: vm-run.sh RUN CMD...}; shift
terminal=-T
[ -z "${OP_DBUS_TEST_TTY:-}" ] || terminal=-t
# The shell stays, so that a command killed by a signal ends as 128 + N and not as an error of ssh.
exec ssh -F "$run/ssh" $terminal vm "cd / && env -i PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=${TERM:-dumb} $(printf '%q ' "$@"); exit \$?"
