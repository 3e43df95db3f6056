#!/bin/bash
# session.sh [write] : plays the session that README.md shows, on real services in a throw-away root, and prints it. What
# differs from run to run (names of runs, digests) is cut to `...`. With write, README.md shows it from now on. After make
# build or any build into target/debug; `make test` compares.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = inside ]; then
  cd /root
  printf '%s\n' '{"plugins": {"hostname": {"location": "rack 4"}, "packagekit": {"packages": ["greeter-op"]}}}' >want.json
  while read -r line; do
    printf '$ %s\n' "$line"
    bash -c "$line" 2>&1 | sed -E 's/(run )[0-9]+-[0-9TZ]+-[0-9a-f]+/\1.../; s/(sha256:[0-9a-f]{8})[0-9a-f]+/\1.../; s/(head sha256:)[0-9a-f]+/\1/; s/Plan [0-9a-f]+:/Plan ...:/'
  done <<'COMMANDS'
cat want.json
op-apply --dry-run want.json
op-apply --yes want.json
op-apply --check want.json
op-query --select hostname.location --raw
op-apply --rollback --yes
op-audit verify
COMMANDS
  exit
fi
# As on a terminal: what is printed is for people.
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
for program in op-query op-apply op-audit; do
  printf '#!/bin/sh\nexec /op/built/%s --no-json "$@"\n' "$program" >"$programs/$program"
done
chmod -R a+rx "$programs"
session=$(tests/root/enter.sh --bind "$PWD/target/debug:/op/built" --bind "$programs:/op/bin" --bind "$PWD:/op/src" \
  --bind "$PWD/mappings:/usr/share/op-dbus/mappings" "$(tests/root/build.sh path)" \
  env -i HOME=/root PATH=/op/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb COLUMNS=100 \
  /op/src/tests/root/bus.sh bash /op/src/tests/session.sh inside)
if [ "${1:-}" != write ]; then
  printf '%s\n' "$session"
  exit
fi
SESSION=$session awk '
  /^```console$/ { print; print ENVIRON["SESSION"]; inside = 1; next }
  inside && /^```$/ { inside = 0 }
  !inside { print }' README.md >"$programs/README.md"
cat "$programs/README.md" >README.md
