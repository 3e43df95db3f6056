#!/bin/bash
# peers.sh : ansible-core and pyinfra for the throw-away root's Python, in a cached folder; prints its path. Without pip
# or its index it prints nothing, says so, and the benchmark goes on without them.
set -euo pipefail
cache=${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}
wanted=(ansible-core==2.19.14 pyinfra==3.10.0)
folder=$cache/peers-$(printf '%s ' "${wanted[@]}" | sha256sum | cut -c1-16)
if [ ! -d "$folder" ]; then
  staging=$(mktemp -d "$cache/.staging-peers-XXXXXX")
  if ! python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts --target "$staging" \
    --python-version 3.13 --only-binary=:all: "${wanted[@]}" >&2; then
    rm -rf "$staging"
    echo "peers: ansible-core and pyinfra are not to be had here; going on without them" >&2
    exit 0
  fi
  chmod 755 "$staging"
  mv -T "$staging" "$folder"
fi
echo "$folder"
