#!/bin/bash
# install.sh : puts what files.sh lists below DESTDIR; uninstall.sh takes it away again. From the environment:
#   PREFIX (/usr/local)  DESTDIR  PROGRAMS (the programs' names)  BUILT (their folder: target/release)
#   DATA (/usr/share/op-dbus)  ETC (/etc)  SOURCE_DATE_EPOCH (the date on manual pages)
# Enables and starts nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PREFIX=${PREFIX:-/usr/local} PROGRAMS=${PROGRAMS:?}
destination=${DESTDIR:-}
built=$(readlink -f "${BUILT:-$here/../target/release}")
for program in $PROGRAMS; do
  [ -x "$built/$program" ] || { echo "install.sh: $built/$program is not built: make build" >&2; exit 69; }
done
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# shellcheck disable=SC2086  # names
"$here/commands/write.sh" "$built" "$made" $PROGRAMS
cd "$here/.."
umask 022
"$here/files.sh" >"$made/list"
while IFS=$'\t' read -r mode target source; do
  mkdir -p "$destination${target%/*}"
  case $source in
    '->'*) ln -sfn "${source#->}" "$destination$target" ;;
    PROGRAMS/*) install -m "$mode" "$built/${source#*/}" "$destination$target" ;;
    MADE/*) install -m "$mode" "$made/${source#*/}" "$destination$target" ;;
    packaging/systemd/*)
      sed "s,=/usr/bin/op-,=$PREFIX/bin/op-," "$source" >"$made/unit"
      install -m "$mode" "$made/unit" "$destination$target"
      ;;
    # What somebody wrote in /etc is theirs.
    *) [[ $target == */op-dbus/acknowledged.json && -e $destination$target ]] || install -m "$mode" "$source" "$destination$target" ;;
  esac
done <"$made/list"
