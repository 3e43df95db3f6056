#!/bin/bash
# test.sh : all tests of this folder; each file of test/ prints what it counted. Any failure makes the exit code 1.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
code=0
for part in phases install machine; do bash "test/$part.sh" || code=1; done
if command -v shellcheck >/dev/null; then
  if shellcheck -x op-dbus-hook manage.sh test.sh && shellcheck -x -S warning test/*.sh test/stand-ins/*; then
    echo "shellcheck: nothing to say"
  else
    code=1
  fi
else
  echo "SKIP proxmox-hook-shellcheck: shellcheck is not installed"
fi
exit $code
