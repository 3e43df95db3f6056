#!/bin/bash
# galaxy.sh : ansible-galaxy for this machine's Python, in a cached folder; prints the folder of its programs. Where it is
# installed, or is not to be had, it prints nothing, and the benchmark takes what there is.
set -euo pipefail
command -v ansible-galaxy >/dev/null && exit 0
cache=${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}
wanted=ansible-core==2.19.14
folder=$cache/galaxy-$(printf '%s %s' "$wanted" "$(python3 --version)" | sha256sum | cut -c1-16)
if [ ! -x "$folder/bin/ansible-galaxy" ]; then
  mkdir -p "$cache"
  rm -rf "$folder"
  if ! { python3 -m venv "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check "$wanted"; } >&2; then
    rm -rf "$folder"
    echo "galaxy: ansible-core is not to be had here; going on without it" >&2
    exit 0
  fi
fi
echo "$folder/bin"
