#!/bin/bash
# check.sh [DIR] : checks the files of this folder as far as this machine can, and says what it skipped. DIR is where the
# programs are (default: target/release, else target/debug); where they are missing, something that exists stands in.
set -euo pipefail
target=$(dirname "${BASH_SOURCE[0]}")/../target
[ -x "$target/release/op-dbus" ] && built=$target/release || built=$target/debug
programs=$(readlink -f "${1:-$built}" || true)
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
have=()
skip() { echo "SKIP $1: $2"; }
good() { echo "packaging: $*"; }
bad() { echo "packaging: FAILED: $*" >&2; status=1; }

# Units: systemd reads them and warns of what it does not know; a warning is a failure here.
if command -v systemd-analyze >/dev/null; then
  for unit in systemd/*; do
    sed "s,/usr/bin/systemctl,$(type -P systemctl || type -P true)," "$unit" >"$work/${unit##*/}"
    for name in $(grep -oP '=/usr/bin/\Kop-[a-z]+' "$unit" | sort -u); do
      program=$programs/$name
      [ -x "$program" ] || program=$(type -P true)
      sed -i "s,=/usr/bin/$name,=$program," "$work/${unit##*/}"
    done
  done
  # pve-guests.service, polkit.service and others need not be on this machine: they are only ordered against.
  said=$(systemd-analyze verify --man=no --recursive-errors=no "$work"/op-* 2>&1) || true
  said=$(grep -E 'op-(dbus|embed)' <<<"$said" || true)
  if [ -z "$said" ]; then good "systemd-analyze verify: nothing to say about $(cd systemd && echo *)"; else bad "$said"; fi
  # How exposed a service is, from 0 to 100, as this version of systemd counts: never more than exposure says.
  for unit in systemd/*.service; do
    unit=${unit##*/}
    limit=$(sed -n "s/^$unit //p" exposure)
    [ -n "$limit" ] || { bad "exposure says nothing of $unit"; continue; }
    if systemd-analyze security --offline=yes --threshold="$limit" "$work/$unit" >"$work/security" 2>&1; then
      good "systemd-analyze security: at most $limit: $(grep -o "$unit: [0-9.]*" "$work/security")"
    else
      bad "systemd-analyze security: more than $limit: $(tail -n 1 "$work/security")"
    fi
  done
else
  skip packaging-units "systemd-analyze is not installed"
fi

starts=$(sed -n 's/^Unit=//p' systemd/op-dbus.path)
[ -e "systemd/$starts" ] || bad "systemd/op-dbus.path starts $starts, which is not here"

# What is made from the programs: manual pages and completions. Only those that are built are asked.
made=$work/made
for program in "$programs"/op-{discover,query,apply,install,snapshot,audit,embed,dbus}; do
  [ ! -x "$program" ] || have+=("${program##*/}")
done
if [ -n "${have[*]:-}" ]; then
  commands/write.sh "$programs" "$made" "${have[@]}"
  completions/made.sh "$made" || status=1
else
  skip packaging-made "no program is in $programs"
fi
pages=("$work"/made/man/* man/*)

# The manual pages: formatted without a warning.
if command -v groff >/dev/null; then
  for page in "${pages[@]}"; do
    [ -e "$page" ] || continue
    said=$(groff -man -Kutf8 -Tutf8 -ww "$page" 2>&1 >"$work/page")
    if [ -n "$said" ] || [ ! -s "$work/page" ]; then bad "$page: $said"; fi
  done
  good "groff: looked at ${#pages[@]} pages"
else
  skip packaging-manual "groff is not installed"
fi

# The completion for bash: parsed, and asked for words.
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
