#!/bin/bash
# test.sh : asks the completion for words as a shell does. Any failure makes the exit code 1.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
host=$(mktemp -d)
trap 'rm -rf "$host"' EXIT
mkdir -p "$host"/root/@plugin-{hostname,upower} "$host"/root/@plugin-snapshots/hostname@v1.0.0 \
    "$host"/other/@plugin-other "$host"/mappings/{packagekit,hostname,empty} "$host"/work/folder
touch "$host"/root/@plugin-{hostname,upower}/plugin.toml "$host"/other/@plugin-other/plugin.toml \
    "$host"/mappings/{packagekit,hostname}/plugin.toml "$host"/work/state.json
export OP_DBUS_ROOT=$host/root OP_DBUS_MAPPINGS=$host/mappings
# shellcheck source=/dev/null
. ./op-dbus
cd "$host/work" || exit 1
passed=0 failed=0

# The replies for a command line whose last word is being completed, sorted, on one line.
complete_line() {
    # As readline does it, = is a word of its own.
    read -ra COMP_WORDS <<<"${1//=/ = }"
    [[ $1 != *' ' ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _op_dbus
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ' | sed 's/ *$//'
}
expect() {
    local got
    got=$(complete_line "$1")
    if [[ $got == "$2" ]]; then passed=$((passed + 1)); return; fi
    failed=$((failed + 1))
    printf 'FAILED: %s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$got"
}

expect 'op-dbus ' 'apply discover embed help install plugin query'
expect 'op-dbus embed model use ' minilm-l6-q4
expect 'op-embed --format ' 'ndjson npy raw'
expect 'op-embed --level m' medium
expect 'op-embed serve --al' --alias
expect 'op-dbus --json qu' query
expect 'op-dbus help pl' plugin
expect 'op-dbus --q' --quiet
expect 'op-dbus unknown-verb --' ''
expect 'op-query --plugin ' 'hostname packagekit upower'
expect 'op-query --plugin=p' packagekit
expect 'op-query --plugin hostname --plugin u' upower
expect 'op-dbus query --plugin u' upower
expect "op-query --root $host/other --plugin o" other
expect "op-query --root=$host/other --plugin=o" other
expect "op-dbus --root $host/other query --plugin u" ''
expect 'op-query --a' '--address --all'
expect 'op-query --select ho' hostname.
expect 'op-dbus query --select=pa' packagekit.
expect 'op-query --cached --m' --max-age
expect 'op-query --watch ' 'hostname packagekit upower'
expect 'op-query --watch --interval ' ''
expect 'op-dbus query --watch hostname u' upower
expect 'op-query st' state.json
expect 'op-dbus apply --d' '--detailed-exitcode --diff --dry-run'
expect 'op-apply --lock' --lock-timeout
expect 'op-apply --owner ' ''
expect 'op-apply ' 'apply folder state.json'
expect 'op-apply apply ' 'folder state.json'
expect 'op-apply --yes st' state.json
expect 'op-dbus apply --plugin hostname st' state.json
expect 'op-install ' 'create lint list map remove test'
expect 'op-install lint --s' '--session --strict --system'
expect 'op-install map --l' --learn
expect 'op-install map up' upower
expect 'op-dbus plugin cr' create
expect 'op-dbus plugin create new --f' --from-dbus
expect 'op-dbus plugin remove up' upower
expect 'op-install list --f' ''
expect 'op-discover --t' '--timeout --tree'
expect 'op-discover --xml fo' folder
expect 'op-discover li' list
export OP_DBUS_ROOT=$host/none OP_DBUS_MAPPINGS=$host/none
expect 'op-query --plugin ' ''
for program in op-dbus op-discover op-query op-apply op-install; do
    if complete -p "$program" >/dev/null; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done

printf 'completion: %s passed, %s failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
