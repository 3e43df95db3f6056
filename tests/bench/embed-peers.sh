#!/bin/bash
# embed-peers.sh : what people use for caching and searching vectors, in a cached virtual environment below target/;
# prints its path. Without pip or its index it prints nothing, says so, and the benchmark goes on without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
wanted=(numpy==2.4.6 diskcache==5.6.3 lmdb==2.2.1 langchain-classic langchain-core faiss-cpu==1.15.1 usearch sqlite-vec apsw redis)
folder=target/embed-peers-$(printf '%s ' "${wanted[@]}" | sha256sum | cut -c1-16)
if [ ! -x "$folder/bin/python" ]; then
  staging=$folder.staging
  rm -rf "$staging"
  python3 -m venv "$staging" >&2
  # One that is not to be had is left out, and its line says so.
  for one in "${wanted[@]}"; do
    "$staging/bin/python" -m pip install -q --disable-pip-version-check --only-binary=:all: "$one" >&2 ||
      "$staging/bin/python" -m pip install -q --disable-pip-version-check --only-binary=:all: "${one%%==*}" >&2 ||
      echo "embed-peers: $one is not to be had here" >&2
  done
  mv -T "$staging" "$folder"
fi
echo "$PWD/$folder"
