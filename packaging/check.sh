#!/bin/bash
# check.sh [DIR] : checks the files of this folder as far as this machine can, and says what it skipped. DIR is where the
# programs are (default: target/release); where they are missing, something that exists stands in for them.
set -euo pipefail
programs=$(readlink -f "${1:-"$(dirname "${BASH_SOURCE[0]}")/../target/release"}" || true)
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
skip() { echo "SKIP $1: $2"; }
good() { echo "packaging: $*"; }
bad() { echo "packaging: FAILED: $*" >&2; status=1; }

# Units: systemd reads them and warns of what it does not know; a warning is a failure here.
if command -v systemd-analyze >/dev/null; then
  apply=$programs/op-apply
  [ -x "$apply" ] || apply=$(command -v true)
  snapshot=$programs/op-snapshot
  [ -x "$snapshot" ] || snapshot=$(command -v true)
  embed=$programs/op-embed
  [ -x "$embed" ] || embed=$(command -v true)
  systemctl=$(command -v systemctl || command -v true)
  for unit in systemd/*; do
    sed -e "s,/usr/bin/op-apply,$apply," -e "s,/usr/bin/op-snapshot,$snapshot," -e "s,/usr/bin/op-embed,$embed," \
      -e "s,/usr/bin/systemctl,$systemctl," "$unit" >"$work/${unit##*/}"
  done
  # pve-guests.service, polkit.service and others need not be on this machine: they are only ordered against.
  said=$(systemd-analyze verify --man=no --recursive-errors=no "$work"/op-* 2>&1) || true
  said=$(grep -E 'op-(dbus|embed)' <<<"$said" || true)
  if [ -z "$said" ]; then good "systemd-analyze verify: nothing to say about $(cd systemd && echo *)"; else bad "$said"; fi
  # How exposed a service is, from 0 to 100, as this version of systemd counts; the limits may only go down.
  for limit in op-dbus=40 op-dbus-snapshot=22; do
    unit=${limit%=*}.service
    if systemd-analyze security --offline=yes --threshold="${limit#*=}" "$work/$unit" >"$work/security" 2>&1; then
      good "systemd-analyze security: at most ${limit#*=}: $(grep -o "$unit: [0-9.]*" "$work/security")"
    else
      bad "systemd-analyze security: $(tail -n 1 "$work/security")"
    fi
  done
else
  skip packaging-units "systemd-analyze is not installed"
fi

starts=$(sed -n 's/^Unit=//p' systemd/op-dbus.path)
[ -e "systemd/$starts" ] || bad "systemd/op-dbus.path starts $starts, which is not here"

# The manual page: formatted without a warning.
if command -v groff >/dev/null; then
  said=$(groff -man -Tutf8 -ww man/op-dbus.7 2>&1 >"$work/page")
  if [ -z "$said" ] && [ -s "$work/page" ]; then good "groff: no warnings"; else bad "$said"; fi
else
  skip packaging-manual "groff is not installed"
fi

# The completion: parsed, and asked for words.
bash -n completions/op-dbus && completions/test.sh || status=1

# The example rule: JavaScript, so it is run, with polkit's own part played by a few lines.
if command -v node >/dev/null; then
  if node polkit/test.js; then good "polkit: the rule allows and leaves alone what it should"; else bad "polkit"; fi
else
  skip packaging-polkit-rule "node is not installed"
fi
# ... and the actions it names are those that the services declare, where they are installed.
for action in $(grep -o '"org\.freedesktop\.[^"]*"' polkit/49-op-dbus.rules.example | tr -d '"'); do
  file=/usr/share/polkit-1/actions/${action%.*}.policy
  if [ ! -e "$file" ]; then
    skip packaging-polkit-action "whether $action exists is not known: $file is not here"
  elif ! grep -qF "id=\"$action\"" "$file"; then
    bad "polkit: $file has no action $action"
  fi
done
exit $status
