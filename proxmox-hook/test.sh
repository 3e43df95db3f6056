#!/bin/bash
# test.sh : all tests of this folder; each file of test/ prints what it counted. Any failure makes the exit code 1.
set -u
cd "${BASH_SOURCE[0]%/*}" || exit 1
code=0
for part in phases install machine; do bash "test/$part.sh" || code=1; done
if command -v shellcheck >/dev/null; then
  shellcheck -x op-dbus-hook manage.sh test.sh test/*.sh test/stand-ins/* && echo "shellcheck: nothing to say" || code=1
else
  echo "SKIP proxmox-hook-shellcheck: shellcheck is not installed"
fi
exit $code
