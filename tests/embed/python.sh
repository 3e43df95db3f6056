#!/bin/bash
# python.sh: makes what the tests of op-embed need of Python - numpy, ONNX, ONNX Runtime, a client of OpenAI's - and the
# models of lib/models/make; prints the folder, or exits with 77 where Python packages cannot be fetched.
#
# It lives in ${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}/python-HASH, HASH being that of this file and the scripts:
#   venv/                  the packages; venv/runtime/ is where libonnxruntime lies
#   models/{q4,f32,dynamic}
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
make=$here/../../lib/models/make
cache=${OP_DBUS_TEST_CACHE:-/var/cache/op-dbus-tests}
hash=$(cat "${BASH_SOURCE[0]}" "$here"/dynamic.py "$make"/*.py "$make"/requirements.txt | sha256sum | cut -c1-16)
folder=$cache/python-$hash
[ ! -d "$folder" ] || { echo "$folder"; exit; }
mkdir -p "$cache"
exec 9>"$cache/python.lock"
flock 9
[ ! -d "$folder" ] || { echo "$folder"; exit; }
work=$cache/.python-$hash.$$
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
{
  python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet --requirement "$make/requirements.txt" openai
} >&2 || { echo "python.sh: Python packages cannot be fetched here" >&2; exit 77; }
python=$work/venv/bin/python
for kind in q4 f32; do "$python" "$make/make.py" "$kind" "$work/models/$kind" >&2; done
"$python" "$make/check.py" "$work/models/q4" "$work/models/f32" >&2
"$python" "$here/dynamic.py" "$work/models/f32" "$work/models/dynamic" >&2
ln -s "$(cd "$work/venv" && echo lib/python*/site-packages/onnxruntime/capi)" "$work/venv/runtime"
# Renamed last, so that a folder with this name is complete; the packages do not mind where they lie.
mv "$work" "$folder"
echo "$folder"
