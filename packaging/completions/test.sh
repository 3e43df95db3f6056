#!/bin/bash
# test.sh : asks the completion for words as a shell does. Any failure makes the exit code 1.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
host=$(mktemp -d)
trap 'rm -rf "$host"' EXIT
mkdir -p "$host"/root/@plugin-{hostname,upower} "$host"/root/@plugin-snapshots/hostname@v1.0.0 \
    "$host"/root/@cache-snapshots/cache@2025-01-15-{10,11}:00 \
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

expect 'op-dbus embed model use ' minilm-l6-q4
expect 'op-embed --format ' 'ndjson npy raw'
expect 'op-embed --level m' medium
expect 'op-embed serve --al' --alias
expect 'op-embed topology --me' --measure
expect 'op-embed runtime ' 'install remove'
expect 'op-embed warm --numa m' most-memory
expect 'op-dbus ' 'apply audit discover doctor embed help install plugin query snapshot'
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
expect 'op-query --a' '--address --against --all'
expect 'op-query --select ho' hostname.
expect 'op-dbus query --select=pa' packagekit.
expect 'op-query --cached --m' --max-age
expect 'op-query --in st' state.json
expect 'op-query --watch ' 'hostname packagekit upower'
expect 'op-query --watch --interval ' ''
expect 'op-dbus query --watch hostname u' upower
expect 'op-query st' state.json
expect 'op-dbus apply --d' '--detailed-exitcode --diff --dry-run'
expect 'op-apply --lock' --lock-timeout
expect 'op-apply --owner ' ''
expect 'op-apply ' 'apply confirm folder pending revert state.json'
expect 'op-apply apply ' 'folder state.json'
expect 'op-apply revert --w' --when-due
expect 'op-apply --conf' --confirm-within
expect 'op-audit ' 'anomalies append check-proof embed export head import keygen log prove prune repair search show verify'
expect 'op-audit log --pl' --plugin
expect 'op-audit log --outcome un' undone
expect 'op-dbus audit verify --ag' --against
expect 'op-apply --yes st' state.json
expect 'op-dbus apply --plugin hostname st' state.json
expect 'op-install ' 'adopt create folder hook install keys lint list map registry remove rollback show state.json test upgrade verify'
expect 'op-install hook s' simulate
expect 'op-install hook --un' --unhook
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
expect 'op-snapshot ' 'delete doctor golden init keygen list publish restore revoke rotate'
expect 'op-snapshot publish --un' --unsigned
expect 'op-snapshot golden ' 'create delete list update'
expect 'op-snapshot golden create --t' '--template-id --timeout'
expect 'op-snapshot golden create --from st' state.json
expect 'op-dbus snapshot golden delete --y' --yes
expect 'op-snapshot keygen --out st' state.json
expect 'op-install install st' state.json
expect 'op-install registry s' 'search state.json'
expect 'op-install rollback up' upower
expect 'op-install rollback upower --to ' ''
expect 'op-install keys --e' --expires
expect 'op-dbus snapshot ro' rotate
expect 'op-snapshot init --l' '--lock-timeout --loop'
expect 'op-snapshot init --loop ' ''
expect 'op-snapshot init --loop 2G --at st' state.json
expect 'op-snapshot doctor --y' ''
expect 'op-snapshot restore ' 'cache@2025-01-15-10:00 cache@2025-01-15-11:00'
expect 'op-snapshot delete --y' --yes
# As readline does it, where @ and : are words of their own.
COMP_LINE='op-snapshot restore cache@2025-01-15-1' COMP_POINT=38
expect 'op-snapshot restore cache @ 2025-01-15-1' '2025-01-15-10:00 2025-01-15-11:00'
COMP_LINE='op-snapshot restore cache@2025-01-15-11:' COMP_POINT=40
expect 'op-snapshot restore cache @ 2025-01-15-11 :' 00
unset COMP_LINE COMP_POINT
export OP_DBUS_ROOT=$host/none OP_DBUS_MAPPINGS=$host/none
expect 'op-query --plugin ' ''
for program in op-dbus op-discover op-query op-apply op-install op-snapshot op-audit op-embed; do
    if complete -p "$program" >/dev/null; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done

printf 'completion: %s passed, %s failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
