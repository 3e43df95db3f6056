#!/bin/bash
# made.sh MADE : asks zsh and fish for words with the completions that commands/write.sh put into MADE, and bash whether it
# knows each option of MADE/table. Any failure makes the exit code 1.
set -u
made=$(readlink -f "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
host=$(mktemp -d)
trap 'rm -rf "$host"' EXIT
mkdir -p "$host"/root/@plugin-{hostname,upower} "$host"/root/@cache-snapshots/cache@2025-01-15-10:00 \
  "$host"/other/@plugin-other "$host"/mappings/packagekit "$host"/work
touch "$host"/root/@plugin-{hostname,upower}/plugin.toml "$host"/other/@plugin-other/plugin.toml \
  "$host"/mappings/packagekit/plugin.toml "$host"/work/state.json
export OP_DBUS_ROOT=$host/root OP_DBUS_MAPPINGS=$host/mappings HOME=$host
cd "$host/work" || exit 1
passed=0 failed=0
count() {   # WHAT EXPECTED GOT
  if [ "$2" = "$3" ]; then passed=$((passed + 1)); return; fi
  failed=$((failed + 1))
  printf 'FAILED: %s\n  expected: %s\n  got:      %s\n' "$@"
}

expect() {   # SHELL LINE WORDS
  local got
  case $1 in
    zsh) got=$(timeout 30 zsh -f "$here/zsh-words.zsh" "$made/zsh" "$2" | LC_ALL=C sort -u | xargs) ;;
    fish) got=$(fish --no-config -c 'source $argv[1]; complete -C "$argv[2]"' "$made/fish/op-dbus.fish" "$2" | cut -f1 | LC_ALL=C sort -u | xargs) ;;
  esac
  count "$1: $2" "$3" "$got"
}
for shell in zsh fish; do
  command -v $shell >/dev/null || { echo "SKIP packaging-completions-$shell: $shell is not installed"; continue; }
  expect $shell 'op-query --plugin ' 'hostname packagekit upower'
  expect $shell 'op-dbus query --plugin u' upower
  expect $shell "op-query --root $host/other --plugin o" other
  expect $shell 'op-dbus --json qu' query
  expect $shell 'op-dbus help ap' apply
  expect $shell 'op-apply --dr' --dry-run
  expect $shell 'op-apply conf' confirm
  expect $shell 'op-apply st' state.json
  expect $shell 'op-apply revert --w' --when-due
  expect $shell 'op-dbus plugin registry se' search
  expect $shell 'op-install rollback p' packagekit
  expect $shell 'op-install rollback packagekit --t' "$([ $shell = fish ] && echo --timeout --to || echo --timeout --to)"
  expect $shell 'op-audit log --outcome und' undone
  expect $shell 'op-audit check-proof st' state.json
  expect $shell 'op-snapshot restore c' cache@2025-01-15-10:00
done

# bash's is written by hand: it must not fall behind the programs.
# shellcheck source=/dev/null
. "$here/op-dbus"
declare -A known
while IFS=$'\t' read -r command kind name _; do
  [ "$kind" = option ] || continue
  if [ -z "${known[$command]:-}" ]; then
    # registry and keys: one list for all of their commands.
    read -ra COMP_WORDS <<<"$command --"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _op_dbus
    known[$command]=" ${COMPREPLY[*]} "
  fi
  name=${name#-?, }
  case ${known[$command]} in *" $name "*) found=$name ;; *) found=nothing ;; esac
  count "bash: $command $name" "$name" "$found"
done < <(sed 's/\t\t/\t-\t/g' "$made/table")
echo "made completions: $passed passed, $failed failed"
[ $failed = 0 ]
