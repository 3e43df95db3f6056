#!/bin/bash
# read.sh FOLDER PROGRAM... : what the programs in FOLDER say of their command lines, from which the manual pages and the
# completions for zsh and fish are made. The programs make their help from their argument types. A line of the table is
#   COMMAND  KIND  NAME  VALUE  TEXT
# separated by tabs: COMMAND is the words before an option (op-install registry add), KIND is about, usage, default (the
# command that is meant without one), command, positional, option (NAME: -y, --yes; VALUE: FILE, or FILE... if it may be
# repeated), common, note or example.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 's/^# \{0,1\}//; 2,6p' "${BASH_SOURCE[0]}" >&2; exit 64; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(cd "$1" && pwd)
shift

command_line() {   # PROGRAM [WORD...]
  local table command
  table=$(COLUMNS=100 LC_ALL=C "$folder/$1" "${@:2}" --help | awk -v command="$*" -f "$here/help.awk")
  printf '%s\n' "$table"
  [ "$1" != op-dbus ] || return 0   # its commands are the programs
  while read -r command; do command_line "$@" "$command"; done < <(awk -F '\t' '$2 == "command" {print $3}' <<<"$table")
}
for program; do command_line "$program"; done
